"""Measures of uncertainty, each over all bootstrap draws of a `Walk`.

Unless said otherwise: shape (B,), one value a draw; higher = more uncertain; natural logarithm. The estimate of a
measure is its mean over the draws, eq. (6). Raw values depend on n: compare only scores made with the same n, r,
encoder and similarity.

| name | formula | range |
|---|---|---|
| `inv_entropy` | `-sum_i P(x_i|y_i) log P(x_i|y_i)` (5) | [0, m/e] |
| `ni_entropy` | `-sum_i P(y_i|x_i) log P(y_i|x_i)` | [0, m/e] |
| `nr_inv_entropy` | `inv_entropy` of one replication, no bootstrap | [0, m/e] |
| `wd_px_py` | Wasserstein distance between `P(X)` and `P(Y)` | [0, 1] |
| `max_py_x` | `max_i P(y_i|x_i)` | [0, 1] |
| `normalised` | `inv_entropy` between its two ends for the given `P_x` | [0, 1] |
| `support` | how far the other answers stand behind *this* answer; **higher = more certain** | [0, 1] |
| `consensus` | share of the other answers that say the same as *this* answer; **higher = more certain** | [0, 1] |
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from invent_chain.protocols import FloatArray
from invent_chain.sequential import expected_share
from invent_chain.walk import Walk

Value = TypeVar("Value", float, FloatArray)

SAME_MEANING = 0.7
"""Agreement from which two answers count as saying the same; chosen on a development split (docs/method.md)."""

_SAME = 1e-12
"""Two ends of the range of Inv-Entropy closer than this are one: the questions cannot tell answers apart."""


def inv_entropy(walk: Walk) -> FloatArray:
    """Inv-Entropy: the unnormalised entropy of the diagonal of `P_y P_x`, eq. (5). Range [0, m/e]."""
    return _diagonal_entropy(walk.x_given_y)


def ni_entropy(walk: Walk) -> FloatArray:
    """NI-Entropy, the non-inverse twin of Inv-Entropy: `-sum_i P(y_i|x_i) log P(y_i|x_i)`. Range [0, m/e]."""
    return _diagonal_entropy(walk.y_given_x)


def wd_px_py(walk: Walk) -> FloatArray:
    """Wasserstein distance between `P(X)` and `P(Y)` over the m states. Range [0, 1].

    The states have no order, so the ground metric is the discrete one (moving mass to any other state costs 1); the
    distance is then the total variation `0.5 * sum_i |P(x_i) - P(y_i)|`, and the order of siblings does not matter.
    """
    return np.asarray(0.5 * np.abs(walk.x - walk.y).sum(axis=-1))


def wd_px_py_released(walk: Walk) -> FloatArray:
    """Wasserstein distance of the released code: the probability *values* are compared as samples. Range [0, 1].

    Equal to `scipy.stats.wasserstein_distance(P(X), P(Y))`; blind to which state holds which probability.
    """
    return np.asarray(np.abs(np.sort(walk.x, axis=-1) - np.sort(walk.y, axis=-1)).mean(axis=-1))


def max_py_x(walk: Walk) -> FloatArray:
    """MAX-py-x: `max_i P(y_i|x_i)`. Range [0, 1]."""
    return np.asarray(np.diagonal(walk.y_given_x, axis1=-2, axis2=-1).max(axis=-1))


def max_py_x_released(walk: Walk) -> FloatArray:
    """MAX of the released code: `max_j P(y_j)`. Range [1/m, 1]."""
    return np.asarray(walk.y.max(axis=-1))


def normalised(walk: Walk) -> FloatArray:
    """Inv-Entropy between its two ends for the given `P_x`, clipped to [0, 1].

    `(H - H_same) / (H_alone - H_same)`: `H_same` is the value when all answers are equal (`P_y` uniform, so that
    `P(x_i|y_i)` is the mean of column i of `P_x`), `H_alone` when every answer is alone (`P_y` = identity). Unlike the
    raw value it does not depend on how alike the perturbations are.

    Where the two ends coincide (a single question, or questions that are all identical) the walk cannot tell equal
    answers from different ones: the value is 1.0, since what cannot be seen is not certain.
    """
    same = entr(walk.p_x.mean(axis=0)).sum()
    alone = entr(np.diagonal(walk.p_x)).sum()
    if abs(alone - same) < _SAME:
        return np.ones(len(walk.y))
    return np.asarray(np.clip((inv_entropy(walk) - same) / (alone - same), 0.0, 1.0))


def agreement(similarity: FloatArray, floor: float) -> FloatArray:
    """Put similarities on an absolute scale: 0 = unrelated (`floor`), 1 = same. Same shape, clipped to [0, 1].

    For `(1 + cos) / 2` with its floor of 0.5 this is the cosine itself, negative values clipped.
    """
    return np.clip((similarity - floor) / (1.0 - floor), 0.0, 1.0)


def support(agreements: FloatArray, closeness: FloatArray, compared: NDArray[np.bool_]) -> float:
    """How far the other answers stand behind this one: answer-conditional. Range [0, 1]; higher = more certain.

    `sum_i a(x_0, x_i) g_i / sum_i a(x_0, x_i)` over the questions i that were compared, where `g_i` is the mean
    agreement of the answers to question i (the primary itself left out) with the primary answer. A sibling that was
    asked and stayed silent has `g_i = 0`: missing data never lowers uncertainty. With nothing to compare the value is
    0.0, for the same reason.

    Args:
        agreements: `g_i`, shape (m,), in [0, 1].
        closeness: `a(x_0, x_i)`, shape (m,), in [0, 1].
        compared: Whether question i was asked for an answer besides the primary, shape (m,).
    """
    weight = np.where(compared, closeness, 0.0)
    total = weight.sum()
    # Rounding can leave a mean of ones a hair above 1.
    return min(float(weight @ agreements / total), 1.0) if total > 0 else 0.0


def consensus(agreements: FloatArray, against: int = 0, unasked: int = 0) -> float:
    """Share of the other answers that say the same as this one. Range [0, 1]; higher = more certain.

    Answer-conditional. In the terms of the walk: from the primary answer one of the other answers is drawn uniformly;
    the walker stays if the two say the same, and falls into a background state if not. The value is the probability
    that it stays. Unlike a row-normalised walk it keeps the absolute level of similarity (docs/method.md).

    Args:
        agreements: Agreement of each other answer with the primary one, shape (m,), in [0, 1]; at least `SAME_MEANING`
            counts as the same.
        against: Answers that were asked for and did not come: each counts as one that says something else, so that
            missing data never lowers uncertainty. With nothing to compare the value is 0.0, for the same reason.
        unasked: Answers of the plan that were not asked for, since the decision was settled without them: the value is
            then what is expected of the whole plan (`sequential.expected_share`).
    """
    asked = len(agreements) + against
    return expected_share(agreeing(agreements), asked, asked + unasked) if asked else 0.0


def agreeing(agreements: FloatArray) -> int:
    """Return how many answers say the same as the primary one, by their agreement with it, shape (m,)."""
    return int((agreements >= SAME_MEANING).sum())


def as_uncertainty(name: str, value: Value) -> Value:
    """Return a measure so that higher = more uncertain: `1 - value` for those of certainty, else the value itself."""
    return 1.0 - value if name in ("consensus", "support") else value


def _diagonal_entropy(conditional: FloatArray) -> FloatArray:
    # Rounding can leave a probability of 1 a hair above it, where entr turns negative.
    total: FloatArray = entr(np.diagonal(conditional, axis1=-2, axis2=-1).clip(max=1.0)).sum(axis=-1)
    return total
