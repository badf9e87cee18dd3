"""Certified thresholds keep their promise; maps and the artefact."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest
from sklearn.isotonic import IsotonicRegression

from invent_chain import InvEntropy
from invent_chain.calibrate import Calibration, Certificate, Uncertifiable, certify, fit_map
from invent_chain.errors import CalibrationError, ConfigurationError, InputError
from invent_chain.sample import CallableAsk
from invent_chain.types import Fingerprint

FINGERPRINT = Fingerprint(
    model="m", perturber="gaap", similarity="cos", n=9, r=5,
    replications=5, draws=30, temperature=0.7, drop_echo=True,
    variant="paper", score="support",
)  # fmt: skip


def labelled(rng: np.random.Generator, size: int, *, sharp: float = 1.0) -> tuple[Any, Any]:
    """Uniform scores; P(wrong | u) = u ** (2 / sharp): the risk below t is t ** e / (e + 1), e = 2 / sharp."""
    uncertainty = rng.random(size)
    return uncertainty, rng.random(size) >= uncertainty ** (2 / sharp)


def true_risk(threshold: float, *, sharp: float = 1.0) -> float:
    exponent = 2 / sharp
    return threshold**exponent / (exponent + 1)


@pytest.mark.parametrize(("risk", "confidence", "size"), [(0.1, 0.9, 300), (0.2, 0.8, 150), (0.05, 0.9, 1000)])
def test_the_threshold_keeps_its_promise_and_is_not_vacuous(risk: float, confidence: float, size: int) -> None:
    rng = np.random.default_rng(1)
    broken, coverages = 0, []
    for _ in range(500):
        found = certify(*labelled(rng, size), risk=risk, confidence=confidence)
        if isinstance(found, Certificate):
            broken += true_risk(found.threshold) > risk
            coverages.append(found.coverage)
    # At most delta of 500 draws break the promise; one more than the binomial's 99.9 % point would disprove it.
    assert broken <= binom.ppf(0.999, 500, 1 - confidence)
    assert len(coverages) >= 375
    assert np.mean(coverages) >= 0.5 * (3 * risk) ** 0.5  # the oracle's coverage is sqrt(3 risk)


def test_the_promise_is_kept_where_no_threshold_is_good_enough() -> None:
    rng = np.random.default_rng(2)
    certified = 0
    for _ in range(500):
        uncertainty = rng.random(200)
        certified += isinstance(certify(uncertainty, rng.random(200) >= 0.11, risk=0.1, confidence=0.9), Certificate)
    assert certified <= binom.ppf(0.999, 500, 0.1)


def test_the_upper_bound_is_that_of_clopper_and_pearson() -> None:
    found = certify(*labelled(np.random.default_rng(0), 400), risk=0.1, confidence=0.9)
    assert isinstance(found, Certificate)
    interval = binomtest(found.wrong, found.accepted, alternative="less").proportion_ci(0.9, method="exact")
    assert found.upper_bound == pytest.approx(interval.high)
    assert found.upper_bound <= 0.1
    assert found.wrong <= found.accepted <= found.tested == 320
    assert found.labels == 400


def test_more_labels_are_named_and_are_about_enough() -> None:
    uncertainty, right = labelled(np.random.default_rng(5), 40)
    found = certify(uncertainty, right, risk=0.1, confidence=0.95)
    assert isinstance(found, Uncertifiable)
    assert found.more_labels is not None
    assert f"{found.more_labels} more labels" in str(found)
    certified = [
        isinstance(certify(*labelled(np.random.default_rng(k), 5 * (40 + found.more_labels)), risk=0.1), Certificate)
        for k in range(50)
    ]
    assert sum(certified) >= 40


def test_a_hopeless_score_is_told() -> None:
    found = certify(np.full(50, 0.5), np.zeros(50, dtype=bool), risk=0.1)
    assert isinstance(found, Uncertifiable)
    assert found.more_labels is None
    assert "allow more risk" in str(found)


def test_all_right_answers_certify_everything() -> None:
    found = certify(np.linspace(0, 1, 100), np.ones(100, dtype=bool), risk=0.1)
    assert isinstance(found, Certificate)
    assert (found.threshold, found.coverage, found.wrong) == (1.0, 1.0, 0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([0.1], [True], 0.0, 0.9), ConfigurationError, "risk=0.0"),
        (([0.1], [True], 0.1, 1.0), ConfigurationError, "confidence=1.0"),
        (([], [], 0.1, 0.9), InputError, "m >= 1"),
        (([0.1, 0.2], [True], 0.1, 0.9), InputError, "shape"),
        (([1.1], [True], 0.1, 0.9), InputError, r"outside \[0, 1\]"),
        (([float("nan")], [True], 0.1, 0.9), InputError, r"outside \[0, 1\]"),
        (([0.1], [2], 0.1, 0.9), InputError, "labels must be"),
    ],
)
def test_bad_input_is_told(arguments: Any, error: type[Exception], message: str) -> None:
    uncertainty, right, risk, confidence = arguments
    with pytest.raises(error, match=message):
        certify(np.array(uncertainty), np.array(right), risk=risk, confidence=confidence)


@pytest.mark.parametrize("kind", ["isotonic", "logistic", "auto"])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_maps_never_rise_and_are_never_sure(kind: Any, seed: int) -> None:
    uncertainty, right = labelled(np.random.default_rng(seed), 60)
    if right.all() or not right.any():
        return
    fitted = fit_map(uncertainty, right, kind=kind)
    values = [fitted(u) for u in np.linspace(0, 1, 50)]
    assert all(0.0 < value < 1.0 for value in values)
    assert all(a >= b - 1e-12 for a, b in pairwise(values))


def test_isotonic_is_that_of_scikit_learn() -> None:
    uncertainty, right = labelled(np.random.default_rng(0), 200)
    uncertainty = uncertainty.round(1)  # with ties
    theirs = IsotonicRegression(increasing=False, y_min=1 / 202, y_max=201 / 202).fit(uncertainty, right)
    fitted = fit_map(uncertainty, right, kind="isotonic")
    assert [fitted(u) for u in uncertainty] == pytest.approx(theirs.predict(uncertainty))


@pytest.mark.parametrize("kind", ["isotonic", "logistic"])
def test_maps_find_the_truth(kind: Any) -> None:
    uncertainty, right = labelled(np.random.default_rng(0), 20_000)
    fitted = fit_map(uncertainty, right, kind=kind)
    for u in (0.2, 0.5, 0.8):
        assert fitted(u) == pytest.approx(1 - u**2, abs=0.06)
    assert fitted.brier < 0.18  # a constant has 2/9 = 0.222


def test_the_cross_fitted_brier_is_honest() -> None:
    rng = np.random.default_rng(0)
    noise = [fit_map(rng.random(40), rng.random(40) < 0.5, kind="isotonic").brier for _ in range(30)]
    assert np.mean(noise) > 0.25  # a score that knows nothing cannot beat the constant 0.5


@pytest.mark.parametrize(
    ("size", "right", "message"),
    [(19, None, "19 labels are too few"), (30, True, "are right"), (30, False, "are wrong")],
)
def test_labels_that_cannot_make_a_map(size: int, right: bool | None, message: str) -> None:
    labels = np.arange(size) % 2 if right is None else np.full(size, right)
    with pytest.raises(InputError, match=message):
        fit_map(np.linspace(0, 1, size), labels)
    with pytest.raises(ConfigurationError, match="kind='best'"):
        fit_map(np.linspace(0, 1, 30), np.arange(30) % 2, kind="best")  # type: ignore[arg-type]


def calibration() -> Calibration:
    made, outcome = Calibration.fit(*labelled(np.random.default_rng(0), 400), fingerprint=FINGERPRINT, risk=0.1)
    assert isinstance(outcome, Certificate)
    assert made.certificate == outcome
    return made


def test_the_artefact_survives_the_file(tmp_path: Path) -> None:
    made = calibration()
    made.save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json") == made
    assert made.confidence(0.1) > made.confidence(0.9)
    assert (made.labels, len(made.quantiles)) == (400, 11)
    uncertified, outcome = Calibration.fit(*labelled(np.random.default_rng(0), 40), fingerprint=FINGERPRINT, risk=0.01)
    assert isinstance(outcome, Uncertifiable)
    assert uncertified.certificate is None


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"}, {"perturber": "none"}, {"similarity": "x"}, {"n": 5}, {"r": 2}, {"draws": 10},
        {"temperature": None}, {"drop_echo": False}, {"variant": "released"}, {"score": "normalised"},
    ],
)  # fmt: skip
def test_other_scores_are_refused_by_name(change: dict[str, Any]) -> None:
    made = calibration()
    made.check(FINGERPRINT)
    ((name, value),) = change.items()
    with pytest.raises(CalibrationError, match=f"{name} was .* and is {value!r}"):
        made.check(replace(FINGERPRINT, **change))
    if name == "model":
        made.check(replace(FINGERPRINT, **change), model=False)


def test_another_prompt_is_refused_where_both_are_known() -> None:
    made = replace(calibration(), fingerprint=replace(FINGERPRINT, prompt="abc"))
    made.check(FINGERPRINT)  # the prompt of a callable is not known
    with pytest.raises(CalibrationError, match="prompt was 'abc' and is 'xyz'"):
        made.check(replace(FINGERPRINT, prompt="xyz"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no JSON"),
        ("[]", "version None"),
        ('{"version": 2}', "version 2 and this library reads version 1"),
        ('{"version": 1}', "is no calibration"),
    ],
)
def test_broken_files_are_told(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(CalibrationError, match=message):
        Calibration.load(tmp_path / "c.json")
    with pytest.raises(CalibrationError, match="cannot be read"):
        Calibration.load(tmp_path / "none.json")


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    calibration().save(tmp_path / "c.json")
    plain = json.loads((tmp_path / "c.json").read_text())
    plain["confidence_map"]["values"][0] = float("nan")
    (tmp_path / "c.json").write_text(json.dumps(plain))
    with pytest.raises(CalibrationError, match="is no calibration"):
        Calibration.load(tmp_path / "c.json")


QUESTION = "What is the capital of Palau?"


def capital(question: str) -> str:
    return "Koror"


def made_for(scorer: InvEntropy) -> Calibration:
    return Calibration.fit(*labelled(np.random.default_rng(0), 400), fingerprint=scorer.fingerprint, risk=0.1)[0]


def test_a_calibrated_scorer_gives_confidence(tmp_path: Path) -> None:
    made = made_for(InvEntropy(capital, n=2, r=2))
    made.save(tmp_path / "c.json")
    for calibration in (made, tmp_path / "c.json", str(tmp_path / "c.json")):
        report = InvEntropy(capital, n=2, r=2, calibration=calibration).score(QUESTION)
        assert report.confidence == pytest.approx(made.confidence(0.0))
        assert "confidence" in report.to_dict(text=False)
    assert made.policy()(0.0, "ok").action == "answer"
    assert made.policy()(0.9, "ok").action == "abstain"
    with pytest.raises(CalibrationError, match="no threshold was certified"):
        replace(made, certificate=None).policy()


def test_a_calibration_for_other_settings_is_refused_at_construction() -> None:
    made = made_for(InvEntropy(capital, n=2, r=2))
    with pytest.raises(CalibrationError, match="n was 2 and is 3"):
        InvEntropy(capital, n=3, r=2, calibration=made)
    with pytest.raises(CalibrationError, match="model was 'capital' and is 'other'"):
        InvEntropy(CallableAsk(capital, name="other"), n=2, r=2, calibration=made)
    with pytest.raises(CalibrationError, match="cannot be read"):
        InvEntropy(capital, calibration="nowhere.json")


def test_another_model_for_one_call_has_no_confidence_and_says_why() -> None:
    made = made_for(InvEntropy(capital, n=2, r=2))
    scorer = InvEntropy(n=2, r=2, calibration=made)
    assert scorer.score(QUESTION, ask=capital).confidence is not None
    report = scorer.score(QUESTION, ask=CallableAsk(capital, name="other"))
    assert (report.confidence, report.status) == (None, "ok")
    assert "model was 'capital' and is 'other'" in report.notes[-1]


def test_a_degraded_score_has_no_confidence() -> None:
    def shaky(question: str) -> str:
        if question != QUESTION:
            raise ConnectionError("down")
        return "Koror"

    ask = CallableAsk(shaky, name="capital")
    report = InvEntropy(ask, n=2, r=2, calibration=made_for(InvEntropy(capital, n=2, r=2))).score(QUESTION)
    assert (report.status, report.confidence) == ("degraded", None)
