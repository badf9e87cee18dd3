"""`UncertaintyQueryEngine`: any query engine, with a report of how uncertain its answer is."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import anyio
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.response.schema import (
    RESPONSE_TYPE,
    AsyncStreamingResponse,
    StreamingResponse,
)
from llama_index.core.callbacks.base import CallbackManager
from llama_index.core.prompts.mixin import PromptMixinType
from llama_index.core.schema import NodeWithScore, QueryBundle

from invent_chain import InvEntropy, UncertaintyReport
from invent_chain.background import Background, Pending
from invent_chain.errors import ConfigurationError
from invent_chain.hosting import unscored, without_model
from invent_chain.loop_thread import LoopThread
from invent_chain.split import halves, joined
from llama_index.evaluation.invent.ask import EngineAsk, answer_of
from llama_index.evaluation.invent.parts import models
from llama_index.evaluation.invent.scoring import KEY, told

Siblings = Literal["nodes", "engine"]


class UncertaintyQueryEngine(BaseQueryEngine):
    """Wrap a query engine; its response comes back with a report in `metadata["invent"]`, else unchanged.

    Siblings of the question are answered by a copy of the engine whose models have the siblings' temperature. A
    streamed answer is scored after its last token, and its metadata is complete from then on. Whatever becomes of
    scoring, the answer is handed over; a report that failed says why.

    Args:
        engine: What answers. It is never changed.
        scorer: How to score: `InvEntropy(n=..., r=..., similarity=...)`, without a model. The default compares answers
            by their words; pass `similarity=` a sentence encoder to compare meanings.
        siblings: "nodes" answers siblings from the nodes that were retrieved for the question; "engine" queries the
            whole engine again for about half of them, so that the report tells `retrieval` from `generation`
            uncertainty (in its measures, both 0 to 1, higher = more uncertain).
        sibling_engine: What siblings are asked of, for engines that hide their model; its temperature should be that
            of the siblings (0.7, say). None: a copy of `engine`.
        text: Whether the report in the metadata quotes questions and answers.
        background: Whether to hand over the answer at once: `metadata["invent"]` is then a `Pending`, to be awaited, or
            asked for its `result()`, by who needs the report.

    Raises:
        ConfigurationError: The scorer has a model of its own, a setting is unknown, or no model can be found in the
            engine, so that siblings would be asked at the answer's own temperature.
    """

    def __init__(
        self,
        engine: BaseQueryEngine,
        *,
        scorer: InvEntropy | None = None,
        siblings: Siblings = "nodes",
        sibling_engine: BaseQueryEngine | None = None,
        text: bool = False,
        background: bool = False,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        if not isinstance(engine, BaseQueryEngine):
            raise ConfigurationError(f"engine is a {type(engine).__name__}: pass a query engine")
        if siblings not in ("nodes", "engine"):
            raise ConfigurationError(f"siblings={siblings!r}: choose 'nodes' or 'engine'")
        self._scorer = without_model(scorer)
        asked = engine if sibling_engine is None else sibling_engine
        if sibling_engine is None and not any("temperature" in type(llm).model_fields for llm in models(engine)):
            raise ConfigurationError(
                f"no model with a temperature can be found in the {type(engine).__name__}, so its siblings would be "
                "asked as the answer was: pass sibling_engine= an engine whose model has temperature=0.7"
            )
        self._engine, self._asked, self._text = engine, asked, text
        self._loop = LoopThread()
        self._background = Background(self._loop) if background else None
        self._split = halves(self._scorer) if siblings == "engine" else ()
        super().__init__(callback_manager or engine.callback_manager)

    def _get_prompt_modules(self) -> PromptMixinType:
        return {"query_engine": self._engine}

    def retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        """Do what the wrapped engine does."""
        return self._engine.retrieve(query_bundle)

    async def aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        """Do what the wrapped engine does."""
        return await self._engine.aretrieve(query_bundle)  # type: ignore[attr-defined,no-any-return]

    def synthesize(
        self,
        query_bundle: QueryBundle,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
    ) -> RESPONSE_TYPE:
        """Answer from given nodes, and score the answer."""
        return self._scored(query_bundle, self._engine.synthesize(query_bundle, nodes, additional_source_nodes))

    async def asynthesize(
        self,
        query_bundle: QueryBundle,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
    ) -> RESPONSE_TYPE:
        """Answer from given nodes, and score the answer."""
        found = await self._engine.asynthesize(query_bundle, nodes, additional_source_nodes)
        return await self._ascored(query_bundle, found)

    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        return self._scored(query_bundle, self._engine.query(query_bundle))

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        return await self._ascored(query_bundle, await self._engine.aquery(query_bundle))

    def _scored(self, bundle: QueryBundle, found: RESPONSE_TYPE) -> RESPONSE_TYPE:
        metadata = dict(found.metadata or {})
        if isinstance(found, StreamingResponse):
            return replace(found, response_gen=self._stream(bundle, found, metadata), metadata=metadata)
        metadata[KEY] = self._report(bundle, answer_of(found), found.source_nodes)
        return replace(found, metadata=metadata)

    async def _ascored(self, bundle: QueryBundle, found: RESPONSE_TYPE) -> RESPONSE_TYPE:
        metadata = dict(found.metadata or {})
        if isinstance(found, AsyncStreamingResponse):
            return replace(found, response_gen=self._astream(bundle, found, metadata), metadata=metadata)
        if isinstance(found, StreamingResponse):
            return replace(found, response_gen=self._stream(bundle, found, metadata), metadata=metadata)
        metadata[KEY] = await self._areport(bundle, answer_of(found), found.source_nodes)
        return replace(found, metadata=metadata)

    def _stream(
        self, bundle: QueryBundle, found: StreamingResponse, metadata: dict[str, Any]
    ) -> Generator[str, None, None]:
        texts = []
        for token in found.response_gen:
            texts.append(str(token))
            yield token
        metadata[KEY] = self._report(bundle, "".join(texts), found.source_nodes)

    async def _astream(
        self, bundle: QueryBundle, found: AsyncStreamingResponse, metadata: dict[str, Any]
    ) -> AsyncGenerator[str, None]:
        texts = []
        async for token in found.response_gen:
            texts.append(str(token))
            yield token
        metadata[KEY] = await self._areport(bundle, "".join(texts), found.source_nodes)

    def _report(self, bundle: QueryBundle, answer: str, nodes: Sequence[NodeWithScore]) -> dict[str, Any] | Pending:
        scoring = partial(self._judged, bundle, answer, nodes, sync=True)
        return self._payload(self._loop.run(scoring())) if self._background is None else self._background.start(scoring)

    async def _areport(
        self, bundle: QueryBundle, answer: str, nodes: Sequence[NodeWithScore]
    ) -> dict[str, Any] | Pending:
        scoring = partial(self._judged, bundle, answer, nodes, sync=False)
        return self._payload(await scoring()) if self._background is None else self._background.start(scoring)

    async def _judged(
        self, bundle: QueryBundle, answer: str, nodes: Sequence[NodeWithScore], *, sync: bool
    ) -> UncertaintyReport:
        """Score; what goes wrong becomes a failed report, since the answer is there."""
        question, reports = bundle.query_str, {}

        async def keep(scorer: InvEntropy, given: Sequence[NodeWithScore] | None) -> None:
            ask = EngineAsk(self._asked, nodes=given, sync=sync)
            reports[given is None] = await scorer.ascore(question, answer=answer, ask=ask)

        try:
            if not self._split:
                await keep(self._scorer, nodes)
                return told(reports[False])
            whole, kept = self._split
            async with anyio.create_task_group() as group:
                group.start_soon(keep, whole, None)
                group.start_soon(keep, kept, nodes)
            return told(joined(reports[True], reports[False]))
        except Exception as error:  # noqa: BLE001 - see above
            return told(unscored(self._scorer, question, answer, error))

    def _payload(self, report: UncertaintyReport) -> dict[str, Any]:
        return report.to_dict(text=self._text)
