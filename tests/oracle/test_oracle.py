"""Our numbers against others': the released code's, the closed forms, and plain loops over the definitions."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from invent_chain import measures as m
from invent_chain.embed.cosine import cosine_matrix
from invent_chain.walk import Walk, dual_walk, transition_matrix
from tests.oracle.make_released import embeddings

CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("released.json").read_text())


def released_walk(case: dict[str, Any], draws: list[list[int]]) -> Walk:
    x, y = embeddings(case["seed"], case["questions"], case["replications"])
    return dual_walk(np.abs(cosine_matrix(x)), np.abs(cosine_matrix(y)), np.array(draws))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['questions']}x{case['replications']}")
class TestReleasedCode:
    def test_inv_entropy_over_its_draws(self, case: dict[str, Any]) -> None:
        values = m.inv_entropy(released_walk(case, case["draws"]))
        assert values.mean() == pytest.approx(case["inv_entropy"], rel=1e-6)  # it computes cosines in float32 steps

    def test_one_replication(self, case: dict[str, Any]) -> None:
        first = [[i * case["replications"] for i in range(case["questions"])]]
        assert m.inv_entropy(released_walk(case, first))[0] == pytest.approx(case["nr_inv_entropy"], rel=1e-6)

    def test_wasserstein_over_probability_values(self, case: dict[str, Any]) -> None:
        walk = released_walk(case, case["draws"])
        expected = [wasserstein_distance(x, y) for x, y in zip(walk.x, walk.y, strict=True)]
        assert m.wd_px_py_released(walk) == pytest.approx(expected)

    def test_max_is_the_largest_marginal(self, case: dict[str, Any]) -> None:
        walk = released_walk(case, case["draws"])
        assert m.max_py_x_released(walk) == pytest.approx([max(row) for row in walk.y])

    def test_every_measure_is_what_loops_over_the_definitions_give(self, case: dict[str, Any]) -> None:
        x, y = embeddings(case["seed"], case["questions"], case["replications"])
        a_x, a_y = (1 + cosine_matrix(x)) / 2, (1 + cosine_matrix(y)) / 2
        walk = dual_walk(a_x, a_y, np.array(case["draws"]))
        for b, draw in enumerate(case["draws"]):
            slow = by_loops(a_x.tolist(), a_y[np.ix_(draw, draw)].tolist())
            assert m.inv_entropy(walk)[b] == pytest.approx(slow["inv_entropy"])
            assert m.ni_entropy(walk)[b] == pytest.approx(slow["ni_entropy"])
            assert m.wd_px_py(walk)[b] == pytest.approx(slow["wd_px_py"])
            assert m.max_py_x(walk)[b] == pytest.approx(slow["max_py_x"])
            assert m.normalised(walk)[b] == pytest.approx(slow["normalised"])


def by_loops(a_x: list[list[float]], a_y: list[list[float]]) -> dict[str, float]:
    """Eqs. (2) to (5) and the measures, written out for one draw."""
    size = range(len(a_x))
    p_x = [[a / sum(row) for a in row] for row in a_x]
    p_y = [[a / sum(row) for a in row] for row in a_y]
    y = [sum(p_y[i][j] for i in size) / len(a_x) for j in size]
    x_given_y = [[sum(p_y[j][k] * p_x[k][i] for k in size) for i in size] for j in size]
    x = [sum(y[j] * x_given_y[j][i] for j in size) for i in size]
    y_given_x = [[x_given_y[j][i] * y[j] / x[i] for j in size] for i in size]

    def entropy(values: list[float]) -> float:
        return -sum(p * math.log(p) for p in values if p > 0)

    h = entropy([x_given_y[i][i] for i in size])
    same = entropy([sum(p_x[i][j] for i in size) / len(a_x) for j in size])
    alone = entropy([p_x[i][i] for i in size])
    return {
        "inv_entropy": h,
        "ni_entropy": entropy([y_given_x[i][i] for i in size]),
        "wd_px_py": sum(abs(x[i] - y[i]) for i in size) / 2,
        "max_py_x": max(y_given_x[i][i] for i in size),
        "normalised": min(1.0, max(0.0, (h - same) / (alone - same))),
    }


def two_level(n: int, eps: float) -> np.ndarray:
    return np.where(np.eye(n + 1, dtype=bool), 1.0, 1.0 - eps)


def one_draw(a_x: np.ndarray, a_y: np.ndarray) -> Walk:
    return dual_walk(a_x, a_y, np.arange(len(a_x))[None])


def test_identical_answers_give_the_column_means_of_p_x() -> None:
    a_x = (1 + cosine_matrix(np.random.default_rng(0).normal(size=(7, 5)))) / 2
    walk = one_draw(a_x, np.ones((7, 7)))
    assert np.diagonal(walk.x_given_y[0]) == pytest.approx(transition_matrix(a_x).mean(axis=0))


@pytest.mark.parametrize("n", [1, 4, 9])
@pytest.mark.parametrize("eps_x", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("eps_y", [0.0, 0.2, 1.0])
def test_two_level_similarities(n: int, eps_x: float, eps_y: float) -> None:
    walk = one_draw(two_level(n, eps_x), two_level(n, eps_y))
    expected = (1 + n - n * eps_x - n * eps_y + n * eps_x * eps_y) / ((n + 1 - n * eps_x) * (n + 1 - n * eps_y))
    assert np.diagonal(walk.x_given_y[0]) == pytest.approx([expected] * (n + 1))


def test_inv_entropy_grows_as_answers_drift_apart_below_one_over_e() -> None:
    values = []
    for eps_y in np.linspace(0.0, 1.0, 21):
        walk = one_draw(two_level(9, 0.3), two_level(9, eps_y))
        assert np.diagonal(walk.x_given_y[0]).max() < 1 / math.e
        values.append(m.inv_entropy(walk)[0])
    assert np.all(np.diff(values) > 0)
