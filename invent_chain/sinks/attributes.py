"""A report as flat names and plain values, the form that traces and log records take."""

from __future__ import annotations

from math import isfinite

from invent_chain.types import UncertaintyReport


def attributes(report: UncertaintyReport, *, text: bool = False) -> dict[str, str | int | float | bool]:
    """Return what a report found, by names that start with `invent.`.

    A value that is not there (no calibration, a model that counts no tokens, a number that is not finite) has no name
    either: trace stores accept neither None nor NaN.

    Args:
        report: The report.
        text: True adds what quotes the application: `invent.question`, `invent.answer`, `invent.reason` and, if there
            are any, `invent.problems`.

    Returns:
        `invent.score`, `invent.confidence`, `invent.status`, `invent.decision`, `invent.requests`,
        `invent.input_tokens`, `invent.output_tokens`, `invent.seconds`, `invent.cache_hits`,
        `invent.cost`, `invent.siblings` (questions asked besides the original), `invent.failures` (answers that did not
        come back) and `invent.measures.<name>`.
    """
    usage = report.usage
    numbers: dict[str, int | float | None] = {
        "invent.score": float(report.score),
        "invent.confidence": None if report.confidence is None else float(report.confidence),
        "invent.requests": int(usage.requests),
        "invent.input_tokens": None if usage.prompt_tokens is None else int(usage.prompt_tokens),
        "invent.output_tokens": None if usage.completion_tokens is None else int(usage.completion_tokens),
        "invent.seconds": float(usage.seconds),
        "invent.cache_hits": int(usage.cache_hits),
        "invent.cost": None if usage.cost is None else float(usage.cost),
        "invent.siblings": sum(sibling.operator != "original" for sibling in report.siblings),
        "invent.failures": sum(len(sibling.failures) for sibling in report.siblings),
        **{f"invent.measures.{name}": float(value) for name, value in report.measures.items()},
    }
    flat: dict[str, str | int | float | bool] = {
        "invent.status": report.status,
        "invent.decision": report.decision.action,
    }
    flat |= {name: value for name, value in numbers.items() if value is not None and isfinite(value)}
    if text:
        flat |= {
            "invent.question": _encodable(report.question),
            "invent.answer": _encodable(report.answer),
            "invent.reason": _encodable(report.decision.reason),
        }
        if report.problems:
            flat["invent.problems"] = _encodable("; ".join(report.problems))
    return flat


def _encodable(text: str) -> str:
    """Replace what UTF-8 cannot hold (half a surrogate pair), on which an exporter would lose its whole batch."""
    return text.encode("utf-8", "replace").decode("utf-8")
