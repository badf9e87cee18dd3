"""What the `openai` client raises, as errors of this library.

Messages name the server, the status and the fix. They leave out what the server says, since servers echo prompts and
parts of keys; the client's own error stays reachable as `__cause__`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from invent_chain.errors import AskError, AskRateLimitedError, AskRefusedError, AskTimeoutError
from invent_chain.sample.request import CountRejectedError

if TYPE_CHECKING:
    import openai

_UNKNOWN_MODEL = re.compile(
    r"model\b.{0,200}\b(not found|does not exist|doesn't exist|not exist|not supported|unknown|not a valid|invalid)"
    r"|(unknown|invalid|no such|unsupported)\W+model\b",
    re.IGNORECASE | re.DOTALL,
)
_ABOUT_COUNT = re.compile(
    r"(?<![\w.])[`'\"]?n[`'\"]?\s*(>|=|:|must|should|is\b|other than)|completion choice", re.IGNORECASE
)
_CODE = re.compile(r"[a-z_]{3,40}")

_FIXES = {
    401: "check the API key of the client",
    403: "check what the API key may use",
    404: "check base_url (it usually ends in /v1) and the model's name",
    408: "try again later, or lower concurrency",
    413: "shorten the prompt",
    429: "lower concurrency, or raise max_retries or the rate limit",
}


def safe_url(client: Any) -> str:
    """Return the client's base URL without user name, password and query."""
    parts = urlsplit(str(client.base_url))
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}".rstrip("/")


def as_ask_error(error: Exception, *, client: openai.OpenAI | openai.AsyncOpenAI, model: str, n: int) -> AskError:
    """Map what a chat completion for `n` choices raised."""
    import openai

    where = safe_url(client)
    if isinstance(error, AskError):
        return error
    if client.is_closed():
        return AskRefusedError(f"the client for {where} is closed: keep it open while answers are scored")
    if isinstance(error, openai.APITimeoutError):
        return AskTimeoutError(
            f"{where} did not answer within the timeout of the client: raise its timeout, or lower concurrency"
        )
    if isinstance(error, openai.APIConnectionError):
        cause = type(error.__cause__).__name__ if error.__cause__ is not None else "no details"
        fix = "check that the server runs and that base_url is right"
        if isinstance(error.__cause__, RuntimeError):
            fix = "an AsyncOpenAI belongs to the event loop that first used it, use a client of its own for each loop"
        return AskError(f"no complete reply from {where} ({cause}): {fix}")
    if isinstance(error, openai.APIStatusError):
        return _status_error(error, where, model, n)
    return AskError(
        f"the reply of {where} could not be read ({type(error).__name__}): check that base_url leads to an "
        "OpenAI-compatible server (it usually ends in /v1) and that extra holds known parameters"
    )


def _status_error(error: openai.APIStatusError, where: str, model: str, n: int) -> AskError:
    status = error.status_code
    code = error.code if isinstance(error.code, str) and _CODE.fullmatch(error.code) else None
    what = f"{where} answered {status}" + (f" ({code})" if code else "")
    said = error.message
    if status in (401, 403, 404):
        return AskRefusedError(f"{what} for model {model!r}: {_FIXES[status]}")
    if status == 429 and code == "insufficient_quota":
        return AskRefusedError(f"{what}: the account has no credit left, top it up")
    if status in (400, 422):
        if code == "model_not_found" or error.param == "model" or (error.param is None and _UNKNOWN_MODEL.search(said)):
            return AskRefusedError(f"{what}: it does not know model {model!r}, name one that it serves")
        if n > 1:
            about_count = error.param == "n" or (error.param is None and bool(_ABOUT_COUNT.search(said)))
            return CountRejectedError(
                f"{what} to a request for n={n} answers: set max_n=1, or check the other parameters",
                certain=about_count,
            )
        return AskError(f"{what}: check temperature, max_tokens, extra and the length of the prompt")
    fix = _FIXES.get(status, "the server failed, look into its log or try again later")
    retries = client_retries(error)
    said = "the client's retries" if retries is None else f"{retries} retries of the client"
    message = f"{what} after {said}: {fix}"
    if status == 429:
        return AskRateLimitedError(message, retry_after=retry_after(error.response.headers), tries=(retries or 0) + 1)
    return AskError(message)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a server asks to wait (Retry-After, or its milliseconds); None if it does not say."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:  # absent, or a date
            continue
        if 0.0 <= seconds < float("inf"):
            return seconds
    return None


def client_retries(error: openai.APIStatusError) -> int | None:
    """Return how often the client had tried again, if it says."""
    tried = error.request.headers.get("x-stainless-retry-count", "0")
    return int(tried) if tried.isdigit() else None
