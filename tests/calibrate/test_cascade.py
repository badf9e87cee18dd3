"""A cascade keeps its promise, and the tests behind the promise are those of another library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mapie.risk_control.methods import compute_hoeffding_bentkus_p_value
from scipy.special import bdtr

from invent_chain.calibrate import Cascade, Uncertifiable, certify_cascade
from invent_chain.errors import ConfigurationError, InputError


def drawn(rng: np.random.Generator, m: int) -> tuple[Any, Any, Any]:
    """P(wrong) is the uncertainty squared; the stronger model errs in one of twenty."""
    uncertainty = rng.random(m)
    return uncertainty, rng.random(m) > uncertainty**2, rng.random(m) > 0.05


def test_the_promise_holds_and_is_not_vacuous() -> None:
    rng, broken, escalated = np.random.default_rng(0), 0, []
    for _ in range(500):
        found = certify_cascade(*drawn(rng, 300), risk=0.15, confidence=0.9)
        assert isinstance(found, Cascade)
        t = found.threshold or 0.0
        broken += t**3 / 3 + 0.05 * (1 - t) > 0.15  # the true risk of the cascade
        escalated.append(found.escalated)
    assert broken <= 0.1 * 500
    assert np.mean(escalated) < 0.5  # the best possible is 0.23: t = 0.77


def test_the_tests_are_those_of_mapie() -> None:
    for n in (20, 64, 128):
        errors = np.array([k for k in range(n) if np.ceil(n * (k / n)) == k])  # theirs rounds n times the share
        for risk in (0.05, 0.1, 0.3):
            theirs = compute_hoeffding_bentkus_p_value(errors / n, n, risk, binary=True)[:, 0]
            below = errors / n < risk
            assert bdtr(errors, n, risk)[below] == pytest.approx(theirs[below])
            assert (theirs[~below] > 0.4).all()


def test_a_perfect_stronger_model_and_a_useless_one() -> None:
    uncertainty, right, _ = drawn(np.random.default_rng(1), 400)
    found = certify_cascade(uncertainty, right, np.ones(400), risk=0.1)
    assert isinstance(found, Cascade)
    assert found.threshold is not None
    assert found.policy()(found.threshold, "ok").action == "answer"
    assert found.policy()(min(found.threshold + 0.01, 1.0), "ok").action == "fallback"
    assert found.policy()(1.0, "failed").action == "fallback"
    assert found.wrong <= 40
    assert found.upper_bound <= 0.1
    none = certify_cascade(uncertainty, right, np.zeros(400), risk=0.1)
    assert isinstance(none, Uncertifiable)
    assert none.more_labels is None


def test_only_the_stronger_model() -> None:
    found = certify_cascade(np.zeros(100), np.zeros(100), np.ones(100), risk=0.1)
    assert isinstance(found, Cascade)
    assert (found.threshold, found.escalated) == (None, 1.0)
    assert found.policy()(0.0, "ok").action == "fallback"


def test_more_labels_are_named() -> None:
    few = certify_cascade(np.full(10, 0.5), np.ones(10), np.ones(10), risk=0.1)
    assert isinstance(few, Uncertifiable)
    assert few.more_labels == 12  # 0.9 ** 22 < 0.1 <= 0.9 ** 21
    assert isinstance(certify_cascade(np.full(22, 0.5), np.ones(22), np.ones(22), risk=0.1), Cascade)


def test_bad_input_is_told() -> None:
    with pytest.raises(ConfigurationError, match="risk=0"):
        certify_cascade(np.zeros(5), np.ones(5), np.ones(5), risk=0.0)
    with pytest.raises(InputError, match="shape"):
        certify_cascade(np.zeros(5), np.ones(5), np.ones(4), risk=0.1)
