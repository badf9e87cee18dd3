"""The lexicon and inflection."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files

import pytest

from invent_chain.perturb import Lexicon
from invent_chain.perturb.inflect import article, inflect, match_case, readings


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return Lexicon.load()


@pytest.mark.parametrize(
    ("lemma", "pos", "form", "expected"),
    [
        ("city", "n", "s", "cities"),
        ("day", "n", "s", "days"),
        ("box", "n", "s", "boxes"),
        ("child", "n", "s", "children"),
        ("capital city", "n", "s", "capital cities"),
        ("carry", "v", "s", "carries"),
        ("carry out", "v", "s", "carries out"),
        ("stop", "v", "ed", "stopped"),
        ("make", "v", "ing", "making"),
        ("die", "v", "ing", "dying"),
        ("write", "v", "ed", "wrote"),
        ("write", "v", "en", "written"),
        ("big", "a", "est", "biggest"),
        ("beautiful", "a", "er", "more beautiful"),
        ("happy", "a", "er", "happier"),
        ("good", "a", "est", "best"),
        ("go", "v", "s", "goes"),
        ("be", "v", "ed", "was"),
        ("take", "v", "ed", "took"),
        ("take", "v", "en", "taken"),
        ("sing", "v", "en", "sung"),
        ("win", "v", "en", "won"),
        ("show", "v", "ed", "showed"),
        ("show", "v", "en", "shown"),
        ("come", "v", "en", "come"),
        ("put", "v", "ed", "put"),
        ("tear", "v", "en", "torn"),
        ("admit", "v", "ed", "admitted"),
        ("monarch", "n", "s", "monarchs"),
        ("hero", "n", "s", "heroes"),
        ("piano", "n", "s", "pianos"),
        ("woman", "n", "s", "women"),
        ("human", "n", "s", "humans"),
        ("knife", "n", "s", "knives"),
        ("species", "n", "s", "species"),
        ("words", "n", "s", "words"),
        ("quickly", "r", "base", "quickly"),
    ],
)
def test_inflect(lexicon: Lexicon, lemma: str, pos: str, form: str, expected: str) -> None:
    assert inflect(lemma, pos, form, lexicon) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("word", "lemma", "pos", "form"),
    [
        ("rivers", "river", "n", "s"),
        ("children", "child", "n", "s"),
        ("wrote", "write", "v", "ed"),
        ("written", "write", "v", "en"),
        ("goes", "go", "v", "s"),
        ("flows", "flow", "v", "s"),
        ("making", "make", "v", "ing"),
        ("largest", "large", "a", "est"),
        ("Quickly", "quickly", "r", "base"),
    ],
)
def test_readings(lexicon: Lexicon, word: str, lemma: str, pos: str, form: str) -> None:
    assert (lemma, pos, form) in {(r.entry.lemma, r.entry.pos, r.form) for r in readings(word, lexicon)}


def test_readings_of_an_unknown_word(lexicon: Lexicon) -> None:
    assert readings("xyzzyx", lexicon) == []


@pytest.mark.parametrize(
    ("word", "like", "expected"),
    [("seat", "Capital", "Seat"), ("seat", "CAPITAL", "SEAT"), ("seat", "capital", "seat")],
)
def test_match_case(word: str, like: str, expected: str) -> None:
    assert match_case(word, like) == expected


def test_article() -> None:
    assert [article(w) for w in ("estuary", "river", "hour", "university", "Apple")] == ["an", "a", "an", "a", "an"]


def test_substitutes_come_in_sense_order(lexicon: Lexicon) -> None:
    noun = next(entry for entry in lexicon.entries("dog") if entry.pos == "n")
    found = list(lexicon.substitutes(noun, senses=1))
    assert found.index("domestic_dog") < found.index("canine") < found.index("puppy")
    assert "dog" not in found
    assert len(found) == len(set(found))
    assert set(found) < set(lexicon.substitutes(noun))


def test_proper_names(lexicon: Lexicon) -> None:
    assert lexicon.is_proper_only("france")
    assert not lexicon.is_proper_only("river")
    assert not lexicon.is_proper_only("xyzzyx")


def test_it_is_loaded_at_first_use_only() -> None:
    code = (
        "import gzip; from unittest.mock import patch\n"
        "with patch('gzip.decompress', side_effect=AssertionError('loaded')):\n"
        "    import invent_chain; invent_chain.InvEntropy(lambda question: question)\n"
        "print('not loaded')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "not loaded", done.stderr


def test_the_licence_ships_beside_the_data() -> None:
    licence = files("invent_chain.perturb").joinpath("data/WORDNET-LICENSE").read_text()
    assert "Princeton University" in licence


def test_words_that_insult_are_left_out(lexicon: Lexicon) -> None:
    names = {lemma for entry in lexicon.entries("jack") for lemma in lexicon.substitutes(entry)}
    assert "diddlysquat" in names
    assert not any("shit" in name for name in names)
