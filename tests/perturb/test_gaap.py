"""GAAP: its operators one by one, then what comes out of it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import ClassVar

import anyio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invent_chain.embed import LexicalEncoder, as_similarity
from invent_chain.errors import ConfigurationError, InputError
from invent_chain.perturb import GAAP, Lexicon
from invent_chain.perturb.genome import as_published, safeguarded
from invent_chain.perturb.operators import crossover, initial_population, mutate, select
from invent_chain.perturb.tokens import FUNCTION_WORDS, tokenise
from invent_chain.protocols import PerturbContext
from invent_chain.sample import as_ask
from invent_chain.types import Perturbed

SIMILARITY = as_similarity(LexicalEncoder())
QUESTIONS = [
    "Who was the first woman to win the 'Triple Crown' in 1948?",
    "Which river flows through the old town of Prague?",
    "When did the company that makes Post-it notes not pay a dividend?",
    "who picks the players in the nfl draft?",
    "How many dollars does she make every day at the farmers' market if she sells 16 eggs at $2?",
]


def perturb(question: str, n: int = 9, *, gaap: GAAP | None = None, seed: int = 0) -> Perturbed:
    context = PerturbContext(
        rng=np.random.default_rng(seed), similarity=SIMILARITY, ask=as_ask(lambda question: question)
    )
    return anyio.run((gaap or GAAP()).perturb, question, n, context)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


class TestOperators:
    original = ("a", "b", "c", "d")
    substitutions: ClassVar = {1: ("x", "y"), 3: ("z",)}

    def test_the_initial_population_differs_in_exactly_one_locus(self) -> None:
        assert initial_population(self.original, self.substitutions) == [
            ("a", "x", "c", "d"),
            ("a", "y", "c", "d"),
            ("a", "b", "c", "z"),
        ]

    def test_closer_texts_are_likelier_parents(self) -> None:
        drawn = np.bincount(select(np.array([0.9, 0.1, 0.0]), 2000, rng()), minlength=3)
        assert drawn[2] == 0
        assert drawn[0] / 2000 == pytest.approx(0.9, abs=0.03)

    def test_selection_without_fitness_is_uniform(self) -> None:
        drawn = np.bincount(select(np.zeros(4), 2000, rng()), minlength=4)
        assert drawn.min() > 400

    @given(st.integers(2, 8), st.integers(2, 8), st.integers(0, 99))
    def test_crossover_swaps_tails_at_one_cut(self, p: int, q: int, seed: int) -> None:
        one, other = tuple("a" * p), tuple("b" * q)
        first, second = crossover(one, other, rng(seed))
        h = first.count("a")
        assert 1 <= h <= min(p, q) - 1
        assert first == one[:h] + other[h:]
        assert second == other[:h] + one[h:]

    def test_every_cut_is_possible(self) -> None:
        cuts = {crossover(tuple("aaaa"), tuple("bbbb"), rng(seed))[0].count("a") for seed in range(60)}
        assert cuts == {1, 2, 3}

    @given(st.integers(0, 99))
    def test_mutation_replaces_one_token_by_one_of_its_substitutes(self, seed: int) -> None:
        mutant = mutate(self.original, self.substitutions, rng(seed))
        changed = [i for i, (a, b) in enumerate(zip(self.original, mutant, strict=True)) if a != b]
        assert len(changed) == 1
        assert mutant[changed[0]] in self.substitutions[changed[0]]

    def test_nothing_to_mutate(self) -> None:
        assert mutate(self.original, {}, rng()) == self.original


@given(st.text(max_size=200))
def test_tokens_join_back_to_the_question(text: str) -> None:
    assert "".join(token.text for token in tokenise(text, Lexicon.load())) == text


@pytest.mark.parametrize(
    ("question", "kept"),
    [
        ("On which continent is Djibouti?", {"On", "which", "is", "Djibouti"}),
        ("Who was the first woman to win the 'Triple Crown' in 1948?", {"Who", "first", "Triple", "Crown", "1948"}),
        (
            "Mark buys twelve cars, not 13; isn't that the largest order?",
            {"Mark", "twelve", "not", "13", "isn't", "largest"},
        ),
        ("what is the capital of france?", {"what", "france"}),
        ("What does `sort key` in foo_bar(x) on a.b/c do?", {"sort", "key", "foo_bar", "c"}),
        ("What is the chemical symbol for nobelium?", {"nobelium"}),
    ],
)
def test_what_must_stay_stays(question: str, kept: set[str]) -> None:
    stays = {token.text for token in tokenise(question, Lexicon.load()) if token.is_word and token.is_kept}
    assert kept <= stays


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("seed", [0, 1])
def test_siblings_are_fit_to_be_asked(question: str, seed: int) -> None:
    perturbed = perturb(question, seed=seed)
    texts = [p.text for p in perturbed.perturbations]
    assert len(texts) == 9
    assert len({text.casefold() for text in texts}) == 9
    assert question not in texts
    tokens = tokenise(question, Lexicon.load())
    kept = [token.text for token in tokens if token.is_word and token.is_kept and token.text not in ("a", "an")]
    for p in perturbed.perturbations:
        assert p.text.strip()
        assert "_" not in p.text
        assert "  " not in p.text
        assert p.similarity is not None
        assert p.similarity >= 0.7
        words = iter(re.findall(r"\w+(?:[-']\w+)*", p.text))
        assert all(word in words for word in kept), "every kept word is there, in its order"


def test_the_set_spans_generations() -> None:
    generations = {p.generation for p in perturb(QUESTIONS[0]).perturbations if p.generation is not None}
    assert len(generations) > 2


def test_the_same_seed_gives_the_same_siblings_and_another_seed_others() -> None:
    assert perturb(QUESTIONS[0]) == perturb(QUESTIONS[0])
    assert perturb(QUESTIONS[0]) != perturb(QUESTIONS[0], seed=1)


def test_siblings_do_not_depend_on_hash_randomisation() -> None:
    code = (
        "from tests.perturb.test_gaap import perturb, QUESTIONS; "
        "print([p.text for p in perturb(QUESTIONS[1]).perturbations])"
    )
    outs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outs) == 1


@pytest.mark.parametrize(
    "question",
    [
        "帕劳的首都是什么",
        "¿Cuál es la capital de Palau?",
        "def f(x): return x",
        "Capital Palau?",
        "Djibouti",
        "?!",
        "🙂",
    ],
)
def test_what_the_lexicon_cannot_help_is_asked_in_another_frame_and_said_so(question: str) -> None:
    perturbed = perturb(question)
    assert len(perturbed.perturbations) == 9
    assert all(question in p.text and p.text != question for p in perturbed.perturbations)
    assert {p.operator for p in perturbed.perturbations} == {"surface"}
    assert "no word could be substituted safely" in perturbed.notes[0]


def test_an_empty_question() -> None:
    with pytest.raises(InputError, match="empty"):
        perturb("  \n")


def test_a_floor_that_nothing_reaches_leaves_frames() -> None:
    perturbed = perturb(QUESTIONS[1], gaap=GAAP(floor=1.0))
    assert {p.operator for p in perturbed.perturbations} == {"surface"}


def test_the_paper_preset_switches_the_extras_off() -> None:
    question = "Who was the first woman to win the 'Triple Crown' in 1948?"
    blueprint = as_published(question, Lexicon.load())
    by_word = {blueprint.original[i]: genes for i, genes in blueprint.substitutions.items()}
    assert "" in by_word["Crown"], "deletion, also of names"
    assert "1948" in by_word
    assert any("_" in gene for gene in by_word["woman"]), "lemmas as WordNet spells them"
    assert len(perturb(question, gaap=GAAP.paper()).perturbations) == 9


def test_the_paper_preset_pads_by_repeating() -> None:
    perturbed = perturb("Djibouti airports?", 60, gaap=GAAP(safeguards=False, floor=0.0, generations=0))
    texts = [p.text for p in perturbed.perturbations]
    assert len(texts) == 60
    assert len(set(texts)) < 60
    assert "repeated, as in the paper" in perturbed.notes[0]


def nearest_to(*good: str) -> Callable[[list[str]], np.ndarray]:
    return lambda texts: np.array([1.0 if any(word in text for word in good) else 0.5 for text in texts])


def test_the_sense_is_chosen_by_what_changes_the_question_least() -> None:
    question = "What is the capital of Palau?"
    city = safeguarded(question, Lexicon.load(), senses=1, most=12, closeness=nearest_to("seat", "state capital"))
    money = safeguarded(question, Lexicon.load(), senses=1, most=12, closeness=nearest_to("assets", "stock"))
    assert "seat" in next(iter(city.substitutions.values()))
    assert "assets" in next(iter(money.substitutions.values()))


def test_what_is_not_substituted_stays_byte_for_byte() -> None:
    question = "Is it a river?\n\n  Or is it  the sea ?"
    blueprint = safeguarded(question, Lexicon.load(), senses=1, most=12, closeness=lambda t: np.ones(len(t)))
    locus = next(i for i, gene in enumerate(blueprint.original) if gene == "river")
    assert blueprint.text(blueprint.with_gene(locus, "brook")) == question.replace("river", "brook")


def test_articles_follow_the_new_word() -> None:
    blueprint = safeguarded("Is it a river?", Lexicon.load(), senses=1, most=12, closeness=lambda t: np.ones(len(t)))
    locus = next(i for i, gene in enumerate(blueprint.original) if gene == "river")
    assert blueprint.text(blueprint.with_gene(locus, "estuary")) == "Is it an estuary?"


@pytest.mark.parametrize(
    "bad",
    [
        {"ratio": 0.0},
        {"ratio": 1.5},
        {"delta": -0.1},
        {"floor": 2.0},
        {"generations": -1},
        {"population": 5},
        {"tau": 0},
    ],
)
def test_bad_settings(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(bad))):
        GAAP(**bad)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1, max_size=60).filter(str.strip))
def test_odd_text_never_raises(text: str) -> None:
    perturbed = perturb(text, 3, gaap=GAAP(generations=1, population=6))
    assert all(p.text.strip() and p.text != text for p in perturbed.perturbations)


def test_function_words_hold_the_question_words_and_negations() -> None:
    assert {"who", "what", "which", "when", "where", "why", "how", "not", "no", "never", "without"} <= FUNCTION_WORDS


def test_generations_are_numbered_in_steps_of_tau() -> None:
    found = perturb(QUESTIONS[0], gaap=GAAP(tau=2, generations=4)).perturbations
    assert {p.generation for p in found} == {0, 2, 4}
