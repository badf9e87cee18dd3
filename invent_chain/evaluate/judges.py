"""Is an answer right? Judges by rule and by model; any callable `(answer, accepted) -> bool` fits as well."""

from __future__ import annotations

import re
from collections.abc import Sequence

from invent_chain.errors import AskError
from invent_chain.protocols import Ask
from invent_chain.sample import ask_once
from invent_chain.types import Sampling

_WORD = re.compile(r"\w+")
_ARTICLES = frozenset({"a", "an", "the"})

_JUDGE_PROMPT = """\
Question: {question}
Correct answer: {accepted}
Given answer: {answer}
Does the given answer mean the same as the correct answer? Reply with one word, yes or no."""


def contains(answer: str, accepted: Sequence[str], *, exact_case: bool = False) -> bool:
    """Whether one of the accepted answers stands in the answer as whole words.

    Punctuation and articles are dropped, and case is folded unless `exact_case` (chemical symbols).
    """
    said = _words(answer, exact_case)
    return any(_stands_in(_words(one, exact_case), said) for one in accepted)


def exact_match(answer: str, accepted: Sequence[str], *, exact_case: bool = False) -> bool:
    """Whether the answer is one of the accepted ones, word for word, after the same normalisation."""
    said = _words(answer, exact_case)
    return any(_words(one, exact_case) == said for one in accepted)


async def ask_judge(judge: Ask, question: str, answer: str, accepted: Sequence[str], *, timeout: float = 60.0) -> bool:  # noqa: ASYNC109 - of the request
    """Let a model judge, at temperature 0 as in the paper.

    Args:
        judge: The judging model, without a template.
        question: The question.
        answer: The answer to be judged.
        accepted: Correct answers; any one counts.
        timeout: Longest time in seconds.

    Raises:
        AskError: The model gave no answer, or neither yes nor no: an unreadable verdict is none.
    """
    prompt = _JUDGE_PROMPT.format(question=question, accepted=" or ".join(accepted), answer=answer)
    verdict, _ = await ask_once(judge, prompt, sampling=Sampling(temperature=0.0, max_tokens=8), timeout=timeout)
    first = next(iter(_words(verdict, exact_case=False)), "")
    if first not in ("yes", "no"):
        raise AskError("the judge said neither yes nor no: ask a larger model, or judge by rule")
    return first == "yes"


def _words(text: str, exact_case: bool) -> list[str]:
    words = _WORD.findall(text if exact_case else text.casefold())
    return [word for word in words if word.casefold() not in _ARTICLES]


def _stands_in(part: list[str], whole: list[str]) -> bool:
    size = len(part)
    return size > 0 and any(whole[i : i + size] == part for i in range(len(whole) - size + 1))
