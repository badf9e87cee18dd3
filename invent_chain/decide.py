"""From a score to what to do with the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from invent_chain.errors import ConfigurationError
from invent_chain.types import Action, Decision, Status


class Policy(Protocol):
    """Decide on one answer. A plain function with this signature is a policy."""

    def __call__(self, score: float, status: Status) -> Decision:
        """Return the action for an uncertainty `score` in [0, 1] (higher = more uncertain) made under `status`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Upper bounds on uncertainty: the first action whose bound the score does not exceed is taken, else abstain.

    The defaults cut the scale into four equal parts. They come from no data: choose your own from scored answers of
    your application before you rely on a decision.

    Attributes:
        answer: Largest uncertainty, in [0, 1], at which the answer is given.
        retrieve_more: Largest uncertainty at which more context is worth fetching; None skips this action.
        fallback: Largest uncertainty at which another model is worth asking; None skips this action.

    Raises:
        ConfigurationError: A bound outside [0, 1], or bounds that do not rise in the order above.
    """

    answer: float = 0.25
    retrieve_more: float | None = 0.5
    fallback: float | None = 0.75

    def __post_init__(self) -> None:
        bounds = [(name, bound) for name, bound in self._bounds() if bound is not None]
        for name, bound in bounds:
            if not 0.0 <= bound <= 1.0:
                raise ConfigurationError(f"{name}={bound}: a threshold lies between 0 (certain) and 1 (uncertain)")
        for (first, low), (second, high) in pairwise(bounds):
            if low > high:
                raise ConfigurationError(f"{first}={low} is above {second}={high}; thresholds must not fall")

    def __call__(self, score: float, status: Status) -> Decision:
        """Decide; a failed score always abstains."""
        if status == "failed":
            return Decision("abstain", "nothing could be scored")
        below: float | None = None
        for name, bound in self._bounds():
            if bound is None:
                continue
            if score <= bound:
                reason = f"uncertainty {score:.2f} is at most {bound:.2f}"
                if below is not None:
                    reason = f"uncertainty {score:.2f} lies between {below:.2f} and {bound:.2f}"
                return Decision(name, reason)
            below = bound
        return Decision("abstain", f"uncertainty {score:.2f} is above {below:.2f}")

    def _bounds(self) -> tuple[tuple[Action, float | None], ...]:
        return ("answer", self.answer), ("retrieve_more", self.retrieve_more), ("fallback", self.fallback)


@dataclass(frozen=True, slots=True)
class Escalation:
    """What becomes of an answer that is not given as it is.

    Attributes:
        cost: Price of taking this way, >= 0, in the unit of the other costs.
        p_right: Probability that its answer is right, in [0, 1]: measure it on labelled questions.

    Raises:
        ConfigurationError: A value is out of range.
    """

    cost: float
    p_right: float

    def __post_init__(self) -> None:
        _check_cost("cost", self.cost)
        if not 0.0 <= self.p_right <= 1.0:
            raise ConfigurationError(f"p_right={self.p_right}: a probability lies between 0 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeastCost:
    """Takes the action with the least expected cost, from what a wrong answer costs the user.

    Giving the answer costs `(1 - P(right)) * wrong` on average, an escalation its price plus `(1 - p_right) * wrong`.
    Of equal costs the one that comes first in "answer", "retrieve_more", "fallback", "abstain" is taken. A report that
    is not "ok" has no P(right): the answer is then not given as it is.

    Attributes:
        confidence: From uncertainty to P(right), such as `calibration.confidence`.
        wrong: Cost of a wrong answer, > 0.
        abstain: Cost of giving none, >= 0.
        retrieve_more: Fetching more context and asking again; None if there is no such way.
        fallback: Asking another model or a person; None if there is no such way.

    Raises:
        ConfigurationError: A cost is negative or not finite, or `wrong` is 0.
    """

    confidence: Callable[[float], float]
    wrong: float
    abstain: float
    retrieve_more: Escalation | None = None
    fallback: Escalation | None = None

    def __post_init__(self) -> None:
        _check_cost("wrong", self.wrong)
        _check_cost("abstain", self.abstain)
        if self.wrong == 0:
            raise ConfigurationError("wrong=0: if wrong answers cost nothing there is nothing to decide")

    def __call__(self, score: float, status: Status) -> Decision:
        """Decide; the reason names the expected costs."""
        expected: dict[Action, float] = {}
        if status == "ok":
            expected["answer"] = (1.0 - self.confidence(score)) * self.wrong
        if self.retrieve_more is not None:
            expected["retrieve_more"] = self._escalated(self.retrieve_more)
        if self.fallback is not None:
            expected["fallback"] = self._escalated(self.fallback)
        expected["abstain"] = self.abstain
        action = min(expected, key=expected.__getitem__)
        costs = ", ".join(f"{name} {cost:.3g}" for name, cost in expected.items())
        unknown = "" if status == "ok" else f"; P(right) is not known (status {status})"
        return Decision(action, f"the least expected cost of {costs}{unknown}")

    def _escalated(self, way: Escalation) -> float:
        return way.cost + (1.0 - way.p_right) * self.wrong


def _check_cost(name: str, value: float) -> None:
    if not 0.0 <= value < float("inf"):
        raise ConfigurationError(f"{name}={value}: a cost is finite and at least 0")
