"""Policies put together from conditions."""

from __future__ import annotations

from typing import Any

import pytest

from invent_chain import Decision, InvEntropy
from invent_chain.errors import ConfigurationError
from invent_chain.rules import Rules, Situation, above, apply, budget, status
from invent_chain.types import Usage

POLICY = Rules(
    ("answer", ~above(0.3)),
    ("retrieve_more", ~above(0.6) & budget(hops=2) & status("ok")),
    ("fallback", ~above(0.9) | status("degraded")),
)


@pytest.mark.parametrize(
    ("situation", "decision"),
    [
        (Situation(0.3, "ok"), Decision("answer", "uncertainty 0.30 is at most 0.30")),
        (
            Situation(0.5, "ok", hops=1),
            Decision("retrieve_more", "uncertainty 0.50 is at most 0.60 and hops: 1 of 2 used and status is ok"),
        ),
        (Situation(0.5, "ok", hops=2), Decision("fallback", "uncertainty 0.50 is at most 0.90")),
        (Situation(0.95, "degraded"), Decision("fallback", "status is degraded")),
        (
            Situation(0.95, "ok"),
            Decision(
                "abstain",
                "uncertainty 0.95 is above 0.30; uncertainty 0.95 is above 0.60; "
                "uncertainty 0.95 is above 0.90 and status is ok",
            ),
        ),
    ],
)
def test_the_first_rule_that_holds_decides_and_says_why(situation: Situation, decision: Decision) -> None:
    assert POLICY.decide(situation) == decision


@pytest.mark.parametrize("rules", [Rules(("answer", above(0.0))), Rules(otherwise="answer")])
def test_what_failed_is_never_given_as_it_is(rules: Rules) -> None:
    assert rules(1.0, "failed") == Decision("abstain", "nothing could be scored")


def test_what_failed_may_go_elsewhere() -> None:
    assert Rules(("fallback", status("failed")))(1.0, "failed").action == "fallback"


@pytest.mark.parametrize(
    ("limits", "usage", "holds"),
    [
        ({"requests": 10}, Usage(requests=9), True),
        ({"requests": 10}, Usage(requests=10), False),
        ({"tokens": 100}, Usage(prompt_tokens=50, completion_tokens=49), True),
        ({"tokens": 100}, Usage(prompt_tokens=50, completion_tokens=50), False),
        ({"tokens": 100}, Usage(), False),
        ({"seconds": 1.5}, Usage(seconds=1.0), True),
        ({"seconds": 1.5, "hops": 0}, Usage(seconds=1.0), False),
    ],
)
def test_budgets(limits: dict[str, Any], usage: Usage, holds: bool) -> None:
    finding = budget(**limits).check(Situation(0.5, "ok", usage=usage))
    assert finding.holds is holds
    assert all(name in finding.reason for name in limits)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: above(1.5), r"above\(1.5\)"),
        (lambda: above(float("nan")), "nan"),
        (lambda: budget(), "no limit"),
        (lambda: budget(hops=-1), "hops=-1"),
        (lambda: budget(seconds=-1.0), "seconds=-1.0"),
        (lambda: status("fine"), "at least one of ok"),
        (lambda: status(), "at least one of ok"),
        (lambda: Rules(("reply", above(0.1))), "'reply' is unknown"),
        (lambda: Rules(otherwise="reply"), "'reply' is unknown"),
        (lambda: Rules("answer"), "is no rule"),
        (lambda: Rules(("answer", 0.3)), "is no rule"),
    ],
)
def test_wrong_rules_are_told(make: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        make()


def test_any_policy_can_be_applied() -> None:
    situation = Situation(0.5, "ok", hops=3)
    assert apply(lambda score, _status: Decision("answer", f"{score}"), situation) == Decision("answer", "0.5")
    assert apply(Rules(("answer", ~budget(hops=3))), situation).action == "answer"


def test_a_scorer_tells_its_policy_what_was_spent() -> None:
    policy = Rules(("answer", budget(requests=3)), otherwise="fallback")
    for replications, action in ((2, "answer"), (5, "fallback")):
        with InvEntropy(lambda _q: "Paris", perturber="none", replications=replications, policy=policy) as scorer:
            assert scorer.score("What is the capital of France?").decision.action == action
