"""Metrics against scikit-learn, hand-worked cases and properties."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from invent_chain.errors import InputError
from invent_chain.evaluate import metrics as m


@st.composite
def scored(draw: st.DrawFn, *, both: bool = True) -> tuple[Any, Any]:
    size = draw(st.integers(2, 30))
    uncertainty = draw(arrays(np.float64, size, elements=st.integers(0, 8).map(lambda k: k / 8)))
    right = draw(arrays(np.bool_, size))
    if both:
        right[0], right[1] = True, False
    return uncertainty, right


@given(scored())
def test_auroc_is_that_of_scikit_learn(pair: tuple[Any, Any]) -> None:
    uncertainty, right = pair
    assert m.auroc(uncertainty, right) == pytest.approx(roc_auc_score(~right, uncertainty))


@given(scored())
def test_auroc_depends_on_the_order_alone_and_turns_over(pair: tuple[Any, Any]) -> None:
    uncertainty, right = pair
    assert m.auroc(np.exp(3 * uncertainty) - 7, right) == pytest.approx(m.auroc(uncertainty, right))
    assert m.auroc(-uncertainty, right) == pytest.approx(1 - m.auroc(uncertainty, right))


@given(scored())
def test_the_released_prr_is_average_precision(pair: tuple[Any, Any]) -> None:
    uncertainty, right = pair
    assert m.prr_released(uncertainty, right) == pytest.approx(average_precision_score(~right, uncertainty))


@given(scored())
def test_prr_is_1_for_the_oracle_and_0_for_a_constant(pair: tuple[Any, Any]) -> None:
    uncertainty, right = pair
    assert m.prr((~right).astype(float), right) == pytest.approx(1.0)
    assert m.prr(np.ones(len(right)), right) == pytest.approx(0.0, abs=1e-12)
    assert m.prr(right.astype(float), right) == pytest.approx(-1.0)
    assert -1.0 - 1e-9 <= m.prr(uncertainty, right) <= 1.0 + 1e-9


def test_prr_by_hand() -> None:
    # Errors left when 0, 1, ..., 4 answers are accepted in the order R W R W: 0 0 1 1 2; by chance: 0 .5 1 1.5 2; by
    # the oracle: 0 0 0 1 2.
    right = np.array([True, False, True, False])
    uncertainty = np.array([0.1, 0.2, 0.3, 0.4])
    area = np.array([0, 0.5, 0, 0.5, 0]).sum()
    best = np.array([0, 0.5, 1.0, 0.5, 0]).sum()
    assert m.prr(uncertainty, right) == pytest.approx(area / best)


def test_risk_coverage_by_hand() -> None:
    right = np.array([True, False, True, False])
    curve = m.risk_coverage(np.array([0.1, 0.2, 0.2, 0.4]), right)
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.risk.tolist() == pytest.approx([0.0, 0.25, 1 / 3, 0.5])
    assert m.aurc(np.array([0.1, 0.2, 0.2, 0.4]), right) == pytest.approx((0 + 0.25 + 1 / 3 + 0.5) / 4)
    assert m.accuracy_at_coverage(np.array([0.1, 0.2, 0.2, 0.4]), right, coverage=0.5) == pytest.approx(0.75)
    assert m.accuracy_at_coverage(np.array([0.1, 0.2, 0.2, 0.4]), right, coverage=0.01) == 1.0


@given(scored(both=False))
def test_aurc_lies_between_the_oracle_and_its_opposite(pair: tuple[Any, Any]) -> None:
    uncertainty, right = pair
    best, worst = m.aurc((~right).astype(float), right), m.aurc(right.astype(float), right)
    assert best - 1e-9 <= m.aurc(uncertainty, right) <= worst + 1e-9
    assert m.risk_coverage(uncertainty, right).risk[-1] == pytest.approx((~right).mean())


@given(scored(both=False))
def test_brier_is_that_of_scikit_learn(pair: tuple[Any, Any]) -> None:
    probability, right = pair
    assert m.brier(probability, right) == pytest.approx(brier_score_loss(right, probability, pos_label=True))


def test_ece_by_hand() -> None:
    probability = np.array([0.2, 0.2, 0.8, 0.8])
    assert m.ece(probability, np.array([False, False, True, True]), bins=2) == pytest.approx(0.2)
    assert m.ece(probability, np.array([True, False, True, True]), bins=2) == pytest.approx(0.5 * 0.3 + 0.5 * 0.2)
    assert m.ece(probability, np.array([True, True, True, True]), bins=1) == pytest.approx(0.5)
    assert m.ece(np.array([1.0]), np.array([True])) == 0.0


def test_tsu_counts_strict_rises() -> None:
    assert m.tsu(np.array([[0.1, 0.1, 0.1, 0.3], [0.2, 0.1, 0.2, 0.2], [0.3, 0.2, 0.15, 0.4]])) == 0.25


def test_the_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(100):
        right = rng.random(150) < 0.6
        uncertainty = rng.normal(size=150) + np.where(right, 0.0, 1.0)  # true AUROC: Phi(1 / sqrt 2) = 0.760
        interval = m.bootstrap(m.auroc, uncertainty, right, rng=rng, draws=200)
        assert interval.low <= interval.value <= interval.high
        covered += interval.low <= 0.7602 <= interval.high
    assert covered >= 86  # 95 expected; under 86 has probability below 0.001


def test_a_paired_difference_is_narrower_than_two_intervals() -> None:
    rng = np.random.default_rng(0)
    right = rng.random(200) < 0.5
    a = rng.normal(size=200) + ~right
    b = a + rng.normal(scale=0.1, size=200)
    difference = m.bootstrap(lambda x, y, r: m.auroc(x, r) - m.auroc(y, r), a, b, right, rng=rng, draws=300)
    alone = m.bootstrap(m.auroc, a, right, rng=rng, draws=300)
    assert difference.high - difference.low < (alone.high - alone.low) / 2
    assert str(alone).startswith(f"{alone.value:.3f} [")


def test_an_undefined_resample_is_drawn_anew() -> None:
    right = np.array([True] * 9 + [False])
    interval = m.bootstrap(m.auroc, np.arange(10.0), right, rng=np.random.default_rng(0), draws=50)
    assert (interval.value, interval.draws) == (1.0, 50)


@pytest.mark.parametrize("metric", [m.auroc, m.prr, m.prr_released])
@pytest.mark.parametrize("right", [[True, True], [False, False]])
def test_one_kind_of_answer_is_an_error(metric: Any, right: list[bool]) -> None:
    with pytest.raises(InputError, match="needs right and wrong ones"):
        metric(np.array([0.1, 0.2]), np.array(right))


@pytest.mark.parametrize("metric", [m.auroc, m.aurc, m.prr, m.prr_released, m.brier, m.ece])
@pytest.mark.parametrize(
    ("uncertainty", "right", "message"),
    [
        ([0.1, np.nan], [True, False], "NaN or inf"),
        ([0.1], [True, False], "shape"),
        ([], [], "m >= 1"),
        ([0.1, 0.2], [2, 1], "judge the answers first"),
    ],
)
def test_bad_arrays_are_errors(metric: Any, uncertainty: Any, right: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        metric(np.array(uncertainty, dtype=float), np.array(right, dtype=bool if right == [] else None))


def test_bad_settings_are_errors() -> None:
    pair = (np.array([0.1, 0.2]), np.array([True, False]))
    for call in (
        lambda: m.accuracy_at_coverage(*pair, coverage=0.0),
        lambda: m.ece(*pair, bins=0),
        lambda: m.brier(np.array([1.1, 0.2]), pair[1]),
        lambda: m.tsu(np.array([[0.1, 0.2]])),
        lambda: m.tsu(np.array([[0.1], [np.inf]])),
        lambda: m.bootstrap(m.auroc, *pair, rng=np.random.default_rng(0), draws=0),
        lambda: m.bootstrap(m.auroc, pair[0], np.array([True]), rng=np.random.default_rng(0)),
        lambda: m.bootstrap(m.auroc, pair[0], np.array([True, True]), rng=np.random.default_rng(0)),
    ):
        with pytest.raises(InputError):
            call()
