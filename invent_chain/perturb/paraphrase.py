"""Paraphrasing by the model itself (arXiv 2506.09684, experimental settings)."""

from __future__ import annotations

import re
from typing import Any

from invent_chain.errors import AskError, ConfigurationError, InputError, PerturbationError
from invent_chain.protocols import Ask, PerturbContext
from invent_chain.types import Perturbation, Perturbed, Sampling, Usage

PAPER_PROMPT = (
    "You are a helpful assistant that paraphrases sentences.\nProvide {n} paraphrases for this sentence: {question}"
)
"""The paper's system line and prompt, in one text because a request carries one."""

_NUMBERING = re.compile(r"^\s*(?:[-*•–>]+|\(?\d{1,3}[.):]|paraphrase\s*\d*\s*:)(?!\d)[*_\s]*", re.IGNORECASE)  # noqa: RUF001
_PAIRS = (('"', '"'), ("'", "'"), ("“", "”"), ("‘", "’"), ("«", "»"), ("`", "`"), ("*", "*"), ("_", "_"))  # noqa: RUF001
_TALK = re.compile(
    r"^(sure|certainly|of course|okay|ok|here (are|is)|below are|the following|these are|i hope|let me know)\b",
    re.IGNORECASE,
)


class Paraphrase:
    """Ask the model for paraphrases in one request.

    Args:
        ask: The model that paraphrases; None takes the one that is scored. Its prompt template, if it has one, is put
            around the paper's prompt too, so an `Ask` without instructions paraphrases better.
        prompt: What is asked, with `{n}` and `{question}` in it. The default is the paper's.
        temperature: Sampling temperature; the paper's is 0.7.

    Raises:
        ConfigurationError: The prompt lacks `{question}`.
    """

    def __init__(self, *, ask: Ask | None = None, prompt: str = PAPER_PROMPT, temperature: float | None = 0.7) -> None:
        if "{question}" not in prompt:
            raise ConfigurationError(f"prompt={prompt!r} has no place for the question: put {{question}} into it")
        self._ask, self._prompt = ask, prompt
        self._sampling = Sampling(temperature=temperature)
        self.name = f"paraphrase(temperature={temperature})"

    async def perturb(self, question: str, n: int, context: PerturbContext) -> Perturbed:
        """Return at most `n` paraphrases.

        Raises:
            InputError: The question is empty.
            PerturbationError: The model gave no answer, or none with a paraphrase in it.
        """
        if not question.strip():
            raise InputError("the question is empty: there is nothing to perturb")
        ask: Any = self._ask if self._ask is not None else context.ask
        prompt = self._prompt.replace("{n}", str(n)).replace("{question}", question)
        try:
            replies = await ask.ask(prompt, n=1, sampling=self._sampling)
        except AskError as error:
            raise PerturbationError(f"the model did not paraphrase: {error}") from error
        texts = parse_paraphrases(replies.texts[0] if replies.texts else "", question)[:n]
        if not texts:
            raise PerturbationError("the model's reply held no paraphrase: use another perturber, such as 'gaap'")
        notes = (f"the model gave {len(texts)} of {n} paraphrases",) if len(texts) < n else ()
        return Perturbed(
            tuple(Perturbation(text, operator="paraphrase") for text in texts),
            notes,
            Usage(1, replies.prompt_tokens, replies.completion_tokens),
        )


def parse_paraphrases(reply: str, question: str) -> list[str]:
    """Read paraphrases from a reply: one a line; numbering, bullets, quotes, preambles and closing remarks go."""
    seen = {" ".join(question.casefold().split())}
    found = []
    for line in reply.splitlines():
        text = _NUMBERING.sub("", line.strip().strip("*_ ")).strip()
        text = _unwrapped(text.removesuffix("**").strip() if text.count("**") == 1 else text)
        folded = " ".join(text.casefold().split())
        if len(text) > 2 and folded not in seen and not _TALK.match(text) and not text.endswith(":"):
            seen.add(folded)
            found.append(text)
    return found


def _unwrapped(text: str) -> str:
    """Take off quotation marks around the whole text; those inside it ('who wrote "Emma"') stay."""
    for pair in _PAIRS:
        left, right, inner = pair[0], pair[1], text[1:-1]
        if len(text) > 2 and text[0] == left and text[-1] == right and left not in inner and right not in inner:
            return _unwrapped(inner.strip())
    return text
