"""Similarities made from embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from invent_chain.cache.encoder import CachedEncoder
from invent_chain.embed.rows import checked_rows
from invent_chain.errors import ConfigurationError, InputError
from invent_chain.protocols import Cache, Encoder, FloatArray

Kind = Literal["shifted", "absolute", "exponential"]

_LEAST_SQUARE = 1e-200
"""Squared lengths below this have lost digits to underflow."""


def cosine_matrix(embeddings: FloatArray) -> FloatArray:
    """Cosine between all rows: shape (m, m), symmetric, in [-1, 1], ones on the diagonal.

    A zero row has no direction: its cosine is 0 to every other row and 1 to itself.

    Args:
        embeddings: One finite row for each text, shape (m, d).

    Raises:
        EmbeddingError: NaN, inf, or not two-dimensional.
    """
    if np.shape(embeddings)[:1] == (0,):
        return np.empty((0, 0))
    rows = checked_rows(embeddings, np.shape(embeddings)[0] if np.ndim(embeddings) else 1, "the encoder")
    return _cosine(rows)


def _cosine(rows: FloatArray) -> FloatArray:
    squares = np.einsum("ij,ij->i", rows, rows)
    if not (squares.min() > _LEAST_SQUARE and squares.max() < np.inf):  # lengths would overflow, vanish or be zero
        peak = np.abs(rows).max(axis=1, keepdims=True)
        rows = rows / np.where(peak > 0, peak, 1.0)
        squares = np.einsum("ij,ij->i", rows, rows)
    unit = rows / np.sqrt(np.where(squares > 0, squares, 1.0))[:, None]
    cosine = unit @ unit.T
    cosine = np.clip((cosine + cosine.T) / 2, -1.0, 1.0)
    np.fill_diagonal(cosine, 1.0)
    return cosine


class CosineSimilarity:
    """Compare texts by the cosine of their embeddings; every distinct text is encoded once, in one batch.

    Args:
        encoder: Embeds the texts.
        kind: "shifted" is `(1 + cos) / 2` (METHOD; the paper); "absolute" is `|cos|` (the released code); "exponential"
            is `exp(-(1 - cos) / width)`. All lie in [0, 1]; higher = more alike.
        width: Width of the exponential kernel, > 0; smaller is sharper: texts have to be closer to count as alike.
            The default is a middle value and not tuned. Other kinds do not use it.

    Raises:
        ConfigurationError: Not an encoder, an unknown kind, or a width that is not positive and finite.
    """

    def __init__(self, encoder: Encoder, *, kind: Kind = "shifted", width: float = 0.5) -> None:
        if not callable(getattr(encoder, "encode", None)) or isinstance(encoder, type):
            raise ConfigurationError(f"encoder={encoder!r}: needs a method encode(texts); wrap it with as_similarity")
        if kind not in ("shifted", "absolute", "exponential"):
            raise ConfigurationError(f"kind={kind!r}: choose 'shifted', 'absolute' or 'exponential'")
        if not 0.0 < width < math.inf:
            raise ConfigurationError(f"width={width!r}: must be more than 0 and finite")
        self._encoder, self._kind, self._width = encoder, kind, width
        detail = f"{kind}, width={width:g}" if kind == "exponential" else kind
        self._encoder_name = str(getattr(encoder, "name", type(encoder).__name__))
        self._name = f"cosine({self._encoder_name}, {detail})"

    @property
    def name(self) -> str:
        """Encoder and kind, for fingerprints."""
        return self._name

    @property
    def floor(self) -> float:
        """What two unrelated texts (cosine 0) get: 0.5 shifted, 0 absolute, exp(-1 / width) exponential."""
        return float(self._similarity(np.zeros(1))[0])

    @property
    def lexical(self) -> bool:
        """Whether words are compared, not meaning."""
        return bool(getattr(self._encoder, "lexical", False))

    def with_cache(self, cache: Cache) -> CosineSimilarity:
        """Return the same similarity with an encoder that embeds each text once; words need no cache."""
        if self.lexical:
            return self
        return CosineSimilarity(CachedEncoder(self._encoder, cache), kind=self._kind, width=self._width)

    def compare(self, *groups: Sequence[str]) -> tuple[FloatArray, ...]:
        """Return the similarity matrix of each group: (m, m), symmetric, in [0, 1], ones on the diagonal.

        Raises:
            InputError: A text where a group of texts is expected.
            EmbeddingError: The encoder returned NaN, inf or a wrong shape.
        """
        if any(isinstance(group, str) for group in groups):
            raise InputError("a group is a list of texts, not a text: pass [text]")
        texts = list(dict.fromkeys(text for group in groups for text in group))
        if not texts:
            return tuple(np.empty((0, 0)) for _ in groups)
        rows = checked_rows(self._encoder.encode(texts), len(texts), f"the encoder {self._encoder_name}")
        similarity = self._similarity(_cosine(rows))
        place = {text: i for i, text in enumerate(texts)}
        picks = [np.array([place[text] for text in group], dtype=np.intp) for group in groups]
        return tuple(similarity[np.ix_(pick, pick)] for pick in picks)

    def _similarity(self, cosine: FloatArray) -> FloatArray:
        if self._kind == "shifted":
            return (1.0 + cosine) / 2.0
        if self._kind == "absolute":
            return np.abs(cosine)
        with np.errstate(over="ignore", under="ignore"):  # a very sharp kernel is 0 off the diagonal
            return np.asarray(np.exp((cosine - 1.0) / self._width))
