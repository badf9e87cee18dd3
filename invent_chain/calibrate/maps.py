"""Maps from uncertainty to P(right), fitted to labelled answers; never rising with uncertainty, never quite 0 or 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit

from invent_chain.calibrate.certify import Labels, checked_labels
from invent_chain.errors import ConfigurationError, InputError
from invent_chain.protocols import FloatArray

MapKind = Literal["isotonic", "logistic"]

FEWEST_LABELS = 20
"""Fewer say too little about five folds."""

_FOLDS = 5


@dataclass(frozen=True, slots=True)
class ConfidenceMap:
    """A piecewise linear map from uncertainty to P(right).

    Attributes:
        kind: What it was fitted as.
        knots: Uncertainties, rising, in [0, 1].
        values: P(right) at the knots, not rising, in (0, 1).
        brier: Cross-fitted Brier score on the labels, in [0, 1]; lower = better.
    """

    kind: MapKind
    knots: tuple[float, ...]
    values: tuple[float, ...]
    brier: float

    def __call__(self, uncertainty: float) -> float:
        """Return P(right) for a score in [0, 1]."""
        return float(np.interp(uncertainty, self.knots, self.values))


def fit_map(
    uncertainty: FloatArray, right: Labels, *, kind: MapKind | Literal["auto"] = "auto", seed: int = 0
) -> ConfidenceMap:
    """Fit a map, and judge it on labels that it was not fitted to.

    "isotonic" is the monotone least-squares fit (Zadrozny and Elkan 2002), held away from 0 and 1 by one imagined right
    and one imagined wrong answer; "logistic" is Platt's with his smoothed targets (1999). "auto" takes the one with the
    lower cross-fitted Brier score.

    Args:
        uncertainty: Scores, (m,), in [0, 1], m >= 20.
        right: Whether each answer is right, (m,); both kinds must be there.
        kind: Which map.
        seed: Seed of the folds.

    Raises:
        ConfigurationError: `kind` is unknown.
        InputError: Too few labels, or all of one kind, or as `certify`.
    """
    if kind not in ("auto", "isotonic", "logistic"):
        raise ConfigurationError(f"kind={kind!r}: choose 'auto', 'isotonic' or 'logistic'")
    scores, wrong = _enough_labels(uncertainty, right)
    if wrong.all() or not wrong.any():
        raise InputError(f"all {len(scores)} labels are {'wrong' if wrong.all() else 'right'}: both kinds are needed")
    truth = (~wrong).astype(np.float64)
    kinds: tuple[MapKind, ...] = ("isotonic", "logistic") if kind == "auto" else (kind,)
    fold = _folds(len(scores), seed)
    briers = {one: float(((cross_fitted(scores, truth, fold, one) - truth) ** 2).mean()) for one in kinds}
    best = min(kinds, key=briers.__getitem__)
    knots, values = _fit(scores, truth, best)
    return ConfidenceMap(best, tuple(knots.tolist()), tuple(values.tolist()), briers[best])


def cross_fitted_confidence(
    uncertainty: FloatArray, right: Labels, *, kind: MapKind = "isotonic", seed: int = 0
) -> FloatArray:
    """Return P(right) of each labelled answer by a map that was fitted without it, (m,), for honest diagrams.

    Raises:
        InputError: As `fit_map`.
    """
    scores, wrong = _enough_labels(uncertainty, right)
    fold = _folds(len(scores), seed)
    return cross_fitted(scores, (~wrong).astype(np.float64), fold, kind)


def cross_fitted(scores: FloatArray, truth: FloatArray, fold: NDArray[np.int64], kind: MapKind) -> FloatArray:
    """Return for each answer P(right) by a map fitted to the other folds, (m,)."""
    probability = np.empty(len(scores))
    for k in np.unique(fold):
        held = fold == k
        probability[held] = np.interp(scores[held], *_fit(scores[~held], truth[~held], kind))
    return probability


def _enough_labels(uncertainty: FloatArray, right: Labels) -> tuple[FloatArray, NDArray[np.bool_]]:
    scores, wrong = checked_labels(uncertainty, right)
    if len(scores) < FEWEST_LABELS:
        raise InputError(f"{len(scores)} labels are too few for a map: at least {FEWEST_LABELS} are needed")
    return scores, wrong


def _folds(labels: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(labels) % _FOLDS


def _fit(scores: FloatArray, truth: FloatArray, kind: MapKind) -> tuple[FloatArray, FloatArray]:
    return _isotonic(scores, truth) if kind == "isotonic" else _logistic(scores, truth)


def _isotonic(scores: FloatArray, truth: FloatArray) -> tuple[FloatArray, FloatArray]:
    knots, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    means = np.bincount(place, weights=truth) / counts
    fitted = isotonic_regression(means, weights=counts.astype(np.float64), increasing=False).x
    m = len(scores)
    return knots, np.clip(fitted, 1.0 / (m + 2), (m + 1.0) / (m + 2))


def _logistic(scores: FloatArray, truth: FloatArray) -> tuple[FloatArray, FloatArray]:
    right = truth.sum()
    target = np.where(truth == 1.0, (right + 1.0) / (right + 2.0), 1.0 / (len(truth) - right + 2.0))

    def loss(parameters: FloatArray) -> float:
        logit = parameters[0] - parameters[1] * scores
        return float((np.logaddexp(0.0, logit) - target * logit).sum())

    fitted = minimize(loss, x0=np.array([0.0, 1.0]), bounds=[(-50.0, 50.0), (0.0, 200.0)], method="L-BFGS-B").x
    knots = np.linspace(0.0, 1.0, 201)
    least = 1e-6
    return knots, np.clip(expit(fitted[0] - fitted[1] * knots), least, 1.0 - least)
