"""What every shell of this package shares: where reports stand, remarks on them, the event."""

from __future__ import annotations

from dataclasses import replace

from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # its documented home
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.llms import LLM

from invent_chain import UncertaintyReport

dispatcher = get_dispatcher(__name__)

KEY = "invent"
"""Where the report stands in the metadata of a response, or in the additional keywords of a model's."""


class UncertaintyEvent(BaseEvent):
    """An answer was scored; for LlamaIndex's dispatcher.

    Attributes:
        score: Uncertainty in [0, 1]; higher = more uncertain.
        status: "ok", "degraded" or "failed".
        action: What the policy says to do.
        requests: Requests that scoring took.
    """

    score: float
    status: str
    action: str
    requests: int

    @classmethod
    def class_name(cls) -> str:
        """Return the name of the event."""
        return "UncertaintyEvent"


def with_remark(report: UncertaintyReport, llm: LLM) -> UncertaintyReport:
    """Note that siblings ran with the model's own temperature, where it has no such setting."""
    if "temperature" in type(llm).model_fields or report.fingerprint.temperature is None:
        return report
    remark = f"{type(llm).__name__} has no setting temperature: siblings ran with its own"
    return replace(report, notes=(*report.notes, remark))


def told(report: UncertaintyReport) -> UncertaintyReport:
    """Send the event about a report, and return the report."""
    dispatcher.event(
        UncertaintyEvent(
            score=report.score, status=report.status, action=report.decision.action, requests=report.usage.requests
        )
    )
    return report
