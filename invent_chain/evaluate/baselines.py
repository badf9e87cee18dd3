"""Published black-box uncertainties on the texts that were sampled: higher = more uncertain, natural log.

`texts` are answers to one question, the primary answer first. `similarity` is their cosine or another symmetric
similarity in [0, 1], shape (m, m), ones on the diagonal.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from invent_chain.errors import InputError
from invent_chain.protocols import FloatArray

_WORD = re.compile(r"\w+")


def lexical_entropy(texts: Sequence[str]) -> float:
    """Entropy of the answers as strings, case and punctuation dropped: in [0, ln m]."""
    if not texts:
        raise InputError("no answer: entropy needs at least one")
    counts = np.array(list(Counter(" ".join(_WORD.findall(text.casefold())) for text in texts).values()))
    return _entropy(counts)


def semantic_entropy(similarity: FloatArray, *, threshold: float = 0.85) -> float:
    """Entropy over clusters of meaning: in [0, ln m]. Discrete form of Farquhar et al. 2024, by embeddings.

    Answers whose similarity reaches `threshold` share a cluster, as do those linked through others. The original
    decides by entailment in both directions; a threshold on embeddings stands in for it and is not tuned.

    Args:
        similarity: See above.
        threshold: Least cosine of two answers of one meaning.
    """
    _, cluster = connected_components(_square(similarity) >= threshold, directed=False)
    return _entropy(np.bincount(cluster))


def degree_matrix(similarity: FloatArray) -> float:
    """`trace(m I - D) / m^2` with the degrees `D_ii = sum_j W_ij` (Lin, Trivedi and Sun 2024): in [0, 1 - 1/m]."""
    return float(1.0 - _square(similarity).mean())


def mean_dissimilarity(similarity: FloatArray) -> float:
    """One minus the mean similarity of two different answers: in [0, 1]. 0 for a single answer."""
    matrix = _square(similarity)
    m = len(matrix)
    return float(1.0 - (matrix.sum() - np.trace(matrix)) / (m * (m - 1))) if m > 1 else 0.0


def primary_dissimilarity(similarity: FloatArray, weights: FloatArray | None = None) -> float:
    """One minus the mean similarity of the primary answer to the others: in [0, 1].

    Over answers to perturbed questions, weighted by how close these are to the original, this is the agreement of SPUQ
    (Gao et al. 2024).

    Args:
        similarity: See above.
        weights: One for each of the other answers, (m - 1,), >= 0; None weighs all alike.
    """
    others = _square(similarity)[0, 1:]
    if not len(others):
        raise InputError("no answer besides the primary one: there is nothing to compare with")
    return float(1.0 - np.average(others, weights=weights))


def _entropy(counts: NDArray[Any]) -> float:
    share = counts / counts.sum()
    return float(max(-(share * np.log(share)).sum(), 0.0))


def _square(similarity: FloatArray) -> FloatArray:
    matrix = np.asarray(similarity, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
        raise InputError(f"similarity has shape {matrix.shape}: it must be (m, m) with m >= 1")
    return matrix
