"""The dual random walk: two similarity matrices become four distributions, for all bootstrap draws at once.

Pure functions on arrays. Equation numbers are those of arXiv 2506.09684. Throughout, m = n + 1 states (the original
question first), B bootstrap draws, and every distribution is over the m states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from invent_chain.errors import InputError
from invent_chain.protocols import FloatArray

IntArray = NDArray[np.int64]
Draws = Literal["independent", "distinct"]


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """The distributions of the dual random walk, one for each bootstrap draw.

    Attributes:
        p_x: Transition matrix over the questions, (m, m), row-stochastic (2).
        p_y: Transition matrices over the drawn answers, (B, m, m), row-stochastic (2).
        y: `P(Y = y_j)`, (B, m) (3).
        x_given_y: `P(X = x_i | Y = y_j)` at [b, j, i], (B, m, m); rows sum to 1 (4).
        x: `P(X = x_i)`, (B, m), by the law of total probability.
        y_given_x: `P(Y = y_j | X = x_i)` at [b, i, j], (B, m, m), by Bayes; rows sum to 1. A question that the walk
            never reaches (`P(x_i) = 0`) says nothing about the answer, so its row is `P(Y)`.
    """

    p_x: FloatArray
    p_y: FloatArray
    y: FloatArray
    x_given_y: FloatArray
    x: FloatArray
    y_given_x: FloatArray


def transition_matrix(similarity: FloatArray) -> FloatArray:
    """Normalise similarities to transition probabilities, eq. (2): `P[i, j] = a(z_i, z_j) / sum_k a(z_i, z_k)`.

    A row of zeros is a state that is similar to nothing, itself included: the walk stays there (identity row).

    Args:
        similarity: Non-negative, finite, shape (..., m, m).

    Returns:
        Row-stochastic array of the same shape.

    Raises:
        InputError: Wrong shape, a negative value, NaN or inf.
    """
    a = np.asarray(similarity, dtype=np.float64)
    if a.ndim < 2 or a.shape[-1] != a.shape[-2] or a.shape[-1] == 0:
        raise InputError(f"a similarity matrix has shape (..., m, m) with m >= 1; got {a.shape}")
    if not np.isfinite(a).all():
        raise InputError(f"similarities must be finite; {np.count_nonzero(~np.isfinite(a))} of {a.size} are NaN or inf")
    if a.min() < 0:
        raise InputError(f"similarities must be >= 0; the smallest is {a.min():.6g}: shift them, as in (1 + cos) / 2")
    peak = a.max(axis=-1, keepdims=True)
    scaled = np.where(peak > 0, a / np.where(peak > 0, peak, 1.0), np.eye(a.shape[-1]))  # sums cannot overflow
    return np.asarray(scaled / scaled.sum(axis=-1, keepdims=True))


def bootstrap_indices(
    counts: Sequence[int], draws: int, rng: np.random.Generator, *, kind: Draws = "independent"
) -> IntArray:
    """Draw one replication for each question, `draws` times, eq. (6).

    Args:
        counts: Replications r_i of each question, each >= 1; they may differ.
        draws: Number of bootstrap draws B >= 1.
        rng: Source of randomness.
        kind: "independent" is the paper's bootstrap, with replacement. "distinct" is the released code's: no tuple of
            replications twice; all tuples are returned where fewer than `draws` exist (there it never ends).

    Returns:
        Replication numbers, shape (B, m); B <= draws with kind="distinct".

    Raises:
        InputError: No draws, no questions, or a question without a replication.
    """
    sizes = np.asarray(counts, dtype=np.int64)
    if draws < 1:
        raise InputError(f"draws={draws}: at least 1 bootstrap draw is needed")
    if sizes.ndim != 1 or sizes.size == 0 or sizes.min() < 1:
        raise InputError(f"every question needs at least one answer; got counts {list(counts)}")
    if kind == "independent":
        return rng.integers(0, sizes, size=(draws, sizes.size))
    wanted = min(draws, int(np.prod(sizes.astype(np.float64)).clip(max=draws)))
    tuples = np.empty((0, sizes.size), dtype=np.int64)
    while len(tuples) < wanted:
        fresh = rng.integers(0, sizes, size=(2 * draws, sizes.size))
        tuples = np.concatenate([tuples, fresh])
        _, first = np.unique(tuples, axis=0, return_index=True)
        tuples = tuples[np.sort(first)]
    return tuples[:wanted]


def dual_walk(question_similarity: FloatArray, answer_similarity: FloatArray, states: IntArray) -> Walk:
    """Run the dual random walk for every bootstrap draw, eqs. (2) to (4).

    Args:
        question_similarity: `a(x_i, x_j)`, shape (m, m), the original question first.
        answer_similarity: `a(., .)` between k answers, shape (k, k).
        states: Which answer stands for each question in each draw: rows of `answer_similarity`, shape (B, m).

    Returns:
        The distributions of all B draws.

    Raises:
        InputError: Shapes that do not fit together, or an invalid similarity.
    """
    p_x = transition_matrix(question_similarity)
    m = p_x.shape[-1]
    if p_x.ndim != 2 or states.ndim != 2 or states.shape[1] != m:
        raise InputError(f"states must have shape (B, {m}) for {m} questions; got {states.shape}")
    p_y = transition_matrix(answer_similarity[states[:, :, None], states[:, None, :]])
    y = p_y.mean(axis=1)
    x_given_y = p_y @ p_x
    joint = y[:, :, None] * x_given_y
    x = joint.sum(axis=1)
    reached = x[:, :, None] > 0
    y_given_x = np.where(reached, joint.transpose(0, 2, 1) / np.where(reached, x[:, :, None], 1.0), y[:, None, :])
    return Walk(p_x=p_x, p_y=p_y, y=y, x_given_y=x_given_y, x=x, y_given_x=y_given_x)
