"""Question files, the store of samples, the runner, judges and baselines."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invent_chain.errors import AskError, ConfigurationError, InputError
from invent_chain.evaluate import Collector, Question, Samples, SampleStore, read_questions
from invent_chain.evaluate import baselines as b
from invent_chain.evaluate.judges import ask_judge, contains, exact_match
from invent_chain.sample import CallableAsk

QUESTIONS = [Question(f"q{i}", f"What is the capital of country {i}?", ("Koror",)) for i in range(6)]


def siblings(question: str, n: int) -> list[str]:
    return [f"{question} ({i})" for i in range(n)]


class Model:
    def __init__(self, down: str | None = None) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.down = down

    def __call__(self, question: str, temperature: float | None = None) -> str:
        self.asked.append((question, temperature))
        if self.down and self.down in question:
            raise ConnectionError("down")
        return f"Koror {len(self.asked)}"


def collector(model: Any, store: SampleStore, **settings: Any) -> Collector:
    return Collector(model, store, **{"n": 2, "r": 3, "replications": 4, "perturber": siblings, **settings})


def test_a_question_is_sampled_once_and_in_full(tmp_path: Path) -> None:
    model, store = Model(), SampleStore(tmp_path / "s.jsonl")
    told: list[tuple[int, int]] = []
    done = collector(model, store, template="{question}").run(QUESTIONS, progress=lambda *at: told.append(at))
    assert (done.stored, done.skipped, done.failed, done.requests) == (6, 0, {}, 6 * 11)
    assert told == [(i, 6) for i in range(1, 7)]
    kept = {samples.id: samples for samples in store}
    assert set(kept) == {question.id for question in QUESTIONS}
    one = kept["q3"]
    assert (one.question, one.gold, one.temperature, one.template) == (
        QUESTIONS[3].question,
        ("Koror",),
        0.7,
        "{question}",
    )
    assert len(one.replications) == 4
    assert [len(sibling.answers) for sibling in one.siblings] == [3, 3]
    assert [temperature for question, temperature in model.asked if question == one.question].count(None) == 1
    again = collector(model, store).run(QUESTIONS)
    assert (again.stored, again.skipped, again.requests) == (0, 6, 0)


def test_what_failed_is_tried_again(tmp_path: Path) -> None:
    store = SampleStore(tmp_path / "s.jsonl")
    done = collector(Model(down="country 2?"), store).run(QUESTIONS)
    assert (done.stored, list(done.failed)) == (5, ["q2"])
    assert "ConnectionError" in done.failed["q2"]
    assert collector(Model(), store).run(QUESTIONS).stored == 1
    assert store.ids() == {question.id for question in QUESTIONS}


def test_a_kill_in_mid_line_loses_that_line_alone(tmp_path: Path) -> None:
    store = SampleStore(tmp_path / "s.jsonl")
    collector(Model(), store).run(QUESTIONS[:3])
    whole = store.path.read_bytes()
    for cut in (1, 40, len(whole.splitlines()[2])):
        store.path.write_bytes(whole[:-cut])
        assert len(store.ids()) == 2
        collector(Model(), store).run(QUESTIONS[:3])
        assert len(store.ids()) == 3
        assert len(store.path.read_bytes().splitlines()) == 3
    store.path.write_bytes(b"{" * 200_000)
    collector(Model(), store).run(QUESTIONS[:1])
    assert store.ids() == {"q0"}


def test_a_broken_line_is_told(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text('{"id": 1}\n')
    with pytest.raises(InputError, match=r"s.jsonl, line 1: no record of samples"):
        list(SampleStore(path))
    with pytest.raises(ConfigurationError, match="does not exist; make it first"):
        SampleStore(tmp_path / "nowhere" / "s.jsonl")
    assert list(SampleStore(tmp_path / "new.jsonl")) == []


def test_perturbations_do_not_depend_on_the_order_of_questions(tmp_path: Path) -> None:
    def texts(name: str, questions: list[Question]) -> dict[str, list[str]]:
        store = SampleStore(tmp_path / name)
        collector(Model(), store, perturber="gaap").run(questions)
        return {samples.id: [sibling.text for sibling in samples.siblings] for samples in store}

    assert texts("a.jsonl", QUESTIONS) == texts("b.jsonl", QUESTIONS[::-1])


def test_bad_settings_are_errors(tmp_path: Path) -> None:
    for wrong in ({"n": -1}, {"r": 0}, {"replications": 1.5}, {"at_once": 0}):
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            collector(Model(), SampleStore(tmp_path / "s.jsonl"), **wrong)


def test_question_files(tmp_path: Path) -> None:
    rows = [{"id": "a", "question": "Q?", "answers": ["x", "y"], "source": "s"}, {"question": "R?", "answers": "z"}]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    assert read_questions(tmp_path / "q.jsonl") == [Question("a", "Q?", ("x", "y")), Question("2", "R?", ("z",))]
    (tmp_path / "q.csv").write_text('question,value\n"Q, really?",x | y\nR?,z\n')
    assert read_questions(tmp_path / "q.csv") == [
        Question("2", "Q, really?", ("x", "y")),
        Question("3", "R?", ("z",)),
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("q.txt", "", "ends in .jsonl or .csv"),
        ("q.jsonl", "", "holds no question"),
        ("q.jsonl", "{}", "line 1: question=None"),
        ("q.jsonl", '{"question": "Q?", "answers": ["x"]}\n{', "line 2: no JSON"),
        ("q.jsonl", "[]", "line 1: holds a list"),
        ("q.jsonl", '{"question": "Q?", "answers": []}', "give at least one text"),
        ("q.jsonl", '{"question": "Q?", "answers": ["x"], "exact_case": 1}', "exact_case=1"),
        ("q.jsonl", '{"id": 1, "question": "Q?", "answers": ["x"]}\n' * 2, "line 2: the id '1' was used in line 1"),
        ("q.csv", "question,answer\nQ?,x\n", "must name the columns question and value"),
        ("q.csv", "question,value\nQ?,\n", "line 2: answers="),
    ],
)
def test_wrong_question_files_are_told(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_questions(tmp_path / name)


def test_a_missing_question_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_questions(tmp_path / "q.csv")


@pytest.mark.parametrize(
    ("answer", "accepted", "exact_case", "held", "equal"),
    [
        ("The capital is Koror.", ["Koror"], False, True, False),
        ("koror!", ["The Koror"], False, True, True),
        ("Kororville", ["Koror"], False, False, False),
        ("São Tomé and Príncipe", ["são tomé"], False, True, False),
        ("Its symbol is co", ["Co"], True, False, False),
        ("Its symbol is Co", ["Co"], True, True, False),
        ("nothing", ["the"], False, False, False),
        ("", ["x"], False, False, False),
    ],
)
def test_judges_by_rule(answer: str, accepted: list[str], exact_case: bool, held: bool, equal: bool) -> None:
    assert contains(answer, accepted, exact_case=exact_case) is held
    assert exact_match(answer, accepted, exact_case=exact_case) is equal


def test_a_model_judges_and_an_unreadable_verdict_is_an_error() -> None:
    def judge(prompt: str) -> str:
        return "Yes." if "Given answer: Koror" in prompt else "no" if "Melekeok" in prompt else "Perhaps"

    def verdict(answer: str) -> bool:
        return asyncio.run(ask_judge(CallableAsk(judge), "Capital?", answer, ["Koror", "Koror City"]))

    assert verdict("Koror") is True
    assert verdict("Melekeok") is False
    with pytest.raises(AskError, match="neither yes nor no"):
        verdict("Airai")


def test_baselines_by_hand() -> None:
    assert b.lexical_entropy(["Koror.", "koror", "Airai", "Melekeok"]) == pytest.approx(
        0.5 * math.log(2) + 2 * 0.25 * math.log(4)
    )
    assert b.lexical_entropy(["Koror"]) == 0.0
    linked = np.array([[1.0, 0.9, 0.1, 0.0], [0.9, 1.0, 0.9, 0.0], [0.1, 0.9, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    assert b.semantic_entropy(linked) == pytest.approx(0.75 * math.log(4 / 3) + 0.25 * math.log(4))
    assert b.semantic_entropy(linked, threshold=0.95) == pytest.approx(math.log(4))
    assert b.degree_matrix(linked) == pytest.approx(1 - (4 + 2 * 1.9) / 16)
    assert b.mean_dissimilarity(linked) == pytest.approx(1 - 2 * 1.9 / 12)
    assert b.mean_dissimilarity(np.eye(1)) == 0.0
    assert b.primary_dissimilarity(linked) == pytest.approx(1 - 1.0 / 3)
    assert b.primary_dissimilarity(linked, np.array([1.0, 0.0, 0.0])) == pytest.approx(0.1)
    for wrong in (
        lambda: b.degree_matrix(np.ones((2, 3))),
        lambda: b.primary_dissimilarity(np.eye(1)),
        lambda: b.lexical_entropy([]),
    ):
        with pytest.raises(InputError):
            wrong()


def test_samples_survive_the_file(tmp_path: Path) -> None:
    store = SampleStore(tmp_path / "s.jsonl")
    one = Samples("é", "Q\n?", ("a",), True, "m", "", None, "b", ("c",), ())
    store.append(one)
    assert list(store) == [one]
