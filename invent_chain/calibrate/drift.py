"""Do live scores still look like those that the calibration was made from? If not, its promises no longer hold."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2_contingency

from invent_chain.calibrate.artefact import Calibration, histogram
from invent_chain.errors import CalibrationError, ConfigurationError
from invent_chain.sample.settings import check_whole
from invent_chain.types import UncertaintyReport

logger = logging.getLogger(__name__)

_FEWEST_EXPECTED = 5
"""Least expected count of a cell for the chi-squared approximation (Cochran 1954)."""


@dataclass(frozen=True, slots=True)
class Drift:
    """What a window of live scores says.

    Attributes:
        p_value: Of the chi-squared test that live and calibrated scores have one distribution, in [0, 1].
        drifted: Whether it is at most the level asked for.
        outside: Share of the window outside the range of the calibrated scores, in [0, 1].
        mean: Mean live uncertainty, in [0, 1].
        window: Scores in the window.
    """

    p_value: float
    drifted: bool
    outside: float
    mean: float
    window: int


class DriftMonitor:
    """A sink that tests each full window of live scores against the calibrated ones; thread-safe.

    Windows do not overlap, so that each has a false-alarm probability of about `level`. Reports that are not "ok", or
    that the calibration was not made for, have no comparable score and are left out.

    Args:
        calibration: What the scores are compared with.
        window: Scores in a window, >= 50.
        level: Probability of a false alarm for each window, in (0, 1).
        on_window: Called with the `Drift` of each full window; alarms are also logged as warnings.

    Raises:
        ConfigurationError: A setting is out of range.
    """

    def __init__(
        self,
        calibration: Calibration,
        *,
        window: int = 200,
        level: float = 0.01,
        on_window: Callable[[Drift], object] | None = None,
    ) -> None:
        check_whole("window", window, least=50)
        if not 0.0 < level < 1.0:
            raise ConfigurationError(f"level={level}: must lie between 0 and 1, ends excluded")
        self._calibration, self._window, self._level, self._on_window = calibration, window, level, on_window
        self._scores: list[float] = []
        self._lock = threading.Lock()
        self.last: Drift | None = None

    def emit(self, report: UncertaintyReport) -> None:
        """Take one report in."""
        if report.status != "ok":
            return
        try:
            self._calibration.check(report.fingerprint)
        except CalibrationError as error:
            logger.debug("left out of the drift check: %s", error)
            return
        with self._lock:
            self._scores.append(report.score)
            if len(self._scores) < self._window:
                return
            scores, self._scores = self._scores, []
            found = self.last = self._test(np.array(scores))
        if found.drifted:
            logger.warning(
                "live scores have left the calibrated range (p=%.2g, mean %.2f): calibrate again on recent answers",
                found.p_value,
                found.mean,
            )
        if self._on_window is not None:
            self._on_window(found)

    def _test(self, scores: np.ndarray) -> Drift:
        table = np.array([self._calibration.histogram, histogram(scores)])
        least, *_, most = self._calibration.quantiles
        p_value = _p_value(table)
        return Drift(
            p_value=p_value,
            drifted=p_value <= self._level,
            outside=float(((scores < least) | (scores > most)).mean()),
            mean=float(scores.mean()),
            window=len(scores),
        )


def _p_value(table: np.ndarray) -> float:
    """Return the p-value of the two-sample test over bins, neighbours merged until each cell expects enough."""
    least = _FEWEST_EXPECTED * table.sum() / table.sum(axis=1).min()
    merged = [np.zeros(2)]
    for column in table.T:
        if merged[-1].sum() >= least:
            merged.append(np.zeros(2))
        merged[-1] = merged[-1] + column
    if len(merged) > 1 and merged[-1].sum() < least:
        last = merged.pop()
        merged[-1] = merged[-1] + last
    if len(merged) < 2:
        return 1.0
    return float(chi2_contingency(np.array(merged).T, correction=False).pvalue)
