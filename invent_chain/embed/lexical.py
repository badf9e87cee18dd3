"""The encoder that needs nothing installed."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from invent_chain.embed.words import folded, word_spans
from invent_chain.errors import ConfigurationError
from invent_chain.protocols import FloatArray

_SENTENCE_MARKS = ".,;:!?\"'()[]{}…“”‘’«»„。、，！？；：「」『』（）¿¡"  # noqa: RUF001 - typographic and CJK marks


class LexicalEncoder:
    """Hashed words and character n-grams: needs nothing installed, and compares words, **not meaning**.

    "Paris" and "the French capital" are unrelated to it, "won in 1966" and "lost in 1966" nearly the same. It works in
    any language, is the same on every machine and its cosines are never negative. Use a sentence encoder for anything
    that matters.

    Features: words, and the 3- to 5-grams of each run of characters between spaces, sentence marks at its ends left
    out, so that "C++", "-5" and "$5" differ from "C", "5" and "€5".

    Args:
        dimension: Length of an embedding, >= 2; fewer means more collisions.
    """

    lexical = True
    """Words are compared, not meaning; reports carry a note."""

    def __init__(self, dimension: int = 4096) -> None:
        if dimension < 2:
            raise ConfigurationError(f"dimension={dimension}: must be at least 2")
        self._dimension = dimension
        self.name = f"lexical-{dimension}"

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return rows of length 1, shape (len(texts), dimension), values in [0, 1]; an empty text is a zero row."""
        rows = np.zeros((len(texts), self._dimension))
        for row, text in zip(rows, texts, strict=True):
            for feature, count in Counter(_features(folded(text))).items():
                row[zlib.crc32(feature.encode(errors="surrogatepass")) % self._dimension] += count
            length = np.linalg.norm(row)
            if length > 0:
                row /= length
        return rows


def _features(text: str) -> Iterator[str]:
    for start, end in word_spans(text):
        yield f"word:{text[start:end]}"
    for chunk in text.split():
        core = chunk.strip(_SENTENCE_MARKS)
        if core:
            padded = f"<{core}>"
            for size in (3, 4, 5):
                yield from (padded[i : i + size] for i in range(len(padded) - size + 1))
