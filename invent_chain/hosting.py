"""What every integration shares: the scorer that it takes, a provider's errors, the report of an unscored answer."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from invent_chain.errors import AskError, AskRateLimitedError, AskRefusedError, ConfigurationError, InventError
from invent_chain.pipeline import InvEntropy
from invent_chain.sample.openai_errors import retry_after
from invent_chain.sample.request import CountRejectedError
from invent_chain.types import UncertaintyReport

logger = logging.getLogger(__name__)


def without_model(scorer: InvEntropy | None) -> InvEntropy:
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
            f"scorer has a model of its own ({scorer.fingerprint.model}), but siblings are asked of the model that "
            "answers: pass InvEntropy(n=..., r=..., similarity=...) without a model"
        )
    return scorer


def unscored(
    scorer: InvEntropy, question: str, answer: str, error: Exception, *, model: str | None = None
) -> UncertaintyReport:
    """Return the failed report of an answer whose scoring raised.

    What others raised may quote prompts: the report and the warning name its kind, and the rest is logged at DEBUG.
    """
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    reason = str(error)
    if not isinstance(error, InventError):
        reason = f"{type(error).__name__} was raised while scoring: its traceback is in the log at level DEBUG"
        logger.warning("an answer was not scored: %s", reason)
        logger.debug("an answer was not scored", exc_info=error)
    return scorer.unscored(question, answer, reason, model=model)


def as_ask_error(error: Exception, name: str, *, n: int = 1) -> AskError:
    """Return what the model `name` raised when asked for `n` answers as an error of this library.

    The message names the model, the kind of error and the status. What the provider said stays out of it, since
    providers echo prompts and keys; it is logged at DEBUG and chained.
    """
    if isinstance(error, AskError):
        return error
    logger.debug("a sibling request to %s failed", name, exc_info=error)
    status = getattr(error, "status_code", None)
    what = f"{name} raised {type(error).__name__}" + (f" (status {status})" if isinstance(status, int) else "")
    if status in (401, 403, 404):
        return AskRefusedError(f"{what}: check the key, its rights and the model's name")
    if status == 429:
        headers = getattr(getattr(error, "response", None), "headers", None)
        wait = retry_after(headers) if isinstance(headers, Mapping) else None
        return AskRateLimitedError(f"{what}: lower concurrency, or raise the rate limit", retry_after=wait)
    if n > 1 and (status in (400, 422) or isinstance(error, (ValueError, TypeError, NotImplementedError))):
        return CountRejectedError(f"{what} for n={n} answers in one request")
    return AskError(f"{what}: its message is in the log at level DEBUG")
