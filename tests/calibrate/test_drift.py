"""The drift monitor is quiet on the calibrated distribution and speaks up when it changes."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from invent_chain import InvEntropy, UncertaintyReport
from invent_chain.calibrate import Calibration, Drift, DriftMonitor
from invent_chain.errors import ConfigurationError

SCORER = InvEntropy(lambda _question: "Koror", perturber="none", replications=3)
REPORT = SCORER.score("What is the capital of Palau?", answer="Koror")


def draw(rng: np.random.Generator, size: int, mean: float = 0.5) -> np.ndarray:
    return np.round(rng.beta(4 * mean, 4 * (1 - mean), size) * 49) / 49  # as coarse as a consensus of 50 answers


def calibrated(rng: np.random.Generator) -> Calibration:
    scores = draw(rng, 400)
    calibration, _ = Calibration.fit(scores, rng.random(400) > scores, fingerprint=SCORER.fingerprint)
    return calibration


def feed(monitor: DriftMonitor, scores: np.ndarray, report: UncertaintyReport = REPORT) -> None:
    for score in scores:
        monitor.emit(replace(report, score=float(score)))


def test_false_alarms_are_about_as_rare_as_asked_for() -> None:
    alarms = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        monitor = DriftMonitor(calibrated(rng), window=200, level=0.05)
        feed(monitor, draw(rng, 200))
        assert monitor.last is not None
        alarms += monitor.last.drifted
    assert alarms <= 20  # Binomial(200, 0.05): 20 or more has a probability of 0.2 %


def test_a_change_is_found_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(1)
    windows: list[Drift] = []
    monitor = DriftMonitor(calibrated(rng), window=100, on_window=windows.append)
    with caplog.at_level(logging.WARNING, logger="invent_chain.calibrate.drift"):
        feed(monitor, draw(rng, 100))
        assert not caplog.records
        feed(monitor, draw(rng, 100, mean=0.75))
    assert [window.drifted for window in windows] == [False, True]
    assert windows[1].mean > windows[0].mean
    assert "calibrate again" in caplog.text


def test_scores_that_are_not_comparable_are_left_out() -> None:
    monitor = DriftMonitor(calibrated(np.random.default_rng(2)), window=50)
    feed(monitor, np.ones(60), replace(REPORT, status="degraded"))
    feed(monitor, np.ones(60), replace(REPORT, fingerprint=replace(REPORT.fingerprint, model="other")))
    assert monitor.last is None
    feed(monitor, np.ones(60))
    assert monitor.last is not None
    assert monitor.last.drifted


@pytest.mark.parametrize("settings", [{"window": 10}, {"level": 0.0}, {"level": 1.0}])
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=r"window|level"):
        DriftMonitor(calibrated(np.random.default_rng(3)), **settings)
