"""Policies put together from conditions that read like the sentence they decide by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import get_args

from invent_chain.decide import Policy
from invent_chain.errors import ConfigurationError
from invent_chain.sample.settings import check_whole
from invent_chain.types import Action, Decision, Status, Usage


@dataclass(frozen=True, slots=True)
class Situation:
    """What a decision can rest on.

    Attributes:
        score: Uncertainty in [0, 1]; higher = more uncertain.
        status: How the score was made.
        hops: How often more context was retrieved already, >= 0.
        usage: What scoring this answer has cost.
    """

    score: float
    status: Status
    hops: int = 0
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether a condition holds, and why in words."""

    holds: bool
    reason: str


class Condition(ABC):
    """Holds in a situation or not. Combine with `&` (and), `|` (or) and `~` (not)."""

    __slots__ = ()

    @abstractmethod
    def check(self, situation: Situation) -> Finding:
        """Say whether it holds in `situation`, and why."""

    def __and__(self, other: Condition) -> Condition:
        return _Joined(self, other, all)

    def __or__(self, other: Condition) -> Condition:
        return _Joined(self, other, any)

    def __invert__(self) -> Condition:
        return _Not(self)


def above(uncertainty: float) -> Condition:
    """Hold where the score is above `uncertainty`, in [0, 1]; `~above(0.3)` is "at most 0.3".

    Raises:
        ConfigurationError: The bound is outside [0, 1].
    """
    if not 0.0 <= uncertainty <= 1.0:
        raise ConfigurationError(f"above({uncertainty}): a threshold lies between 0 (certain) and 1 (uncertain)")
    return _Above(uncertainty)


def budget(
    *, hops: int | None = None, requests: int | None = None, tokens: int | None = None, seconds: float | None = None
) -> Condition:
    """Hold while less than each given limit was used. What is not known (tokens, say) counts as used up.

    Args:
        hops: Most retrievals of more context; 0 allows none.
        requests: Most requests of scoring the answer.
        tokens: Most tokens of scoring the answer, read and written.
        seconds: Longest time of scoring the answer.

    Raises:
        ConfigurationError: No limit is given, or one is negative.
    """
    for name, limit in (("hops", hops), ("requests", requests), ("tokens", tokens)):
        if limit is not None:
            check_whole(name, limit, least=0)
    if seconds is not None and not seconds >= 0.0:
        raise ConfigurationError(f"seconds={seconds!r}: must be at least 0")
    limits = {"hops": hops, "requests": requests, "tokens": tokens, "seconds": seconds}
    given = tuple((name, limit) for name, limit in limits.items() if limit is not None)
    if not given:
        raise ConfigurationError("budget() has no limit: give hops, requests, tokens or seconds")
    return _Budget(given)


def status(*wanted: Status) -> Condition:
    """Hold where the score was made under one of these statuses, such as `status("ok")`.

    Raises:
        ConfigurationError: A status is unknown, or none is given.
    """
    unknown = [name for name in wanted if name not in get_args(Status)]
    if unknown or not wanted:
        raise ConfigurationError(f"status{wanted!r}: name at least one of {', '.join(get_args(Status))}")
    return _HasStatus(wanted)


class Rules:
    """The first rule whose condition holds gives the action: a `Policy`.

    An answer whose score failed is never given as it is, whatever the rules say.

    Args:
        rules: Pairs of an action and its condition, tried in this order.
        otherwise: The action where no condition holds.

    Raises:
        ConfigurationError: A rule is no such pair.
    """

    def __init__(self, *rules: tuple[Action, Condition], otherwise: Action = "abstain") -> None:
        for rule in rules:
            _check_rule(rule)
        for action in (*(action for action, _ in rules), otherwise):
            if action not in get_args(Action):
                raise ConfigurationError(f"action {action!r} is unknown: choose one of {', '.join(get_args(Action))}")
        self._rules, self._otherwise = rules, otherwise

    def __call__(self, score: float, status: Status) -> Decision:
        """Decide where no hop was taken and nothing is known of the cost."""
        return self.decide(Situation(score, status))

    def decide(self, situation: Situation) -> Decision:
        """Decide in a situation; the reason says which condition held, or why none did."""
        reasons = []
        for action, condition in self._rules:
            if action == "answer" and situation.status == "failed":
                reasons.append("nothing could be scored")
                continue
            finding = condition.check(situation)
            if finding.holds:
                return Decision(action, finding.reason)
            reasons.append(finding.reason)
        if self._otherwise == "answer" and situation.status == "failed":
            return Decision("abstain", "nothing could be scored")
        return Decision(self._otherwise, "; ".join(dict.fromkeys(reasons)) or "no rule is given")


def apply(policy: Policy, situation: Situation) -> Decision:
    """Ask any policy for its decision; only `Rules` see more than score and status."""
    if isinstance(policy, Rules):
        return policy.decide(situation)
    return policy(situation.score, situation.status)


def _check_rule(rule: object) -> None:
    if not (isinstance(rule, tuple) and len(rule) == 2 and isinstance(rule[1], Condition)):
        raise ConfigurationError(f"{rule!r} is no rule: write (action, condition), such as ('answer', ~above(0.3))")


@dataclass(frozen=True, slots=True)
class _Above(Condition):
    bound: float

    def check(self, situation: Situation) -> Finding:
        holds = situation.score > self.bound
        return Finding(
            holds, f"uncertainty {situation.score:.2f} is {'above' if holds else 'at most'} {self.bound:.2f}"
        )


@dataclass(frozen=True, slots=True)
class _Budget(Condition):
    limits: tuple[tuple[str, float], ...]

    def check(self, situation: Situation) -> Finding:
        usage, known = situation.usage, situation.usage.prompt_tokens is not None
        tokens = (usage.prompt_tokens or 0) + (usage.completion_tokens or 0) if known else None
        used = {"hops": situation.hops, "requests": usage.requests, "tokens": tokens, "seconds": usage.seconds}
        holds, reasons = True, []
        for name, limit in self.limits:
            spent = used[name]
            holds = holds and spent is not None and spent < limit
            reasons.append(f"{name}: {'not known' if spent is None else format(spent, '.4g')} of {limit:g} used")
        return Finding(holds, ", ".join(reasons))


@dataclass(frozen=True, slots=True)
class _HasStatus(Condition):
    wanted: tuple[Status, ...]

    def check(self, situation: Situation) -> Finding:
        return Finding(situation.status in self.wanted, f"status is {situation.status}")


@dataclass(frozen=True, slots=True)
class _Joined(Condition):
    first: Condition
    second: Condition
    needed: Callable[[Iterable[bool]], bool]
    """`all` or `any`."""

    def check(self, situation: Situation) -> Finding:
        found = (self.first.check(situation), self.second.check(situation))
        holds = self.needed(finding.holds for finding in found)
        return Finding(holds, " and ".join(finding.reason for finding in found if finding.holds == holds))


@dataclass(frozen=True, slots=True)
class _Not(Condition):
    inner: Condition

    def check(self, situation: Situation) -> Finding:
        finding = self.inner.check(situation)
        return Finding(not finding.holds, finding.reason)
