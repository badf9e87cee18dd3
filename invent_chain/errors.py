"""Everything invent-chain raises.

InventError
├── ConfigurationError (ValueError)     a setting is out of range; raised when the object is constructed
├── InputError (ValueError)             a question, answer or array that cannot be scored; raised before any call
├── MissingExtraError (ImportError)     an optional dependency is absent; names the command that installs it
├── AskError                            the model gave no usable answer to one request
│   ├── AskTimeoutError (TimeoutError)  ... within the time allowed
│   ├── AskRateLimitedError             ... now, but may later (429)
│   └── AskRefusedError                 ... and asking again is useless (401, 403, 404, unknown model)
├── CalibrationError (ValueError)       a calibration is broken, or was made for other scores
├── CacheError                          a cache cannot be read or written; scoring goes on without it
├── PerturbationError                   a perturber failed or returned something that is not text
└── EmbeddingError                      an encoder returned NaN, inf or the wrong shape
"""

from __future__ import annotations


class InventError(Exception):
    """Base of every error that invent-chain raises on purpose."""


class ConfigurationError(InventError, ValueError):
    """A setting is out of range or two settings contradict each other."""


class InputError(InventError, ValueError):
    """A question, an answer or an array cannot be scored."""


class MissingExtraError(InventError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional dependency: pip install 'invent-chain[{extra}]'")
        self.extra = extra


class AskError(InventError):
    """The model gave no usable answer to one request."""


class AskTimeoutError(AskError, TimeoutError):
    """The model did not answer within the time allowed."""


class AskRateLimitedError(AskError):
    """The model asks to slow down.

    Attributes:
        retry_after: Seconds to wait, where the server says.
        tries: How often the client sent the request by itself, >= 1.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, tries: int = 1) -> None:
        super().__init__(message)
        self.retry_after, self.tries = retry_after, tries


class AskRefusedError(AskError):
    """The model refused in a way that makes asking again useless."""


class CalibrationError(InventError, ValueError):
    """A calibration cannot be read, or was made for scores that are not comparable with these."""


class CacheError(InventError):
    """A cache cannot be read or written."""


class PerturbationError(InventError):
    """A perturber failed or returned something that is not text."""


class EmbeddingError(InventError):
    """An encoder or similarity returned something that cannot be compared."""


def describe(error: Exception) -> str:
    """Return an error in a sentence: its text where it is one of ours, which say everything, else with its type."""
    return str(error) if isinstance(error, InventError) else f"{type(error).__name__}: {error}"
