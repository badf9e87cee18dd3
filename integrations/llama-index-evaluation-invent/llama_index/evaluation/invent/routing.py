"""`RoutingQueryEngine`: answer, retrieve more, fall back or abstain, by how uncertain the answer is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.response.schema import RESPONSE_TYPE, AsyncStreamingResponse, Response
from llama_index.core.callbacks.base import CallbackManager
from llama_index.core.prompts.mixin import PromptMixinType
from llama_index.core.schema import QueryBundle

from invent_chain import InvEntropy
from invent_chain.errors import ConfigurationError
from invent_chain.types import Action
from llama_index.evaluation.invent.query_engine import UncertaintyQueryEngine
from llama_index.evaluation.invent.scoring import KEY

ROUTE = "invent_route"
"""Where the way that an answer took stands in `Response.metadata`."""


class Route:
    """The engines that are tried in turn, what follows from a report, and what is noted of the way.

    Attributes:
        hops: The first engine, then those for more context, each scored.
        fallback: Another engine, asked at the end of the way; None if there is none.
    """

    def __init__(
        self,
        engine: BaseQueryEngine,
        retrieve_more: Sequence[BaseQueryEngine],
        *,
        fallback: BaseQueryEngine | None,
        scorer: InvEntropy | None,
        text: bool,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        if isinstance(retrieve_more, BaseQueryEngine):
            raise ConfigurationError("retrieve_more is one engine: pass a list, such as [engine_with_more_nodes]")
        self.hops = [
            UncertaintyQueryEngine(hop, scorer=scorer, text=text, callback_manager=callback_manager)
            for hop in (engine, *retrieve_more)
        ]
        self.fallback = fallback

    def after(self, route: list[dict[str, Any]]) -> Action:
        """Return what to do after these steps: "retrieve_more" only while there is an engine for it, and so on."""
        action: Action = route[-1]["action"]
        if action == "retrieve_more" and len(route) == len(self.hops):
            action = "fallback"
        return "abstain" if action == "fallback" and self.fallback is None else action

    @staticmethod
    def step(found: Response) -> dict[str, Any]:
        """Return what is noted of a scored answer."""
        report = (found.metadata or {})[KEY]
        return {**report["decision"], "score": report["score"]}

    @staticmethod
    def routed(found: Response, route: list[dict[str, Any]], *, end: Action | None = None) -> Response:
        """Return the response with its route, which ends with `end` where that is not its last action."""
        steps = [*route, {"action": end}] if end is not None and route[-1]["action"] != end else route
        return replace(found, metadata={**(found.metadata or {}), ROUTE: steps})

    @staticmethod
    def given(found: Response, other: Response, route: list[dict[str, Any]]) -> Response:
        """Return the fallback's answer with the report of the answer that it stands in for."""
        report = (found.metadata or {})[KEY]
        return Route.routed(replace(other, metadata={**(other.metadata or {}), KEY: report}), route, end="fallback")


class RoutingQueryEngine(BaseQueryEngine):
    """Act on the decision about each answer; `metadata["invent_route"]` says which way was taken.

    "retrieve_more" asks the next engine of `retrieve_more`, one with a wider retriever or a rewritten query, and scores
    again; once these are used up, "fallback" is taken. "fallback" asks the fallback engine, whose answer is given
    as it is; without one, the engine abstains. Answers are not streamed, since one that is streamed cannot be taken
    back.

    Args:
        engine: What answers first.
        scorer: How to score and decide: `InvEntropy(n=..., policy=..., similarity=...)`, without a model.
        retrieve_more: Engines to try where more context is wanted, in this order; their number bounds the hops.
        fallback: Another engine, with a stronger model, say.
        abstain_message: The answer when none is given.
        text: Whether reports in the metadata quote questions and answers.

    Raises:
        ConfigurationError: See `UncertaintyQueryEngine`.
    """

    def __init__(
        self,
        engine: BaseQueryEngine,
        *,
        scorer: InvEntropy | None = None,
        retrieve_more: Sequence[BaseQueryEngine] = (),
        fallback: BaseQueryEngine | None = None,
        abstain_message: str = "I am not certain enough to answer this.",
        text: bool = False,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        if not abstain_message:
            raise ConfigurationError("abstain_message is empty: say something to the user")
        self._route = Route(
            engine, retrieve_more, fallback=fallback, scorer=scorer, text=text, callback_manager=callback_manager
        )
        self._abstain_message = abstain_message
        super().__init__(callback_manager or engine.callback_manager)

    def _get_prompt_modules(self) -> PromptMixinType:
        modules: PromptMixinType = {f"query_engine_{k}": hop for k, hop in enumerate(self._route.hops)}
        return modules if self._route.fallback is None else {**modules, "fallback": self._route.fallback}

    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        route: list[dict[str, Any]] = []
        for hop in self._route.hops:
            found = _whole(hop.query(query_bundle))
            route.append(Route.step(found))
            if self._route.after(route) != "retrieve_more":
                break
        if self._route.after(route) == "fallback":
            return Route.given(found, _whole(self._route.fallback.query(query_bundle)), route)  # type: ignore[union-attr]
        return self._ended(found, route)

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        route: list[dict[str, Any]] = []
        for hop in self._route.hops:
            found = await whole(await hop.aquery(query_bundle))
            route.append(Route.step(found))
            if self._route.after(route) != "retrieve_more":
                break
        if self._route.after(route) == "fallback":
            return Route.given(found, await whole(await self._route.fallback.aquery(query_bundle)), route)  # type: ignore[union-attr]
        return self._ended(found, route)

    def _ended(self, found: Response, route: list[dict[str, Any]]) -> Response:
        if self._route.after(route) == "answer":
            return Route.routed(found, route)
        return Route.routed(replace(found, response=self._abstain_message), route, end="abstain")


def _whole(found: RESPONSE_TYPE) -> Response:
    if isinstance(found, AsyncStreamingResponse):
        raise ConfigurationError("the engine streams asynchronously from its sync side: use aquery")
    return found if isinstance(found, Response) else found.get_response()


async def whole(found: RESPONSE_TYPE) -> Response:
    """Return a response that is not streamed."""
    if isinstance(found, AsyncStreamingResponse):
        return await found.get_response()
    return found if isinstance(found, Response) else found.get_response()
