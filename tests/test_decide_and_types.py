"""Thresholds, and what a report can do for itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from invent_chain import Decision, InvEntropy, Thresholds, UncertaintyReport
from invent_chain.decide import Escalation, LeastCost
from invent_chain.errors import ConfigurationError
from invent_chain.types import Status, Usage


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


def least_cost(**settings: Any) -> LeastCost:
    return LeastCost(**{"confidence": lambda score: 1.0 - score, "wrong": 10.0, "abstain": 3.0, **settings})


@pytest.mark.parametrize(
    ("score", "action"), [(0.0, "answer"), (0.14, "answer"), (0.16, "fallback"), (0.9, "fallback")]
)
def test_the_least_expected_cost_decides(score: float, action: str) -> None:
    policy = least_cost(fallback=Escalation(cost=0.5, p_right=0.9), retrieve_more=Escalation(cost=1.0, p_right=0.7))
    assert policy(score, "ok").action == action
    assert "retrieve_more 4" in policy(score, "ok").reason


def test_where_nothing_is_worth_its_cost_it_abstains() -> None:
    assert least_cost()(0.31, "ok").action == "abstain"
    assert least_cost(fallback=Escalation(cost=9.0, p_right=1.0))(0.31, "ok").action == "abstain"
    assert least_cost(abstain=2.5)(0.25, "ok").action == "answer"  # equal costs: the first


@pytest.mark.parametrize("status", ["degraded", "failed"])
def test_without_a_comparable_score_the_answer_is_not_given_as_it_is(status: Status) -> None:
    assert least_cost()(0.0, status).action == "abstain"
    decision = least_cost(fallback=Escalation(cost=0.0, p_right=0.8))(0.0, status)
    assert decision.action == "fallback"
    assert f"P(right) is not known (status {status})" in decision.reason


@pytest.mark.parametrize(
    "build",
    [
        lambda: least_cost(wrong=0.0),
        lambda: least_cost(wrong=float("inf")),
        lambda: least_cost(abstain=-1.0),
        lambda: Escalation(cost=float("nan"), p_right=0.5),
        lambda: Escalation(cost=1.0, p_right=1.5),
    ],
)
def test_costs_out_of_range_are_refused(build: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError, match=r"cost|p_right|wrong"):
        build()
