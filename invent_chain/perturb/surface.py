"""Perturbations that need no lexicon: the question as it is, in another frame."""

from __future__ import annotations

ANY_LANGUAGE = ("Q: {}", "“{}”", "- {}", "({})", "1. {}", "> {}", "« {} »", "* {}", "... {}", "{} ...", "# {}", "[{}]")
ENGLISH = (
    "Please tell me: {}",
    "Here is my question: {}",
    "I would like to know: {}",
    "Question: {}",
    "Can you help me with this? {}",
    "One more question: {}",
    "I was wondering: {}",
    "{} Thank you.",
    "Let me ask you this: {}",
    "Quick question: {}",
)


def surface(question: str, *, english: bool) -> list[str]:
    """Return the question in other frames, which leave every word of it as it is."""
    frames = (*ENGLISH, *ANY_LANGUAGE) if english else ANY_LANGUAGE
    return [frame.format(question.strip()) for frame in (frame.replace("{}", "{0}") for frame in frames)]
