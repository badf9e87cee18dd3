"""Stored samples are scored as the scorer itself scores."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from invent_chain import InvEntropy
from invent_chain.calibrate import Calibration
from invent_chain.cli.app import app
from invent_chain.errors import InputError
from invent_chain.evaluate import SampledSibling, Samples, SampleStore, score_samples

SIBLINGS = ("Palau's capital?", "Which city governs Palau?")


def samples(k: int, *, steady: bool, answers: int = 4, model: str = "m") -> Samples:
    def say(number: int) -> str:
        return "Koror" if steady or number % 2 else f"town{number}"

    return Samples(
        id=f"q{k}", question="What is the capital of Palau?", gold=("Koror" if steady else "Ngerulmud",),
        exact_case=False, model=model, template="", temperature=0.7, answer="Koror",
        replications=tuple(map(say, range(k, k + answers - 1))),
        siblings=tuple(SampledSibling(text, "custom", 0.9, tuple(map(say, range(k, k + 2)))) for text in SIBLINGS),
    )  # fmt: skip


def scorer(**settings: int) -> InvEntropy:
    return InvEntropy(**{"n": 2, "r": 2, "replications": 4, **settings}, perturber=lambda _question, _n: list(SIBLINGS))


def test_a_stored_answer_has_the_score_that_it_would_have_had_live() -> None:
    stored = samples(0, steady=False)
    texts = {stored.question: iter(stored.replications)} | {s.text: iter(s.answers) for s in stored.siblings}
    live = scorer(concurrency=1).score(stored.question, answer="Koror", ask=lambda question: next(texts[question]))
    scored = score_samples([stored], scorer())
    assert scored.uncertainty[0] == live.score
    assert {name: values[0] for name, values in scored.measures.items()} == dict(live.measures)
    assert scored.right.tolist() == [False]
    assert scored.fingerprint.model == "m"


def test_what_cannot_be_scored_is_told_before_anything_is_computed() -> None:
    with pytest.raises(InputError, match="no samples"):
        score_samples([], scorer())
    with pytest.raises(InputError, match="mix models"):
        score_samples([samples(0, steady=True), samples(1, steady=True, model="other")], scorer())
    with pytest.raises(InputError, match="has 4 answers to the question and the scorer wants 9"):
        score_samples([samples(0, steady=True)], scorer(replications=9))
    with pytest.raises(InputError, match="has 2 siblings and the scorer wants 3"):
        score_samples([samples(0, steady=True)], scorer(n=3))


def test_the_command_line_calibrates_what_was_stored(tmp_path: Path) -> None:
    store = SampleStore(tmp_path / "samples.jsonl")
    for k in range(200):
        store.append(samples(k, steady=k % 2 == 0, answers=23))
    plan = ["--n", "2", "--r", "2", "--encoder", "lexical"]
    target = tmp_path / "calibration.json"
    run = CliRunner().invoke(app, ["calibrate", str(store.path), "-o", str(target), *plan])
    assert run.exit_code == 0, run.output
    assert "certified" in run.output
    calibration = Calibration.load(target)
    assert calibration.fingerprint.model == "m"
    assert calibration.confidence(0.0) > 0.9 > 0.1 > calibration.confidence(0.9)
    certificate = json.loads(target.read_text())["certificate"]
    assert 0.0 <= certificate["threshold"] < 0.6
    assert np.isclose(certificate["risk"], 0.1)


def test_the_command_line_says_when_nothing_can_be_certified(tmp_path: Path) -> None:
    store = SampleStore(tmp_path / "samples.jsonl")
    for k in range(24):
        store.append(samples(k, steady=k % 2 == 0))
    plan = ["--n", "2", "--r", "2", "--encoder", "lexical", "-o", str(tmp_path / "calibration.json")]
    run = CliRunner().invoke(app, ["calibrate", str(store.path), *plan])
    assert run.exit_code == 5
    assert "not certifiable" in run.output
    assert (tmp_path / "calibration.json").exists()
    many = CliRunner().invoke(app, ["calibrate", str(store.path), "--n", "5", "--encoder", "lexical"])
    assert many.exit_code == 2


def test_the_command_line_certifies_a_cascade(tmp_path: Path) -> None:
    stored = [samples(k, steady=k % 2 == 0) for k in range(80)]
    weak, strong, short = (SampleStore(tmp_path / f"{name}.jsonl") for name in ("weak", "strong", "short"))
    for k, one in enumerate(stored):
        weak.append(one)
        strong.append(replace(one, answer=one.gold[0], model="strong"))
        if k:
            short.append(one)
    plan = ["--n", "2", "--r", "2", "--encoder", "lexical", "-o", str(tmp_path / "calibration.json")]
    run = CliRunner().invoke(app, ["calibrate", str(weak.path), *plan, "--fallback", str(strong.path)])
    assert "goes to the stronger model (50% of the questions)" in " ".join(run.output.split())
    run = CliRunner().invoke(app, ["calibrate", str(weak.path), *plan, "--fallback", str(short.path)])
    assert run.exit_code == 2
    assert "lacks 1 of the questions, such as 'q0'" in " ".join(run.output.split())
