"""Thresholds, and what a report can do for itself."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from pydantic import ValidationError

from invent_chain import Decision, InvEntropy, Thresholds, UncertaintyReport
from invent_chain.errors import ConfigurationError
from invent_chain.types import Usage


@pytest.mark.parametrize(
    ("score", "action"),
    [
        (0.0, "answer"),
        (0.25, "answer"),
        (0.26, "retrieve_more"),
        (0.5, "retrieve_more"),
        (0.75, "fallback"),
        (0.76, "abstain"),
        (1.0, "abstain"),
    ],
)
def test_default_thresholds(score: float, action: str) -> None:
    assert Thresholds()(score, "ok").action == action


def test_a_failed_score_abstains_whatever_the_thresholds() -> None:
    assert Thresholds(answer=1.0, retrieve_more=None, fallback=None)(0.0, "failed").action == "abstain"


def test_actions_can_be_skipped() -> None:
    policy = Thresholds(answer=0.3, retrieve_more=None, fallback=None)
    assert policy(0.31, "ok") == Decision("abstain", "uncertainty 0.31 is above 0.30")


@pytest.mark.parametrize(
    ("bounds", "says"),
    [
        ({"answer": 1.2}, "answer=1.2"),
        ({"answer": -0.1}, "answer=-0.1"),
        ({"answer": float("nan")}, "nan"),
        ({"answer": 0.6}, "answer=0.6 is above retrieve_more=0.5"),
        ({"answer": 0.6, "retrieve_more": None, "fallback": 0.5}, "answer=0.6 is above fallback=0.5"),
    ],
)
def test_bad_thresholds(bounds: dict[str, float], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Thresholds(**bounds)


@pytest.fixture(scope="module")
def report() -> UncertaintyReport:
    with InvEntropy(lambda question: "Koror", n=2, r=2) as scorer:
        return scorer.score("Which town is the capital of Palau?")


def test_json_there_and_back(report: UncertaintyReport) -> None:
    assert UncertaintyReport.from_json(report.to_json(indent=2)) == report


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"colour": "red"}, "colour"),
        ({"score": float("nan")}, "score"),
        ({"status": "fine"}, "status"),
        ({"decision": {"action": "guess", "reason": ""}}, "action"),
    ],
)
def test_what_is_no_report(report: UncertaintyReport, change: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        UncertaintyReport.from_json(json.dumps({**report.to_dict(), **change}))


def test_explanations_are_one_sentence_with_the_decision(report: UncertaintyReport) -> None:
    gaps = replace(report, status="degraded", problems=("2 of 5 answers did not come back: time-out",))
    failed = replace(report, status="failed", problems=("no answer came back",), score=1.0)
    for each in (report, gaps, failed):
        said = each.explain()
        assert said.endswith(".")
        assert "\n" not in said
        assert report.decision.action in said
    assert "time-out" in gaps.explain()
    assert "could not be scored" in failed.explain()


def test_usage_adds_up_and_unknown_tokens_stay_unknown() -> None:
    assert Usage(1, 10, None, 0.5) + Usage(2, 5, None, 1.0) == Usage(3, 15, None, 1.5)
    assert Usage(1) + Usage(1, 3, 4) == Usage(2, 3, 4)
