"""`UncertaintyWorkflow`: the four-way routing as the steps of a LlamaIndex workflow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.response.schema import Response
from llama_index.core.workflow import (
    Context,
    Event,
    HumanResponseEvent,
    InputRequiredEvent,
    StartEvent,
    StopEvent,
    Workflow,
    step,
)

from invent_chain import InvEntropy
from llama_index.evaluation.invent.routing import Route, whole
from llama_index.evaluation.invent.scoring import KEY


class Question(StartEvent):
    """What starts the workflow.

    Attributes:
        query: The question.
    """

    query: str


class Scored(Event):
    """An answer was scored; streamed, and handled by no step.

    Attributes:
        hop: How often more context was retrieved before it.
        score: Uncertainty in [0, 1]; higher = more uncertain.
        action: What the policy says to do.
    """

    hop: int
    score: float
    action: str


class RetrieveMore(Event):
    """More context is wanted."""

    query: str
    hop: int
    route: Any


class Fallback(Event):
    """Another engine is to be asked."""

    query: str
    found: Any
    route: Any


class Abstain(Event):
    """No answer is to be given."""

    found: Any
    route: Any


class HumanNeeded(InputRequiredEvent):
    """A person is asked for the answer that the engines abstain from; reply with a `HumanResponseEvent`.

    Attributes:
        prefix: What to ask.
    """

    prefix: str


class UncertaintyWorkflow(Workflow):
    """Answer, retrieve more, fall back, ask a person or abstain, one step each; ends with a LlamaIndex `Response`.

    `workflow.run(query=...)`; `Scored` events are streamed. The report and the route stand in the response's metadata,
    as with `RoutingQueryEngine`.

    Args:
        engine: What answers first.
        scorer: How to score and decide: `InvEntropy(n=..., policy=..., similarity=...)`, without a model.
        retrieve_more: Engines to try where more context is wanted, in this order; their number bounds the hops.
        fallback: Another engine; None abstains instead.
        human: Whether to ask a person (`HumanNeeded`) instead of abstaining.
        abstain_message: The answer when none is given.
        text: Whether reports in the metadata quote questions and answers.
        settings: Of the workflow, such as `timeout`.

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
        human: bool = False,
        abstain_message: str = "I am not certain enough to answer this.",
        text: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self._route = Route(engine, retrieve_more, fallback=fallback, scorer=scorer, text=text)
        self._human, self._abstain_message = human, abstain_message

    @step
    async def answer(self, ctx: Context, ev: Question | RetrieveMore) -> RetrieveMore | Fallback | Abstain | StopEvent:
        """Ask the engine of this hop, and do what its report says."""
        hop, route = (ev.hop, ev.route) if isinstance(ev, RetrieveMore) else (0, [])
        found = await whole(await self._route.hops[hop].aquery(ev.query))
        taken = [*route, self._route.step(found)]
        ctx.write_event_to_stream(Scored(hop=hop, score=taken[-1]["score"], action=taken[-1]["action"]))
        match self._route.after(taken):
            case "answer":
                return StopEvent(result=self._route.routed(found, taken))
            case "retrieve_more":
                return RetrieveMore(query=ev.query, hop=hop + 1, route=taken)
            case "fallback":
                return Fallback(query=ev.query, found=found, route=taken)
            case "abstain":
                return Abstain(found=found, route=taken)

    @step
    async def fall_back(self, ev: Fallback) -> StopEvent:
        """Give the fallback's answer as it is, with the report of the answer that it stands in for."""
        other = await whole(await self._route.fallback.aquery(ev.query))  # type: ignore[union-attr]  # else `abstain`
        return StopEvent(result=self._route.given(ev.found, other, ev.route))

    @step
    async def abstain(self, ctx: Context, ev: Abstain) -> HumanNeeded | StopEvent:
        """Ask a person, or say that no answer is given."""
        silent = self._route.routed(replace(ev.found, response=self._abstain_message), ev.route, end="abstain")
        if not self._human:
            return StopEvent(result=silent)
        await ctx.store.set("metadata", silent.metadata)
        return HumanNeeded(prefix=f"The engines abstain (uncertainty {ev.found.metadata[KEY]['score']:.2f}). Answer: ")

    @step
    async def human_answer(self, ctx: Context, ev: HumanResponseEvent) -> StopEvent:
        """Give the person's answer."""
        metadata = await ctx.store.get("metadata")
        return StopEvent(result=Response(ev.response, [], {**metadata, "invent_answered_by": "human"}))
