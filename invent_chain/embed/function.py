"""Any function as an encoder."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from invent_chain.embed.rows import checked_rows
from invent_chain.errors import ConfigurationError
from invent_chain.protocols import FloatArray


class CallableEncoder:
    """Embed with any function `texts -> array of shape (len(texts), d)`.

    Args:
        function: The function; it runs in a worker thread, so an async one does not fit.
        name: Name in fingerprints; None takes the function's. Embeddings are cached only under a name that you give:
            two functions may be called alike.

    Raises:
        ConfigurationError: Not callable, or async.
    """

    def __init__(self, function: Callable[[list[str]], Any], name: str | None = None) -> None:
        if not callable(function):
            raise ConfigurationError(f"{function!r} is not callable: pass a function texts -> array")
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
            raise ConfigurationError("an encoder runs in a worker thread: pass a sync function, not an async one")
        self._function = function
        self.name = name or getattr(function, "__qualname__", type(function).__name__)
        self.identity = name or ""

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return what the function returns, shape (len(texts), d); (0, 0) for no texts.

        Raises:
            EmbeddingError: The function returned no numbers, NaN, inf or a wrong shape.
        """
        if not texts:
            return np.empty((0, 0))
        return checked_rows(self._function(list(texts)), len(texts), f"the encoder {self.name}")
