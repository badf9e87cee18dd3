"""Reports as attributes of OpenTelemetry spans."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from invent_chain.errors import MissingExtraError
from invent_chain.sinks.attributes import attributes
from invent_chain.types import UncertaintyReport

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

logger = logging.getLogger(__name__)


class OpenTelemetrySink:
    """Set what a report found on the application's span, or on a span of its own.

    The attributes are those of `invent_chain.sinks.attributes`. They go to the span that is recording where the answer
    is scored; nothing else on it is touched. Without one a span "invent score" is made that lasts as long as scoring
    did; it carries `gen_ai.operation.name`, `gen_ai.request.model` and `gen_ai.usage.*` too, which on the
    application's span belong to the application's call.

    What goes wrong here is logged as a warning and never raised.

    Args:
        text: True adds question, answer, reason and problems.
        tracer: Makes the span where none is recording; by default the global provider's tracer "invent_chain".

    Raises:
        MissingExtraError: opentelemetry-api is not installed.
    """

    def __init__(self, *, text: bool = False, tracer: Tracer | None = None) -> None:
        try:
            from opentelemetry import trace
        except ImportError:
            raise MissingExtraError("OpenTelemetrySink", "otel") from None
        self._current_span = trace.get_current_span
        self._tracer = tracer if tracer is not None else trace.get_tracer("invent_chain")
        self._text = text

    def emit(self, report: UncertaintyReport) -> None:
        """Set the attributes."""
        try:
            found = attributes(report, text=self._text)
            span = self._current_span()
            if span.is_recording():
                span.set_attributes(found)
                return
            now = time.time_ns()
            own = self._tracer.start_span("invent score", start_time=now - int(report.usage.seconds * 1e9))
            own.set_attributes({**_call(report), **found})
            own.end(now)
        except Exception:
            logger.warning("the report could not be set on a span", exc_info=True)


def _call(report: UncertaintyReport) -> dict[str, str | int]:
    """Return what the GenAI conventions call the model's part in it."""
    values: dict[str, str | int | None] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": report.fingerprint.model or None,
        "gen_ai.usage.input_tokens": report.usage.prompt_tokens,
        "gen_ai.usage.output_tokens": report.usage.completion_tokens,
    }
    return {name: value for name, value in values.items() if value is not None}
