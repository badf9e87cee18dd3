"""`make_router`: from a scored state to the next node, within bounds."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal, cast, get_args

from langgraph.runtime import Runtime

from invent_chain.decide import Policy
from invent_chain.errors import ConfigurationError, InputError
from invent_chain.rules import Situation, apply
from invent_chain.types import Action, Decision, Status
from langchain_invent.graph.state import KEYS, StateKeys, values_of

logger = logging.getLogger(__name__)

_ACTIONS: tuple[Action, ...] = get_args(Action)
"""From the mildest to the strongest."""

_TOLERANCE = 1e-9  # 0.30 - 0.28 is a little less than 0.02


def make_router(
    *,
    max_hops: int = 2,
    min_gain: float = 0.02,
    answer: str = "answer",
    retrieve_more: str | None = "retrieve_more",
    fallback: str | None = "fallback",
    abstain: str = "abstain",
    policy: Policy | None = None,
    name: str = "on_uncertainty",
    keys: StateKeys = KEYS,
) -> Router:
    """Return a function from a scored state to the next node, for `add_conditional_edges(node, it, it.path_map)`.

    What the report in the state decided is done, with these bounds, so that every loop ends:

    - "retrieve_more" becomes "fallback" after `max_hops` hops, after a hop that did not lower the score by `min_gain`,
      and after the fallback, whose answer would otherwise be thrown away for the first model's.
    - "fallback" becomes "abstain" after the fallback.
    - A report that failed abstains, whatever a policy says.

    Thresholds for one call: a `policy` in `graph.invoke(..., context={"policy": Thresholds(...)})` (an attribute or a
    key, for a graph with a `context_schema`) goes before `policy` here, and that before the decision in the state.

    Args:
        max_hops: Most retrievals after the first scoring, >= 0.
        min_gain: Smallest fall of the score, in [0, 1], that makes another hop worth its price.
        answer: Node that follows where the answer is good enough; `langgraph.graph.END` ends there.
        retrieve_more: Node for more context; None skips to the next stronger action.
        fallback: Node for another model; likewise.
        abstain: Node that withholds the answer, or asks a person.
        policy: Decides anew on score and status; None takes the decision in the report.
        name: Name in traces; two routers after one node need two names.
        keys: Names in the state.

    Raises:
        ConfigurationError: A setting is wrong.
    """
    if type(max_hops) is not int or max_hops < 0:
        raise ConfigurationError(f"max_hops={max_hops!r}: must be a whole number of at least 0")
    if not _is_share(min_gain):
        raise ConfigurationError(f"min_gain={min_gain!r}: must lie between 0 and 1, as scores do")
    nodes: tuple[object, ...] = (answer, retrieve_more, fallback, abstain)
    for what, target in zip(_ACTIONS, nodes, strict=True):
        needed = what in ("answer", "abstain")
        if (target is None and needed) or (target is not None and (not isinstance(target, str) or not target)):
            none = "" if needed else ", or None to skip it"
            raise ConfigurationError(f"{what}={target!r}: pass the name of a node, or END{none}")
    if policy is not None and not callable(policy):
        raise ConfigurationError(f"policy is a {type(policy).__name__}: pass Thresholds(...), or another Policy")
    targets: dict[Action, str | None] = {
        "answer": answer,
        "retrieve_more": retrieve_more,
        "fallback": fallback,
        "abstain": abstain,
    }
    return Router(targets, max_hops, min_gain, policy, name, keys)


class Router:
    """From a scored state to the name of the next node; made by `make_router`.

    Attributes:
        path_map: Names of the nodes that can follow, for `add_conditional_edges` and the drawn graph.
    """

    path_map: list[str]

    def __init__(
        self,
        targets: Mapping[Action, str | None],
        max_hops: int,
        min_gain: float,
        policy: Policy | None,
        name: str,
        keys: StateKeys,
    ) -> None:
        self._targets, self._max_hops, self._min_gain, self._policy = dict(targets), max_hops, min_gain, policy
        self._keys = keys
        self.path_map = list(dict.fromkeys(target for target in targets.values() if target is not None))
        # The framework reads both off a function: its name, and where it leads if no path_map is given.
        self.__name__ = name
        self.__annotations__ = {"return": Literal.__getitem__(tuple(self.path_map))}

    def __repr__(self) -> str:
        return f"Router({', '.join(f'{action}={target!r}' for action, target in self._targets.items())})"

    def __call__(self, state: Any, runtime: Runtime[Any] | None = None) -> str:
        """Return the name of the next node.

        Raises:
            InputError: The state holds no report, or not what bounds the loop.
            ConfigurationError: The `policy` in the context of this call is none.
        """
        values = values_of(state)
        score, status, decided = _report_in(values.get(self._keys.uncertainty), self._keys.uncertainty)
        policy = _policy_in(runtime) or self._policy
        action: Action = "abstain"
        if status != "failed":
            hops = values.get(self._keys.hops)
            situation = Situation(score, status, hops=hops or 0)
            action = decided if policy is None else _decide(policy, situation)
        wanted = action
        if action == "retrieve_more" and (self._targets[action] is None or not self._may_hop(values)):
            action = "fallback"
        if action == "fallback" and (self._targets[action] is None or self._fell_back(values)):
            action = "abstain"
        logger.debug("routed: score=%.3f status=%s wanted=%s action=%s", score, status, wanted, action)
        return str(self._targets[action])

    def _may_hop(self, values: Mapping[str, Any]) -> bool:
        hops = _needed(values, self._keys.hops, int, "a whole number")
        history = _needed(values, self._keys.history, list, "a list of scores")
        if hops >= self._max_hops or (self._targets["fallback"] is not None and self._fell_back(values)):
            return False
        if hops == 0 or len(history) < 2:
            return True
        return bool(history[-2] - history[-1] >= self._min_gain - _TOLERANCE)

    def _fell_back(self, values: Mapping[str, Any]) -> bool:
        return bool(_needed(values, self._keys.fallback_used, bool, "True or False"))


def _report_in(report: Any, key: str) -> tuple[float, Status, Action]:
    if not isinstance(report, Mapping) or not report:
        raise InputError(
            f"the state has no report at {key!r}: put a score_node, or a fallback_node with score=True, before the "
            "router, and give the state the keys of UncertainState"
        )
    score, status, decision = report.get("score"), report.get("status"), report.get("decision")
    action = decision.get("action") if isinstance(decision, Mapping) else None
    if score is None or not _is_share(score) or status not in get_args(Status) or action not in _ACTIONS:
        raise InputError(
            f"what stands at {key!r} is no report (score={score!r}, status={status!r}, action={action!r}): write "
            "report.to_dict() there"
        )
    return float(score), cast("Status", status), action


def _needed(values: Mapping[str, Any], key: str, kind: type, what: str) -> Any:
    value = values.get(key)
    if type(value) is not kind:
        raise InputError(
            f"the state has {value!r} at {key!r}, which bounds the loop: inherit the state from UncertainState, or "
            f"add {key!r} to it ({what}), which score_node and retrieve_node keep up to date"
        )
    return value


def _policy_in(runtime: Runtime[Any] | None) -> Policy | None:
    context = None if runtime is None else runtime.context
    policy: Any = context.get("policy") if isinstance(context, Mapping) else getattr(context, "policy", None)
    if policy is not None and not callable(policy):
        raise ConfigurationError(f"the context's policy is a {type(policy).__name__}: pass Thresholds(...)")
    return policy  # type: ignore[no-any-return]  # any callable may be a policy


def _decide(policy: Policy, situation: Situation) -> Action:
    """Ask a policy; one that fails abstains, as in `InvEntropy`."""
    try:
        decision: object = apply(policy, situation)
    except Exception:
        logger.warning("the policy raised; the graph abstains", exc_info=True)
        return "abstain"
    if not isinstance(decision, Decision) or decision.action not in _ACTIONS:
        logger.warning("the policy returned a %s, no Decision; the graph abstains", type(decision).__name__)
        return "abstain"
    return decision.action


def _is_share(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0.0 <= value <= 1.0
