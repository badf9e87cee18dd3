"""An encoder that embeds each text once."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from invent_chain.cache.keys import embedding_key
from invent_chain.errors import CacheError
from invent_chain.protocols import Cache, Encoder, FloatArray

logger = logging.getLogger(__name__)


class CachedEncoder:
    """Look embeddings up before encoding, and keep what was encoded. They are kept in single precision.

    Args:
        encoder: What embeds. Its `identity` (see `Encoder`) is part of the key; without one nothing is kept.
        cache: Where embeddings are kept; where it fails, texts are encoded, and a warning is logged.
    """

    def __init__(self, encoder: Encoder, cache: Cache) -> None:
        self._encoder, self._cache = encoder, cache
        self.name = str(getattr(encoder, "name", type(encoder).__name__))
        self._identity = str(getattr(encoder, "identity", getattr(encoder, "name", "")))

    @property
    def lexical(self) -> bool:
        """Whether words are compared, not meaning."""
        return bool(getattr(self._encoder, "lexical", False))

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return embeddings, shape (len(texts), d).

        Raises:
            EmbeddingError: The encoder returned NaN, inf or a wrong shape.
        """
        if not self._identity:
            return self._encoder.encode(texts)
        keys = {text: embedding_key(self._identity, text) for text in texts}
        rows = self._kept(keys)
        new = [text for text in keys if text not in rows]
        if new:
            encoded = np.asarray(self._encoder.encode(new))
            if len(encoded) != len(new):
                return encoded  # the caller says what is wrong with it
            # Rounded before they are used, so that a kept embedding gives the same score as a fresh one.
            fresh = dict(zip(new, encoded.astype(np.float32), strict=True))
            self._keep({keys[text]: row.tobytes() for text, row in fresh.items()})
            rows |= fresh
        return np.array([rows[text] for text in texts], dtype=np.float64)

    def _kept(self, keys: dict[str, str]) -> dict[str, np.ndarray]:
        try:
            found = self._cache.get_many(list(keys.values()))
        except CacheError as error:
            logger.warning("embeddings are not looked up: %s", error)
            return {}
        return {text: np.frombuffer(found[key], np.float32) for text, key in keys.items() if key in found}

    def _keep(self, values: dict[str, bytes]) -> None:
        try:
            self._cache.set_many(values)
        except CacheError as error:
            logger.warning("embeddings are not kept: %s", error)
