"""Properties of the walk, the measures and `assess` for any valid input."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from invent_chain import measures as m
from invent_chain.assess import Assessment, assess
from invent_chain.embed import CosineSimilarity, LexicalEncoder
from invent_chain.errors import EmbeddingError, InputError
from invent_chain.walk import Walk, bootstrap_indices, dual_walk, transition_matrix


@st.composite
def similarities(draw: st.DrawFn, size: int) -> np.ndarray:
    a = draw(arrays(np.float64, (size, size), elements=st.floats(0.0, 1.0)))
    return (a + a.T) / 2


@st.composite
def walks(draw: st.DrawFn) -> Walk:
    size, answers, b = draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(st.integers(1, 4))
    states = draw(arrays(np.int64, (b, size), elements=st.integers(0, answers - 1)))
    return dual_walk(draw(similarities(size)), draw(similarities(answers)), states)


@given(walks())
def test_distributions_are_distributions(walk: Walk) -> None:
    for rows in (walk.p_x, walk.p_y, walk.y, walk.x_given_y, walk.x, walk.y_given_x):
        assert np.isfinite(rows).all()
        assert rows.min() >= 0
        assert rows.sum(axis=-1) == pytest.approx(np.ones(rows.shape[:-1]))


@given(walks())
def test_bayes_and_total_probability_hold(walk: Walk) -> None:
    assert walk.x == pytest.approx(np.einsum("bj,bji->bi", walk.y, walk.x_given_y))
    joint = walk.y[:, :, None] * walk.x_given_y
    assert (walk.x[:, :, None] * walk.y_given_x).transpose(0, 2, 1) == pytest.approx(joint)


@given(walks())
def test_measures_lie_in_their_ranges(walk: Walk) -> None:
    size = len(walk.p_x)
    for measure in (m.inv_entropy, m.ni_entropy):
        assert np.all((measure(walk) >= 0) & (measure(walk) <= size / np.e + 1e-9))
    for measure in (m.wd_px_py, m.wd_px_py_released, m.max_py_x, m.max_py_x_released, m.normalised):
        assert np.all((measure(walk) >= 0) & (measure(walk) <= 1 + 1e-9))
    assert np.all(m.max_py_x_released(walk) >= 1 / size - 1e-9)


@given(st.data())
def test_the_order_of_states_does_not_matter(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 6))
    a_x, a_y = data.draw(similarities(size)), data.draw(similarities(size))
    order = np.array(data.draw(st.permutations(range(size))))
    straight = dual_walk(a_x, a_y, np.arange(size)[None])
    shuffled = dual_walk(a_x[np.ix_(order, order)], a_y, order[None])
    for measure in (m.inv_entropy, m.ni_entropy, m.wd_px_py, m.max_py_x, m.normalised):
        assert measure(straight) == pytest.approx(measure(shuffled), abs=1e-7)


def test_all_draws_at_once_are_the_draws_one_by_one() -> None:
    rng = np.random.default_rng(0)
    a_x, a_y = rng.random((5, 5)), rng.random((12, 12))
    states = bootstrap_indices([2, 3, 1, 4, 2], 7, rng) + np.array([0, 2, 5, 6, 10])
    together = m.inv_entropy(dual_walk(a_x, a_y, states))
    alone = [m.inv_entropy(dual_walk(a_x, a_y, states[b : b + 1]))[0] for b in range(7)]
    assert together == pytest.approx(alone)


@pytest.mark.parametrize(
    ("similarity", "says"),
    [
        (np.array([[1.0, -0.1], [-0.1, 1.0]]), "-0.1"),
        (np.array([[1.0, np.nan], [0.5, 1.0]]), "1 of 4"),
        (np.array([[1.0, np.inf], [0.5, 1.0]]), "1 of 4"),
        (np.ones((2, 3)), r"\(2, 3\)"),
        (np.ones(3), r"\(3,\)"),
        (np.empty((0, 0)), r"\(0, 0\)"),
    ],
)
def test_transition_matrix_refuses(similarity: np.ndarray, says: str) -> None:
    with pytest.raises(InputError, match=says):
        transition_matrix(similarity)


def test_a_state_similar_to_nothing_stays_where_it_is() -> None:
    assert transition_matrix(np.array([[0.0, 0.0], [0.0, 2.0]])).tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_extreme_similarities_do_not_overflow() -> None:
    assert transition_matrix(np.full((3, 3), 1e308)) == pytest.approx(np.full((3, 3), 1 / 3))
    assert transition_matrix(np.full((3, 3), 5e-324)) == pytest.approx(np.full((3, 3), 1 / 3))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(1, 40), st.integers(0, 9))
def test_bootstrap_indices(counts: list[int], draws: int, seed: int) -> None:
    independent = bootstrap_indices(counts, draws, np.random.default_rng(seed))
    distinct = bootstrap_indices(counts, draws, np.random.default_rng(seed), kind="distinct")
    assert independent.shape == (draws, len(counts))
    assert len(distinct) == min(draws, np.prod(counts)) == len({tuple(row) for row in distinct})
    for picks in (independent, distinct):
        assert picks.min() >= 0
        assert np.all(picks < counts)


@pytest.mark.parametrize(("counts", "draws"), [([], 3), ([2, 0], 3), ([2, 2], 0)])
def test_bootstrap_indices_refuses(counts: list[int], draws: int) -> None:
    with pytest.raises(InputError):
        bootstrap_indices(counts, draws, np.random.default_rng(0))


def test_states_that_do_not_fit() -> None:
    with pytest.raises(InputError, match=r"\(B, 2\)"):
        dual_walk(np.eye(2), np.eye(3), np.zeros((1, 3), dtype=np.int64))


def test_normalised_runs_from_all_equal_to_all_alone() -> None:
    a_x = (1 + np.cos(np.subtract.outer(np.arange(6), np.arange(6)))) / 2
    states = np.arange(6)[None]
    assert m.normalised(dual_walk(a_x, np.ones((6, 6)), states)) == pytest.approx([0.0])
    assert m.normalised(dual_walk(a_x, np.eye(6), states)) == pytest.approx([1.0])


@pytest.mark.parametrize("size", [1, 4])
def test_questions_that_cannot_tell_answers_apart_are_not_certain(size: int) -> None:
    walk = dual_walk(np.ones((size, size)), np.eye(size), np.arange(size)[None])
    assert m.normalised(walk).tolist() == [1.0]


QUESTIONS = ["capital of Palau?", "main town of Palau?", "seat of Palau?"]
SIMILARITY = CosineSimilarity(LexicalEncoder())


def judge(answers: Sequence[Sequence[str]], questions: Sequence[str] = QUESTIONS, **settings: object) -> Assessment:
    return assess(questions, answers, similarity=SIMILARITY, **settings)  # type: ignore[arg-type]


words = st.sampled_from(["Koror", "Melekeok", "Ngerulmud", "Koror City", "I do not know"])


@given(st.lists(st.lists(words, min_size=1, max_size=3), min_size=3, max_size=3), st.permutations([1, 2]))
def test_the_order_of_siblings_and_replications_does_not_matter(answers: list[list[str]], order: list[int]) -> None:
    shuffled = [[answers[0][0], *answers[0][:0:-1]], *(answers[i][::-1] for i in order)]
    one, other = judge(answers), judge(shuffled, [QUESTIONS[0], *(QUESTIONS[i] for i in order)])
    assert one.measures == other.measures
    assert one.agreement[1:] == tuple(other.agreement[1:][order.index(i)] for i in (1, 2))


@given(st.lists(st.lists(words, max_size=3), min_size=2, max_size=2), words)
def test_every_measure_is_finite(siblings: list[list[str]], primary: str) -> None:
    measures = judge([[primary], *siblings]).measures
    assert all(np.isfinite(value) for value in measures.values())
    assert 0 <= measures["support"] <= 1


def test_support_rises_with_agreement() -> None:
    values = [
        judge([["Koror"], ["Koror"] * yes + ["Melekeok"] * (3 - yes), ["Koror"] * yes + ["Babel"] * (3 - yes)])
        for yes in range(4)
    ]
    assert all(a.measures["support"] < b.measures["support"] for a, b in itertools.pairwise(values))
    assert values[-1].measures["support"] == pytest.approx(1.0)


@given(st.lists(st.lists(words, min_size=1, max_size=3), min_size=3, max_size=3), st.integers(1, 2))
def test_a_sibling_that_falls_silent_never_raises_support(answers: list[list[str]], silent: int) -> None:
    fewer = [[] if i == silent else group for i, group in enumerate(answers)]
    assert judge(fewer).measures["support"] <= judge(answers).measures["support"] + 1e-12


def test_nothing_to_compare_is_no_support() -> None:
    assert judge([["Koror"]], ["capital of Palau?"]).measures["support"] == 0.0


def test_the_echo_is_dropped_on_demand() -> None:
    answers = [
        ["The capital of Palau is Koror"],
        ["The capital of Palau is Melekeok"],
        ["The capital of Palau is Babel"],
    ]
    with_echo = judge(answers, drop_echo=False).measures["support"]
    assert judge(answers).measures["support"] < 0.5 < with_echo


def test_released_variant() -> None:
    answers = [["Koror", "Melekeok"], ["Koror"], ["Babel", "Koror"]]
    paper, released = judge(answers).measures, judge(answers, variant="released").measures
    assert paper["support"] == released["support"]
    assert paper["wd_px_py"] != released["wd_px_py"]


@pytest.mark.parametrize(
    ("questions", "answers"), [([], []), (["q"], []), (["q"], [[]]), (["q", "p"], [["a"]])], ids=str
)
def test_assess_refuses(questions: list[str], answers: list[list[str]]) -> None:
    with pytest.raises(InputError):
        judge(answers, questions)


@pytest.mark.parametrize("bad", [np.nan, 1.5, -0.2])
def test_a_similarity_out_of_range(bad: float) -> None:
    class Broken:
        def compare(self, *groups: Sequence[str]) -> tuple[np.ndarray, ...]:
            return tuple(np.full((len(group), len(group)), bad) for group in groups)

    with pytest.raises(EmbeddingError):
        assess(["q", "p"], [["a"], ["b"]], similarity=Broken())


def test_every_distinct_text_is_compared_in_one_call() -> None:
    calls: list[tuple[Sequence[str], ...]] = []

    class Counting:
        floor = 0.5

        def compare(self, *groups: Sequence[str]) -> tuple[np.ndarray, ...]:
            calls.append(groups)
            return SIMILARITY.compare(*groups)

    assess(["q", "p"], [["a", "a"], ["b", "a"]], similarity=Counting())
    assert len(calls) == 1
    assert sorted(calls[0][1]) == ["a", "b"]


@pytest.mark.parametrize("silent", [1, 2])
def test_a_sibling_that_falls_silent_never_lowers_normalised_inv_entropy(silent: int) -> None:
    for answers in itertools.product(["Koror", "Melekeok", "Koror City", "I do not know"], repeat=3):
        heard = judge([[text] for text in answers], draws=1).measures["normalised"]
        groups = [[] if i == silent else [text] for i, text in enumerate(answers)]
        assert judge(groups, draws=1).measures["normalised"] >= heard - 1e-9


def test_consensus_is_the_share_of_answers_that_say_the_same() -> None:
    assert m.consensus(np.array([1.0, 0.7, 0.69, 0.0])) == 0.5
    assert m.consensus(np.array([1.0, 1.0]), against=2) == 0.5
    assert m.consensus(np.array([])) == 0.0


@settings(deadline=None, max_examples=60)
@given(
    groups=st.lists(st.lists(st.sampled_from(["Koror", "Melekeok", "Ngerulmud"]), min_size=2, max_size=2), max_size=4),
    data=st.data(),
)
def test_missing_answers_never_raise_consensus(groups: list[list[str]], data: st.DataObject) -> None:
    similarity = CosineSimilarity(LexicalEncoder())
    whole = [["Koror", "Koror"], *groups]
    questions = ["Which capital?", *(f"What city {k}?" for k in range(len(groups)))]

    def consensus(answers: list[list[str]]) -> float:
        asked_for = [2] * len(answers)
        return assess(questions, answers, similarity=similarity, asked_for=asked_for, draws=1).measures["consensus"]

    came = [["Koror"], *(group[: data.draw(st.integers(0, 2))] for group in groups)]
    assert consensus(came) <= consensus(whole) + 1e-12
