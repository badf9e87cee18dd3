"""Similarities made from embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from invent_chain.errors import ConfigurationError, EmbeddingError
from invent_chain.protocols import Encoder, FloatArray

Kind = Literal["shifted", "absolute", "exponential"]


def cosine_matrix(embeddings: FloatArray) -> FloatArray:
    """Cosine between all rows: shape (m, m), symmetric, in [-1, 1], ones on the diagonal.

    A zero row has no direction: its cosine is 0 to every other row and 1 to itself.

    Args:
        embeddings: One finite row for each text, shape (m, d).
    """
    rows = np.asarray(embeddings, dtype=np.float64)
    peak = np.abs(rows).max(axis=1, keepdims=True, initial=0.0)
    scaled = rows / np.where(peak > 0, peak, 1.0)  # norms neither overflow nor vanish
    length = np.linalg.norm(scaled, axis=1, keepdims=True)
    unit = scaled / np.where(length > 0, length, 1.0)
    cosine = np.clip(unit @ unit.T, -1.0, 1.0)
    cosine = (cosine + cosine.T) / 2
    np.fill_diagonal(cosine, 1.0)
    return cosine


class CosineSimilarity:
    """Compare texts by the cosine of their embeddings; every distinct text is encoded once, in one batch.

    Args:
        encoder: Embeds the texts.
        kind: "shifted" is `(1 + cos) / 2` (METHOD; the paper); "absolute" is `|cos|` (the released code); "exponential"
            is `exp(-(1 - cos) / width)`. All lie in [0, 1]; higher = more alike.
        width: Width of the exponential kernel, > 0; smaller is sharper.

    Raises:
        ConfigurationError: An unknown kind or a width that is not positive.
    """

    def __init__(self, encoder: Encoder, *, kind: Kind = "shifted", width: float = 0.5) -> None:
        if kind not in ("shifted", "absolute", "exponential"):
            raise ConfigurationError(f"kind={kind!r}: choose 'shifted', 'absolute' or 'exponential'")
        if not 0.0 < width < math.inf:
            raise ConfigurationError(f"width={width!r}: must be more than 0 and finite")
        self._encoder, self._kind, self._width = encoder, kind, width
        detail = f"{kind}, width={width:g}" if kind == "exponential" else kind
        self.name = f"cosine({getattr(encoder, 'name', type(encoder).__name__)}, {detail})"
        self.floor = float(self._similarity(np.zeros(1))[0])
        """What two unrelated texts (cosine 0) get."""
        self.lexical = bool(getattr(encoder, "lexical", False))
        """Whether words are compared, not meaning."""

    def compare(self, *groups: Sequence[str]) -> tuple[FloatArray, ...]:
        """Return the similarity matrix of each group: (m, m), symmetric, in [0, 1], ones on the diagonal.

        Raises:
            EmbeddingError: The encoder returned NaN, inf or a wrong shape.
        """
        texts = list(dict.fromkeys(text for group in groups for text in group))
        if not texts:
            return tuple(np.empty((0, 0)) for _ in groups)
        similarity = self._similarity(cosine_matrix(self._encoded(texts)))
        place = {text: i for i, text in enumerate(texts)}
        rows = [np.array([place[text] for text in group], dtype=np.intp) for group in groups]
        return tuple(similarity[np.ix_(row, row)] for row in rows)

    def _similarity(self, cosine: FloatArray) -> FloatArray:
        if self._kind == "shifted":
            return (1.0 + cosine) / 2.0
        if self._kind == "absolute":
            return np.abs(cosine)
        return np.asarray(np.exp((cosine - 1.0) / self._width))

    def _encoded(self, texts: list[str]) -> FloatArray:
        try:
            rows = np.asarray(self._encoder.encode(texts), dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise EmbeddingError(f"the encoder returned no array of numbers: {error}") from error
        if rows.ndim != 2 or len(rows) != len(texts) or rows.shape[1] == 0:
            raise EmbeddingError(
                f"the encoder returned shape {rows.shape} for {len(texts)} texts; expected one row each"
            )
        bad = int((~np.isfinite(rows)).any(axis=1).sum())
        if bad:
            raise EmbeddingError(f"the encoder returned NaN or inf in {bad} of {len(texts)} rows")
        return rows
