"""Key words: which words of a question carry its meaning (METHOD, GAAP step 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from invent_chain.protocols import FloatArray

Closeness = Callable[[Sequence[str]], FloatArray]
"""Similarity of texts to the question, shape (len(texts),)."""


def key_words(genome: Sequence[str], candidates: Sequence[int], ratio: float, closeness: Closeness) -> list[int]:
    """Return the loci of the q = int(ratio * p) words that alone are most similar to the question, in text order.

    This is what KeyBERT does for single words, with the scorer's own similarity.

    Args:
        genome: The tokens of the question, p of them words.
        candidates: Loci that may change.
        ratio: Share of the words, in (0, 1]; at least one becomes a key word if there is a candidate.
        closeness: Similarity to the question.
    """
    if not candidates:
        return []
    words = sum(gene[:1].isalnum() for gene in genome)
    near = closeness([genome[locus] for locus in candidates])
    best = np.argsort(-near, kind="stable")[: max(1, int(ratio * words))]
    return sorted(candidates[i] for i in best)
