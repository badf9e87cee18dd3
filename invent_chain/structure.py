"""How far structured answers agree, part by part: tool names, arguments, fields."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any


def agreement_by_part(answer: str, others: Sequence[str]) -> dict[str, float]:
    """Compare the parts of a structured answer with those of other answers to the same question.

    Args:
        answer: The primary answer.
        others: Further answers; one that is no JSON object or array agrees on no part.

    Returns:
        For each leaf of the answer, by its path ("arguments.city", "items.0"), the share of the others that hold the
        same value there, in [0, 1]; 1 = all agree. Texts are compared without regard to case and outer blanks. Empty
        if the answer is no JSON object or array, or if there are no others.
    """
    parts = dict(_leaves(_parsed(answer)))
    found = [dict(_leaves(_parsed(other))) for other in others]
    if not found:
        return {}
    return {
        path: sum(path in other and other[path] == value for other in found) / len(found)
        for path, value in parts.items()
    }


def _parsed(text: str) -> Any:
    """Return the JSON object or array that the text is, with or without a code fence; else None."""
    body = text.strip()
    if body.startswith("```") and body.endswith("```"):
        body = body.removesuffix("```").partition("\n")[2].strip()
    if not body.startswith(("{", "[")):
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from _leaves(part, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list) and value:
        for index, part in enumerate(value):
            yield from _leaves(part, f"{path}.{index}" if path else str(index))
    elif path:
        yield path, _comparable(value)


def _comparable(value: Any) -> Any:
    if isinstance(value, str):
        return value.strip().casefold()
    return (type(value).__name__, value) if isinstance(value, bool) else value  # True == 1 in Python, not in JSON
