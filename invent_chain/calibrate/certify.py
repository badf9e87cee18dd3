"""A threshold on uncertainty with a finite-sample guarantee on the risk of the answers below it.

Learn then Test (Angelopoulos, Bates, Candes, Jordan and Lei 2021) on a grid that is fixed before any data are seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr
from scipy.stats import beta

from invent_chain.errors import ConfigurationError, InputError
from invent_chain.protocols import FloatArray

Labels = NDArray[np.bool_] | FloatArray

GRID = np.arange(1, 101) / 100
_ASIDE = 0.2
"""Share of the scores that chooses where the tests begin, and is not tested on."""

_ENOUGH = 10_000_000


@dataclass(frozen=True, slots=True)
class Certificate:
    """Answers with an uncertainty of at most `threshold` are wrong with probability at most `risk`.

    That holds with probability at least `confidence` over the draw of the labelled answers, if these are independent
    and come from the distribution on which the threshold is used. It is a statement on average over answers below the
    threshold, not on each.

    Attributes:
        threshold: Largest certified uncertainty, in [0, 1].
        risk: Bound on P(wrong | uncertainty <= threshold), in (0, 1).
        confidence: In (0, 1).
        accepted: Tested answers below the threshold.
        wrong: Wrong ones among them.
        tested: Labelled answers that were tested on: four fifths.
        labels: Labelled answers in all.
        upper_bound: Clopper-Pearson upper bound on the risk at this threshold alone, at `confidence`.
    """

    threshold: float
    risk: float
    confidence: float
    accepted: int
    wrong: int
    tested: int
    labels: int
    upper_bound: float

    @property
    def coverage(self) -> float:
        """Share of the tested answers below the threshold, in (0, 1]."""
        return self.accepted / self.tested


@dataclass(frozen=True, slots=True)
class Uncertifiable:
    """No threshold could be certified.

    Attributes:
        risk: The bound that was asked for.
        confidence: The confidence that was asked for.
        labels: Labelled answers in all.
        more_labels: How many more would certify the most promising threshold, if its share of wrong answers and its
            coverage stay what they are; None if no threshold has a share of wrong answers below `risk`.
    """

    risk: float
    confidence: float
    labels: int
    more_labels: int | None

    def __str__(self) -> str:
        asked = f"a risk of at most {self.risk:g} with confidence {self.confidence:g}"
        if self.more_labels is None:
            return f"{asked} is not certifiable: no threshold leaves that few wrong answers; allow more risk"
        return (
            f"{asked} is not certifiable with these data ({self.labels} labels): about {self.more_labels} more "
            f"label{'s' * (self.more_labels != 1)} would be needed"
        )


def certify(
    uncertainty: FloatArray, right: Labels, *, risk: float, confidence: float = 0.9, seed: int = 0
) -> Certificate | Uncertifiable:
    """Find the largest threshold whose selective risk is certified.

    For a threshold t that does not depend on the tested answers, with n of them accepted, the wrong ones are
    Binomial(n, R(t)), so that `P(Bin(n, risk) <= wrong)` is a valid p-value for "R(t) > risk". The tests run up the
    grid 0.01, 0.02, ..., 1 and stop at the first failure (fixed-sequence testing), so that the probability that any
    passed threshold exceeds the risk is at most `1 - confidence`. They begin where about twice as many answers are
    accepted as could pass with none wrong; where that is, a fifth of the scores says, which is not tested on.

    Args:
        uncertainty: Scores of labelled answers, (m,), in [0, 1]; higher = more uncertain.
        right: Whether each is right, (m,).
        risk: Bound on P(wrong | uncertainty <= threshold), in (0, 1).
        confidence: Probability with which the bound holds, in (0, 1).
        seed: Seed of the split.

    Raises:
        ConfigurationError: `risk` or `confidence` is out of range.
        InputError: Shapes differ, no label is given, or a score is outside [0, 1].
    """
    check_shares(risk=risk, confidence=confidence)
    scores, wrong = checked_labels(uncertainty, right)
    order = np.random.default_rng(seed).permutation(len(scores))
    aside, tested = np.split(order, [int(np.ceil(_ASIDE * len(scores)))])
    below = scores[tested][None, :] <= GRID[:, None] + 1e-12
    accepted, errors = below.sum(axis=1), (below & wrong[tested][None, :]).sum(axis=1)

    level = 1.0 - confidence
    fewest = np.log(level) / np.log(1.0 - risk)
    share = min(2.0 * fewest / max(len(tested), 1), 1.0)
    start = int(np.searchsorted(GRID, np.quantile(scores[aside], share) - 1e-12).clip(max=len(GRID) - 1))
    failures = np.flatnonzero(bdtr(errors[start:], accepted[start:], risk) > level)
    last = start + (int(failures[0]) if len(failures) else len(GRID) - start) - 1
    if last < start:
        needed = tested_needed(accepted, errors, risk, level)
        more = None if needed is None else max(int(np.ceil(needed * len(scores) / len(tested))) - len(scores), 1)
        return Uncertifiable(risk, confidence, len(scores), more)
    n, k = int(accepted[last]), int(errors[last])
    return Certificate(float(GRID[last]), risk, confidence, n, k, len(tested), len(scores), upper(k, n, confidence))


def check_shares(**shares: float) -> None:
    """Raise ConfigurationError unless each lies in (0, 1)."""
    for name, value in shares.items():
        if not 0.0 < value < 1.0:
            raise ConfigurationError(f"{name}={value}: must lie between 0 and 1, ends excluded")


def upper(wrong: int, n: int, confidence: float) -> float:
    """Return the one-sided Clopper-Pearson upper bound on a share of which `wrong` of `n` were seen."""
    return 1.0 if wrong == n else float(beta.ppf(confidence, wrong + 1, n - wrong))


def checked_labels(uncertainty: FloatArray, right: Labels) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return scores and whether each answer is wrong.

    Raises:
        InputError: Shapes differ, no label is given, or a value is out of range.
    """
    scores, labels = np.asarray(uncertainty, dtype=np.float64), np.asarray(right)
    if scores.ndim != 1 or scores.shape != labels.shape or not len(scores):
        raise InputError(f"scores have shape {scores.shape} and labels {labels.shape}: both must be (m,) with m >= 1")
    if not (scores.min() >= 0.0 and scores.max() <= 1.0):  # also false for NaN
        raise InputError("a score is outside [0, 1] or NaN: leave out answers that could not be scored")
    if not np.isin(labels, (0, 1)).all():
        raise InputError("labels must be True (right) or False (wrong)")
    return scores, labels == 0


def tested_needed(accepted: NDArray[np.int64], errors: NDArray[np.int64], risk: float, level: float) -> float | None:
    """Return how many tested answers would let the most promising threshold pass; None if no share is low enough."""
    needed = []
    for n, k in {(int(n), int(k)) for n, k in zip(accepted, errors, strict=True) if n and k / n < risk}:
        low, high = n, _ENOUGH
        while low < high:  # the p-value falls as n grows at a fixed share of errors
            middle = (low + high) // 2
            passes = bdtr(np.ceil(middle * k / n), middle, risk) <= level
            low, high = (low, middle) if passes else (middle + 1, high)
        if low < _ENOUGH:
            needed.append(low / n * int(accepted[-1]))
    return min(needed, default=None)
