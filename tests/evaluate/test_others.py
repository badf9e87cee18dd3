"""Adapters to other libraries' scorers, by stand-ins with their signatures; benchmarks/others.py runs the real ones."""

from __future__ import annotations

from typing import Any

import pytest

from invent_chain.errors import InputError
from invent_chain.evaluate import Samples
from invent_chain.evaluate.others import polygraph_uncertainty, uqlm_uncertainty

STORED = [
    Samples("a", "A?", ("x",), False, "m", "", 0.7, "x", ("x", "y", "z"), ()),
    Samples("b", "B?", ("x",), False, "m", "", 0.7, "x", ("x", "x", "z"), ()),
]


class Match:
    def evaluate(self, responses: list[str], sampled_responses: list[list[str]]) -> list[float]:
        return [texts.count(own) / len(texts) for own, texts in zip(responses, sampled_responses, strict=True)]


class Distinct:
    def __init__(self, *needs: str) -> None:
        self.stats_dependencies = list(needs)

    def __call__(self, stats: dict[str, Any]) -> list[float]:
        assert stats["input_texts"] == ["A?", "B?"]
        assert stats["greedy_texts"] == ["x", "x"]
        return [len(set(texts)) for texts in stats["sample_texts"]]


def test_confidence_becomes_uncertainty() -> None:
    assert uqlm_uncertainty(STORED, Match(), answers=4).tolist() == pytest.approx([2 / 3, 1 / 3])
    assert uqlm_uncertainty(iter(STORED), Match(), answers=2).tolist() == [0.0, 0.0]


def test_the_primary_answer_is_one_of_the_texts() -> None:
    assert polygraph_uncertainty(iter(STORED), Distinct("sample_texts"), answers=4).tolist() == [3.0, 2.0]


def test_what_cannot_be_had_is_told() -> None:
    with pytest.raises(InputError, match="semantic_matrix_entail"):
        polygraph_uncertainty(STORED, Distinct("sample_texts", "semantic_matrix_entail"), answers=4)
    with pytest.raises(InputError, match="question a has 4 answers and 5 are wanted"):
        uqlm_uncertainty(STORED, Match(), answers=5)
    with pytest.raises(InputError, match="answers=1"):
        uqlm_uncertainty(STORED, Match(), answers=1)
