"""Reports as log records."""

from __future__ import annotations

import logging

from invent_chain.errors import ConfigurationError
from invent_chain.sinks.attributes import attributes
from invent_chain.types import UncertaintyReport


class LogSink:
    """Write one log record for each report: a sentence to read, and fields to search.

    The fields are those of `invent_chain.sinks.attributes`, set on the record as `invent_score`, `invent_decision`,
    `invent_measures_support` and so on: a JSON formatter picks them up, and none clashes with logging's own.

    Args:
        logger: Where to write; the logger "invent_chain.reports" by default.
        level: Level of the records. Python shows INFO only where the application's logging is set to it.
        text: True adds the question, the answer and the reason to the sentence and the fields.

    Raises:
        ConfigurationError: The logger or the level is none.
    """

    def __init__(self, logger: logging.Logger | None = None, *, level: int = logging.INFO, text: bool = False) -> None:
        if logger is not None and not isinstance(logger, logging.Logger):
            raise ConfigurationError(f"logger={logger!r}: pass a logging.Logger, such as logging.getLogger('my_app')")
        if not isinstance(level, int):
            raise ConfigurationError(f"level={level!r}: pass a number such as logging.INFO")
        self._logger = logger if logger is not None else logging.getLogger("invent_chain.reports")
        self._level, self._text = level, text

    def emit(self, report: UncertaintyReport) -> None:
        """Write one record, if the logger takes its level."""
        if not self._logger.isEnabledFor(self._level):
            return
        fields = attributes(report, text=self._text)
        message = "uncertainty %.3f, so: %s (status %s; %d requests, %s tokens, %.2f s)"
        values = [report.score, report.decision.action, report.status, report.usage.requests, _tokens(report)]
        values.append(report.usage.seconds)
        if self._text:
            message += ": %r -> %r, because %s"
            values += [report.question, report.answer, report.decision.reason]
        extra = {name.replace(".", "_"): value for name, value in fields.items()}
        self._logger.log(self._level, message, *values, extra=extra)


def _tokens(report: UncertaintyReport) -> str:
    read, written = report.usage.prompt_tokens, report.usage.completion_tokens
    return "unknown" if read is None and written is None else str((read or 0) + (written or 0))
