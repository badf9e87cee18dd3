"""Paraphrasing by the model, and perturbers that users pass."""

from __future__ import annotations

from itertools import count
from typing import Any

import anyio
import numpy as np
import pytest

from invent_chain.embed import as_similarity
from invent_chain.errors import AskError, ConfigurationError, InputError, PerturbationError
from invent_chain.perturb import GAAP, Paraphrase, ReplicationOnly, as_perturber, parse_paraphrases
from invent_chain.protocols import PerturbContext, Perturber
from invent_chain.sample import as_ask
from invent_chain.types import Perturbation, Perturbed

QUESTION = "Who wrote Kalevala?"


def run(perturber: Perturber, ask: Any = lambda question: question, n: int = 3) -> Perturbed:
    context = PerturbContext(rng=np.random.default_rng(0), similarity=as_similarity(None), ask=as_ask(ask))
    return anyio.run(perturber.perturb, QUESTION, n, context)


@pytest.mark.parametrize(
    "reply",
    [
        "Who is the author of Kalevala?\nBy whom was Kalevala written?",
        "1. Who is the author of Kalevala?\n2. By whom was Kalevala written?",
        "1) Who is the author of Kalevala?\n(2) By whom was Kalevala written?",
        "Sure, here are two:\n\n- Who is the author of Kalevala?\n* By whom was Kalevala written?\n\nI hope it helps",
        '**1.** "Who is the author of Kalevala?"\n**2.** “By whom was Kalevala written?”',
        "Paraphrase 1: Who is the author of Kalevala?\nParaphrase: By whom was Kalevala written?\nWho wrote Kalevala?",
        "• Who is the author of Kalevala?\n• By whom was Kalevala written?\n• by whom was kalevala written?",
        "Here are some:\r\n  Who is the author of Kalevala?\r\n  By whom was Kalevala written?\r\n",
    ],
)
def test_replies_are_read_with_tolerance(reply: str) -> None:
    assert parse_paraphrases(reply, QUESTION) == ["Who is the author of Kalevala?", "By whom was Kalevala written?"]


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ('1. Who wrote "Emma"', 'Who wrote "Emma"'),
        ("1984 was written by whom?", "1984 was written by whom?"),
        ("-5 degrees are how many Fahrenheit?", "-5 degrees are how many Fahrenheit?"),
        ("3.5 miles are how long?", "3.5 miles are how long?"),
        ("> * **“Who was it?”**", "Who was it?"),
    ],
)
def test_what_belongs_to_a_paraphrase_stays(reply: str, text: str) -> None:
    assert parse_paraphrases(reply, QUESTION) == [text]


@pytest.mark.parametrize("reply", ["", "\n\n", "Sure, here you go:", QUESTION, "1.\n2.\n"])
def test_replies_without_a_paraphrase(reply: str) -> None:
    assert parse_paraphrases(reply, QUESTION) == []


def test_the_papers_prompt_and_temperature() -> None:
    seen: list[tuple[str, float | None]] = []

    def ask(question: str, temperature: float | None = None) -> str:
        seen.append((question, temperature))
        return "a one?\nb two?\nc three?\nd four?"

    perturbed = run(Paraphrase(), ask)
    prompt = (
        "You are a helpful assistant that paraphrases sentences.\n"
        "Provide 3 paraphrases for this sentence: Who wrote Kalevala?"
    )
    assert seen == [(prompt, 0.7)]
    assert [p.text for p in perturbed.perturbations] == ["a one?", "b two?", "c three?"]
    assert {p.operator for p in perturbed.perturbations} == {"paraphrase"}
    assert perturbed.usage.requests == 1
    assert perturbed.notes == ()


def test_too_few_paraphrases_are_said() -> None:
    assert run(Paraphrase(), lambda question: "one?").notes == ("the model gave 1 of 3 paraphrases",)


def test_no_paraphrase_is_an_error() -> None:
    with pytest.raises(PerturbationError, match="no paraphrase"):
        run(Paraphrase(), lambda question: "Sure, here you go:")


def test_a_model_that_fails_is_an_error() -> None:
    def ask(question: str) -> str:
        raise RuntimeError("down")

    with pytest.raises(PerturbationError, match="down") as caught:
        run(Paraphrase(), ask)
    assert isinstance(caught.value.__cause__, AskError)


def test_a_model_of_its_own() -> None:
    own = as_ask(lambda question: "from another model?")
    assert run(Paraphrase(ask=own)).perturbations[0].text == "from another model?"


def test_a_prompt_without_the_question() -> None:
    with pytest.raises(ConfigurationError, match="question"):
        Paraphrase(prompt="Paraphrase!")


def test_replication_only() -> None:
    assert run(ReplicationOnly()) == Perturbed()


def test_names() -> None:
    assert isinstance(as_perturber("gaap"), GAAP)
    assert isinstance(as_perturber("paraphrase"), Paraphrase)
    assert as_perturber("none").name == "none"  # type: ignore[attr-defined]


def test_a_perturber_is_taken_as_it_is() -> None:
    gaap = GAAP(generations=1)
    assert as_perturber(gaap) is gaap


async def later(question: str, n: int) -> list[str]:
    return ["one?", "two?"]


@pytest.mark.parametrize(
    "function", [lambda question, n: ["one?", "two?"], lambda question, n: (t for t in ("one?", "two?")), later]
)
def test_any_callable(function: Any) -> None:
    assert [p.text for p in run(as_perturber(function)).perturbations] == ["one?", "two?"]


def test_what_a_callable_gives_is_cleaned_and_that_is_said() -> None:
    given = ["one?", "one?", " ", QUESTION, "two?", Perturbation("three?", operator="hand"), "four?"]
    perturbed = run(as_perturber(lambda question, n: given))
    assert [p.text for p in perturbed.perturbations] == ["one?", "two?", "three?"]
    assert perturbed.notes[0].startswith("4 of 7 siblings were dropped")


@pytest.mark.parametrize(("given", "kind"), [("one?", "str"), (None, "NoneType"), ([3], "int"), (3, "int")])
def test_a_callable_that_gives_no_texts(given: Any, kind: str) -> None:
    with pytest.raises(PerturbationError, match=kind):
        run(as_perturber(lambda question, n: given))


class Around:
    async def __call__(self, question: str, n: int) -> list[str]:
        return ["one?", "two?"]


@pytest.mark.parametrize("function", [Around(), lambda question, n: later(question, n)])
def test_what_wraps_an_async_function(function: Any) -> None:
    assert [p.text for p in run(as_perturber(function), n=2).perturbations] == ["one?", "two?"]


def test_a_generator_that_raises_or_never_ends() -> None:
    def raising(question: str, n: int) -> Any:
        yield "one?"
        raise KeyError("nothing")

    def endless(question: str, n: int) -> Any:
        return (f"{i}?" for i in count())

    with pytest.raises(PerturbationError, match="KeyError"):
        run(as_perturber(raising))
    assert len(run(as_perturber(endless)).perturbations) == 3


def test_a_callable_that_gives_too_few_says_so() -> None:
    assert "gave 1 of 3" in run(as_perturber(lambda question, n: ["one?"])).notes[0]


def test_a_callable_that_raises() -> None:
    def function(question: str, n: int) -> list[str]:
        raise KeyError("nothing")

    with pytest.raises(PerturbationError, match="KeyError"):
        run(as_perturber(function))


@pytest.mark.parametrize("what", [3, None, GAAP, "magic"])
def test_what_is_no_perturber(what: Any) -> None:
    with pytest.raises(ConfigurationError):
        as_perturber(what)


@pytest.mark.parametrize("perturber", [GAAP(), Paraphrase()])
def test_an_empty_question(perturber: Perturber) -> None:
    context = PerturbContext(rng=np.random.default_rng(0), similarity=as_similarity(None), ask=as_ask(lambda q: q))
    with pytest.raises(InputError):
        anyio.run(perturber.perturb, " ", 3, context)
