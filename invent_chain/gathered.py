"""What came back from all that was asked, as a report tells it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from invent_chain.assess import Assessment
from invent_chain.sample import Sampled
from invent_chain.types import Perturbation, Sibling


def siblings_of(
    question: str,
    perturbations: Sequence[Perturbation],
    answers: Sequence[Sequence[str]],
    sampled: Sampled,
    assessment: Assessment | None,
) -> tuple[Sibling, ...]:
    """Return what a report tells of the question and its siblings.

    Args:
        question: The original question.
        perturbations: Its siblings.
        answers: Answers to each of them, the question first.
        sampled: What came of asking.
        assessment: What the answers say; None if they could not be compared.
    """
    blank: tuple[None, ...] = (None,) * len(answers)
    asked = [(question, "original"), *((p.text, p.operator) for p in perturbations)]
    return tuple(
        Sibling(
            question=text,
            answers=tuple(texts),
            similarity=closeness,
            agreement=agreement,
            operator=operator,
            failures=outcome.failures,
        )
        for (text, operator), texts, outcome, closeness, agreement in zip(
            asked,
            answers,
            sampled.outcomes,
            assessment.closeness if assessment else blank,
            assessment.agreement if assessment else blank,
            strict=True,
        )
    )


def others(siblings: Sequence[Sibling]) -> list[str]:
    """Return every answer but the primary one."""
    return [*siblings[0].answers[1:], *(text for sibling in siblings[1:] for text in sibling.answers)]


def missing_answers(sampled: Sampled) -> list[str]:
    """Return one sentence for each reason for which answers did not come back."""
    failures = [failure for outcome in sampled.outcomes for failure in outcome.failures]
    total = len(failures) + sum(len(outcome.texts) for outcome in sampled.outcomes)
    return [
        f"{count} of {total} answers did not come back: {reason}" for reason, count in Counter(failures).most_common()
    ]
