"""From a score to what to do with the answer."""

from __future__ import annotations

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
