"""What the sampler accepts; checked before any request."""

from __future__ import annotations

import math
from collections.abc import Sequence

from invent_chain.errors import ConfigurationError, InputError
from invent_chain.protocols import Ask
from invent_chain.types import Sampling

PLACE = "{question}"
"""Where a template has the question."""


def check_texts(system: object, template: object) -> None:
    """Check what stands around a question.

    Raises:
        ConfigurationError: One is no text, or the template has no place for the question.
    """
    if system is not None and not isinstance(system, str):
        raise ConfigurationError(f"system must be a text or None; got a {type(system).__name__}")
    if not isinstance(template, str) or PLACE not in template:
        raise ConfigurationError(f"template={template!r} has no place for the question: put {PLACE} into it")


def check_settings(
    wanted: Sequence[tuple[object, object]],
    *,
    sampling: Sampling,
    timeout: float,
    concurrency: int = 1,
    max_requests: int | None = None,
    deadline: float | None = None,
) -> None:
    """Check questions and bounds; see `sample` for their ranges.

    Raises:
        ConfigurationError: A setting is out of range.
        InputError: A question is empty or no text.
    """
    for question, count in wanted:
        if not isinstance(question, str) or not question.strip():
            got = "an empty text" if isinstance(question, str) else f"a {type(question).__name__}"
            raise InputError(f"a question must be a text with visible characters; got {got}")
        check_whole("replications", count, least=0)
    check_whole("concurrency", concurrency)
    if max_requests is not None:
        check_whole("max_requests", max_requests)
    if sampling.max_tokens is not None:
        check_whole("max_tokens", sampling.max_tokens)
    check_seconds("timeout", timeout)
    if deadline is not None:
        check_seconds("deadline", deadline)
    check_temperature(sampling.temperature)


def most_at_once(ask: Ask) -> int:
    """Return how many answers one request to the model may want.

    Raises:
        ConfigurationError: Its `max_n` is not a whole number of at least 1.
    """
    most = getattr(ask, "max_n", 1)
    check_whole(f"max_n of {type(ask).__name__}", most)
    return int(most)


def prompt_of(ask: Ask) -> str:
    """Return the digest of the prompt around the question (see `Fingerprint.prompt`); "" where it is not known."""
    return str(getattr(ask, "prompt", ""))


def check_whole(name: str, value: object, *, least: int = 1) -> None:
    """Raise ConfigurationError unless `value` is a whole number of at least `least`."""
    if type(value) is not int or value < least:
        raise ConfigurationError(f"{name}={value!r}: must be a whole number of at least {least}")


def check_seconds(name: str, value: object) -> None:
    """Raise ConfigurationError unless `value` is a number above 0."""
    if not is_number(value) or not value > 0.0:  # type: ignore[operator]
        raise ConfigurationError(f"{name}={value!r}: must be more than 0 seconds")


def check_temperature(heat: object) -> None:
    """Raise ConfigurationError unless it is a finite number of at least 0, or None."""
    if heat is not None and not (is_number(heat) and 0.0 <= heat < math.inf):  # type: ignore[operator]
        raise ConfigurationError(f"temperature={heat!r}: must be a number of at least 0, or None for the model's own")


def is_number(value: object) -> bool:
    """Whether it is an int or a float, and no bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
