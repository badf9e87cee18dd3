"""How well an uncertainty tells wrong answers from right ones: one function a metric, on plain arrays.

`uncertainty` has shape (m,), higher = more uncertain; `right` has shape (m,), True where the answer is right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import trapezoid
from scipy.stats import rankdata

from invent_chain.errors import InputError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """Selective risk as a function of coverage, accepting the least uncertain answers first.

    Answers of equal uncertainty are accepted together, in expectation over their order.

    Attributes:
        coverage: Share of the questions answered, (m,), rising, in (0, 1].
        risk: Share of the accepted answers that are wrong, (m,), in [0, 1].
    """

    coverage: FloatArray
    risk: FloatArray


def auroc(uncertainty: FloatArray, right: BoolArray) -> float:
    """Area under the ROC curve of "the answer is wrong": in [0, 1], higher = better, 0.5 = chance. Ties count half.

    Equals the probability that a wrong answer is more uncertain than a right one (Mann-Whitney).

    Raises:
        InputError: Shapes differ, a value is not finite, or all answers are right or all are wrong.
    """
    uncertainty, right = _checked(uncertainty, right, both=True)
    wrong = int((~right).sum())
    ranks = rankdata(uncertainty)
    return float((ranks[~right].sum() - wrong * (wrong + 1) / 2) / (wrong * (len(right) - wrong)))


def risk_coverage(uncertainty: FloatArray, right: BoolArray) -> RiskCoverage:
    """Return the risk-coverage curve (El-Yaniv and Wiener 2010).

    Raises:
        InputError: Shapes differ or a value is not finite.
    """
    uncertainty, right = _checked(uncertainty, right)
    count = np.arange(1, len(right) + 1)
    return RiskCoverage(count / len(right), np.cumsum(_expected_errors(uncertainty, right)) / count)


def aurc(uncertainty: FloatArray, right: BoolArray) -> float:
    """Area under the risk-coverage curve (Geifman et al. 2019): in [0, 1], lower = better; mean risk over coverages.

    Raises:
        InputError: Shapes differ or a value is not finite.
    """
    return float(risk_coverage(uncertainty, right).risk.mean())


def accuracy_at_coverage(uncertainty: FloatArray, right: BoolArray, *, coverage: float) -> float:
    """Share of right answers among the `coverage` least uncertain ones: in [0, 1], higher = better.

    Args:
        uncertainty: See above.
        right: See above.
        coverage: Share of the questions to answer, in (0, 1]; rounded up to a whole question.

    Raises:
        InputError: `coverage` is out of range, shapes differ or a value is not finite.
    """
    if not 0.0 < coverage <= 1.0:
        raise InputError(f"coverage={coverage}: must be more than 0 and at most 1")
    curve = risk_coverage(uncertainty, right)
    accepted = int(np.ceil(coverage * len(curve.risk) - 1e-9))
    return float(1.0 - curve.risk[max(accepted, 1) - 1])


def prr(uncertainty: FloatArray, right: BoolArray) -> float:
    """Prediction rejection ratio (Malinin and Gales 2021): at most 1 = the oracle, 0 = chance, below 0 = worse.

    The most uncertain answers are rejected first and replaced by right ones; the area between the error that is left
    and that of random rejection, relative to the same area for an oracle that rejects all wrong answers first.

    Raises:
        InputError: Shapes differ, a value is not finite, or all answers are right or all are wrong.
    """
    uncertainty, right = _checked(uncertainty, right, both=True)
    return _rejection_gain(uncertainty, right) / _rejection_gain((~right).astype(np.float64), right)


def prr_released(uncertainty: FloatArray, right: BoolArray) -> float:
    """PRR as in the paper's released code: average precision of finding wrong answers, relative to the oracle's 1.

    In (0, 1], higher = better; chance is the share of wrong answers, not 0. Ties are broken as one threshold.

    Raises:
        InputError: Shapes differ, a value is not finite, or all answers are right or all are wrong.
    """
    uncertainty, right = _checked(uncertainty, right, both=True)
    order = np.argsort(-uncertainty, kind="stable")
    wrong = ~right[order]
    last = np.r_[np.flatnonzero(np.diff(uncertainty[order])), len(right) - 1]  # the last answer at each threshold
    found = np.cumsum(wrong)[last]
    return float((np.diff(np.r_[0, found]) * found / (last + 1)).sum() / wrong.sum())


def brier(probability: FloatArray, right: BoolArray) -> float:
    """Mean squared error of P(right): in [0, 1], lower = better (Brier 1950).

    Raises:
        InputError: A probability is outside [0, 1], or shapes differ.
    """
    probability, right = _checked_probability(probability, right)
    return float(((probability - right) ** 2).mean())


def ece(probability: FloatArray, right: BoolArray, *, bins: int = 10) -> float:
    """Expected calibration error of P(right) over bins of equal mass: in [0, 1], lower = better.

    Args:
        probability: P(right), (m,), in [0, 1].
        right: See above.
        bins: Most bins, >= 1; never more than questions.

    Raises:
        InputError: `bins` or a probability is out of range, or shapes differ.
    """
    if bins < 1:
        raise InputError(f"bins={bins}: must be at least 1")
    probability, right = _checked_probability(probability, right)
    parts = np.array_split(np.argsort(probability, kind="stable"), min(bins, len(right)))
    gaps = [len(part) * abs(float(probability[part].mean() - right[part].mean())) for part in parts]
    return sum(gaps) / len(right)


def tsu(uncertainty: FloatArray) -> float:
    """Share of the questions whose uncertainty rises strictly with temperature (METHOD eq. 7): in [0, 1].

    Args:
        uncertainty: Shape (temperatures, m), one row for each temperature, in rising order; at least two rows.

    Raises:
        InputError: Fewer than two temperatures, no question, or a value that is not finite.
    """
    values = np.asarray(uncertainty, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] < 2 or values.shape[1] < 1:
        raise InputError(f"uncertainty has shape {values.shape}: TSU needs (temperatures >= 2, questions >= 1)")
    if not np.isfinite(values).all():
        raise InputError("uncertainty holds NaN or inf: leave out questions that could not be scored")
    return float((np.diff(values, axis=0) > 0).all(axis=0).mean())


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its bootstrap percentile interval.

    Attributes:
        value: On all questions.
        low: Lower end.
        high: Upper end.
        draws: Resamples that the interval rests on.
    """

    value: float
    low: float
    high: float
    draws: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap(
    metric: Callable[..., float],
    *arrays: NDArray[Any],
    rng: np.random.Generator,
    draws: int = 1000,
    level: float = 0.95,
) -> Interval:
    """Bound a metric by resampling questions with replacement (percentile bootstrap, Efron 1979).

    A paired difference is a metric of three arrays: `lambda a, b, right: auroc(a, right) - auroc(b, right)`.

    Args:
        metric: Function of the arrays.
        arrays: One value a question along the last axis, all of the same length m.
        rng: Source of the resamples.
        draws: Resamples, >= 1. One on which the metric is undefined (all answers right, say) is drawn anew.
        level: Coverage of the interval, in (0, 1).

    Raises:
        InputError: A setting is out of range, lengths differ, or the metric is undefined on nine resamples of ten.
    """
    if draws < 1 or not 0.0 < level < 1.0:
        raise InputError(f"draws={draws}, level={level}: draws must be at least 1 and level between 0 and 1")
    m = arrays[0].shape[-1]
    if any(array.shape[-1] != m for array in arrays):
        raise InputError(f"the arrays hold {[array.shape[-1] for array in arrays]} questions: they must be the same")
    value = metric(*arrays)
    values: list[float] = []
    tries = 0
    while len(values) < draws:
        if tries >= 10 * draws:
            raise InputError(f"the metric is defined on {len(values)} of {tries} resamples: {m} questions are too few")
        tries += 1
        picked = rng.integers(m, size=m)
        try:
            values.append(metric(*(array[..., picked] for array in arrays)))
        except InputError:
            continue
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), draws)


def _expected_errors(uncertainty: FloatArray, right: BoolArray) -> FloatArray:
    """Return the errors by rising uncertainty, (m,); within a tie each answer has the tie's share of errors."""
    _, group, size = np.unique(uncertainty, return_inverse=True, return_counts=True)
    share = np.bincount(group, weights=~right) / size
    return np.repeat(share, size)


def _rejection_gain(uncertainty: FloatArray, right: BoolArray) -> float:
    """Return the area between random rejection and rejection by uncertainty, both as errors left per question."""
    errors = _expected_errors(uncertainty, right)
    left = np.r_[0.0, np.cumsum(errors)] / len(right)  # accepting 0, 1, ..., m of the least uncertain
    random = np.linspace(0.0, left[-1], len(left))
    return float(trapezoid(random - left, dx=1.0 / len(right)))


def _checked(uncertainty: FloatArray, right: BoolArray, *, both: bool = False) -> tuple[FloatArray, BoolArray]:
    values, truth = np.asarray(uncertainty, dtype=np.float64), np.asarray(right)
    if truth.dtype != np.bool_:
        if not np.isin(truth, (0, 1)).all():
            raise InputError("right holds values other than True and False: judge the answers first")
        truth = truth.astype(np.bool_)
    if values.ndim != 1 or values.shape != truth.shape or not len(values):
        raise InputError(f"uncertainty has shape {values.shape} and right {truth.shape}: both must be (m,) with m >= 1")
    if not np.isfinite(values).all():
        raise InputError("uncertainty holds NaN or inf: leave out questions that could not be scored")
    if both and (truth.all() or not truth.any()):
        kind = "right" if truth.all() else "wrong"
        raise InputError(f"all {len(truth)} answers are {kind}: the metric needs right and wrong ones")
    return values, truth


def _checked_probability(probability: FloatArray, right: BoolArray) -> tuple[FloatArray, BoolArray]:
    values, truth = _checked(probability, right)
    if values.min() < 0.0 or values.max() > 1.0:
        raise InputError(f"probability reaches from {values.min():.3g} to {values.max():.3g}: must lie in [0, 1]")
    return values, truth
