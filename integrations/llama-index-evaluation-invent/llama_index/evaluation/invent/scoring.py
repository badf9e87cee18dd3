"""What every shell of this package shares: the scorer, failed reports, the event."""

from __future__ import annotations

import logging
from dataclasses import replace

from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # its documented home
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.llms import LLM

from invent_chain import InvEntropy, UncertaintyReport
from invent_chain.errors import ConfigurationError, InventError

logger = logging.getLogger(__name__)
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


def checked_scorer(scorer: InvEntropy | None) -> InvEntropy:
    """Return how to score, with the default scorer if none is given.

    Raises:
        ConfigurationError: It is no `InvEntropy`, or has a model of its own.
    """
    if scorer is None:
        return InvEntropy()
    if not isinstance(scorer, InvEntropy):
        raise ConfigurationError(f"scorer is a {type(scorer).__name__}: pass InvEntropy(n=..., r=..., similarity=...)")
    if scorer.fingerprint.model:
        raise ConfigurationError(
            f"scorer has a model of its own ({scorer.fingerprint.model}), but siblings are asked of what answers: pass "
            "InvEntropy(n=..., r=..., similarity=...) without a model"
        )
    return scorer


def unscored(scorer: InvEntropy, question: str, answer: str, error: Exception) -> UncertaintyReport:
    """Return the failed report of an answer; what others raised may quote prompts, so it is logged at DEBUG."""
    reason = str(error)
    if not isinstance(error, InventError):
        reason = f"{type(error).__name__} was raised while scoring: its traceback is in the log at level DEBUG"
    logger.warning("an answer was not scored: %s", reason)
    logger.debug("an answer was not scored", exc_info=error)
    return scorer.unscored(question, answer, reason)


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
