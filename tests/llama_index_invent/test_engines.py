"""The query engines and the evaluator on a scripted model behind LlamaIndex's own engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import llama_index.core.instrumentation as instrument
import pytest
from llama_index.core import get_response_synthesizer
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.response.schema import Response
from llama_index.core.evaluation import BatchEvalRunner
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.llms import CompletionResponse, CompletionResponseGen, CustomLLM, LLMMetadata
from llama_index.core.query_engine import RetrieverQueryEngine, RetryQueryEngine, RouterQueryEngine
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.selectors import LLMSingleSelector
from llama_index.core.tools import QueryEngineTool
from pydantic import PrivateAttr

from invent_chain import InvEntropy, Thresholds, UncertaintyReport
from invent_chain.errors import ConfigurationError, InputError
from llama_index.evaluation.invent import (
    InvEntropyEvaluator,
    LLMAsk,
    RoutingQueryEngine,
    UncertaintyEvent,
    UncertaintyQueryEngine,
)

QUESTION = "When does the ferry to the island sail?"
MORE = Thresholds(answer=0.2, retrieve_more=1.0, fallback=None)
NODE = NodeWithScore(node=TextNode(text="The ferry sails at nine.", metadata={"page": 3}), score=0.9)


class Scripted(CustomLLM):
    """Says `sure` at temperature 0, else what `say` makes of the number of the call."""

    temperature: float = 0.0
    sure: str = "at nine"
    _say: Callable[[int], str] = PrivateAttr()
    _asked: list[tuple[str, float]] = PrivateAttr(default_factory=list)

    def __init__(self, say: Callable[[int], str] = lambda _k: "at nine", **settings: Any) -> None:
        super().__init__(**settings)
        self._say = say

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="scripted", context_window=4096, num_output=64)

    @property
    def asked(self) -> list[tuple[str, float]]:
        return self._asked

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        self._asked.append((prompt, self.temperature))
        return CompletionResponse(text=self.sure if self.temperature == 0.0 else self._say(len(self._asked)))

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        text = self.complete(prompt).text
        for k in range(len(text)):
            yield CompletionResponse(text=text[: k + 1], delta=text[k])


class Fixed(BaseRetriever):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        self.calls += 1
        return [NODE]


def engine_of(llm: Scripted, *, streaming: bool = False) -> RetrieverQueryEngine:
    return RetrieverQueryEngine(Fixed(), get_response_synthesizer(llm=llm, streaming=streaming))


def scorer(**settings: Any) -> InvEntropy:
    return InvEntropy(
        n=2, r=2, perturber=lambda _q, _n: ["Ferry time to the island?", "When is the ferry?"], **settings
    )


def unsure(k: int) -> str:
    return f"{k} o'clock {'abcdefghij'[k % 10] * 4}"


def test_the_answer_is_unchanged_and_the_report_stands_beside_the_nodes() -> None:
    llm = Scripted()
    plain = engine_of(llm).query(QUESTION)
    engine = engine_of(llm)
    found = UncertaintyQueryEngine(engine, scorer=scorer()).query(QUESTION)
    assert found.response == plain.response == "at nine"
    assert found.source_nodes == plain.source_nodes
    assert found.metadata is not None
    assert plain.metadata is not None
    assert {k: v for k, v in found.metadata.items() if k != "invent"} == plain.metadata
    assert found.metadata["invent"]["score"] == 0.0
    assert found.metadata["invent"]["fingerprint"]["model"] == "scripted"
    assert "question" not in found.metadata["invent"]
    assert engine._retriever.calls == 1  # siblings reuse the nodes
    assert llm.temperature == 0.0


def test_siblings_see_the_nodes_and_have_their_own_temperature() -> None:
    llm = Scripted(unsure)
    found = UncertaintyQueryEngine(engine_of(llm), scorer=scorer(), text=True).query(QUESTION)
    siblings = [prompt for prompt, temperature in llm.asked if temperature == 0.7]
    assert len(siblings) == 5  # 2 x 2, and one more answer to the question
    assert all("The ferry sails at nine." in prompt for prompt in siblings)
    assert [temperature for _, temperature in llm.asked].count(0.0) == 1
    report = UncertaintyReport.from_dict(found.metadata["invent"])
    assert report.answer == "at nine"
    assert report.score == 1.0
    assert report.decision.action == "abstain"


def test_the_whole_engine_can_be_asked_again() -> None:
    engine = engine_of(Scripted())
    found = UncertaintyQueryEngine(engine, scorer=scorer(), siblings="engine").query(QUESTION)
    assert engine._retriever.calls == 1 + 2  # r = 2: one answer to each of two siblings retrieves again
    measures = found.metadata["invent"]["measures"]
    assert (measures["retrieval"], measures["generation"]) == (0.0, 0.0)


def test_what_retrieval_adds_is_told_apart() -> None:
    class Fickle(Fixed):
        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            self.calls += 1
            return [NodeWithScore(node=TextNode(text=f"It sails at {'x' * self.calls}."), score=0.9)]

    class Reads(Scripted):
        def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
            return CompletionResponse(text=prompt.partition("It sails at ")[2].partition(".")[0])

    engine = RetrieverQueryEngine(Fickle(), get_response_synthesizer(llm=Reads()))
    found = UncertaintyQueryEngine(engine, scorer=scorer(), siblings="engine").query(QUESTION)
    measures = found.metadata["invent"]["measures"]
    assert measures["generation"] == 0.0
    assert measures["retrieval"] == found.metadata["invent"]["score"] == 1.0


def test_async_queries_overlap_and_stay_apart() -> None:
    async def run() -> list[Any]:
        engine = UncertaintyQueryEngine(engine_of(Scripted(unsure)), scorer=scorer(), text=True)
        return await asyncio.gather(*(engine.aquery(f"{QUESTION} ({k})") for k in range(20)))

    found = asyncio.run(run())
    assert [one.metadata["invent"]["question"] for one in found] == [f"{QUESTION} ({k})" for k in range(20)]
    assert {one.response for one in found} == {"at nine"}
    assert all(len(one.metadata["invent"]["siblings"]) == 3 for one in found)


def test_a_streamed_answer_is_scored_after_its_last_token() -> None:
    llm = Scripted()
    streamed = UncertaintyQueryEngine(engine_of(llm, streaming=True), scorer=scorer()).query(QUESTION)
    tokens = iter(streamed.response_gen)
    assert next(tokens) == "a"
    assert len(llm.asked) == 1
    assert "invent" not in streamed.metadata
    assert "a" + "".join(tokens) == "at nine"
    assert streamed.metadata["invent"]["score"] == 0.0

    whole = UncertaintyQueryEngine(engine_of(llm, streaming=True), scorer=scorer()).query(QUESTION).get_response()
    assert (whole.response, whole.metadata["invent"]["status"]) == ("at nine", "ok")


def test_an_async_stream_is_scored_too() -> None:
    async def run() -> Any:
        found = await UncertaintyQueryEngine(engine_of(Scripted(), streaming=True), scorer=scorer()).aquery(QUESTION)
        return await found.get_response()

    whole = asyncio.run(run())
    assert (whole.response, whole.metadata["invent"]["score"]) == ("at nine", 0.0)


def test_in_the_background_the_answer_comes_first() -> None:
    llm, plain = Scripted(), Scripted()
    made = UncertaintyQueryEngine(engine_of(llm), scorer=scorer(), background=True)
    found = made.query(QUESTION)
    assert str(found) == str(engine_of(plain).query(QUESTION))
    report = found.metadata["invent"].result(30)
    assert isinstance(report, UncertaintyReport)
    assert report.answer == "at nine"
    assert report.status != "failed"

    async def application() -> UncertaintyReport:
        response = await made.aquery(QUESTION)
        return await response.metadata["invent"]

    assert asyncio.run(application()).score == report.score


def test_what_goes_wrong_in_scoring_never_costs_the_answer() -> None:
    def broken(_k: int) -> str:
        raise RuntimeError("secret prompt")

    found = UncertaintyQueryEngine(engine_of(Scripted(broken)), scorer=scorer()).query(QUESTION)
    assert found.response == "at nine"
    report = found.metadata["invent"]
    assert (report["status"], report["decision"]["action"]) == ("failed", "abstain")
    assert "secret" not in str(report)


def test_an_engine_without_an_answer_is_not_scored() -> None:
    class Nothing(BaseRetriever):
        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            return []

    engine = RetrieverQueryEngine(Nothing(), get_response_synthesizer(llm=Scripted()))
    found = UncertaintyQueryEngine(engine, scorer=scorer()).query(QUESTION)
    assert found.response == "Empty Response"
    assert found.metadata["invent"]["status"] in ("ok", "failed")


class Hidden(BaseQueryEngine):
    def __init__(self) -> None:
        super().__init__(None)

    def _get_prompt_modules(self) -> dict[str, Any]:
        return {}

    def _query(self, query_bundle: QueryBundle) -> Response:
        return Response("at nine")

    async def _aquery(self, query_bundle: QueryBundle) -> Response:
        return self._query(query_bundle)


def test_wrong_settings_are_told() -> None:
    engine = engine_of(Scripted())
    with pytest.raises(ConfigurationError, match="sibling_engine="):
        UncertaintyQueryEngine(Hidden())
    with pytest.raises(ConfigurationError, match="model of its own"):
        UncertaintyQueryEngine(engine, scorer=InvEntropy(lambda _q: "x"))
    with pytest.raises(ConfigurationError, match="siblings='chain'"):
        UncertaintyQueryEngine(engine, siblings="chain")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="engine is a str"):
        UncertaintyQueryEngine("engine")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="pass a list"):
        RoutingQueryEngine(engine, retrieve_more=engine)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="no place for the question"):
        LLMAsk(Scripted(), template="Answer.")
    found = UncertaintyQueryEngine(Hidden(), sibling_engine=Hidden(), siblings="engine", scorer=scorer()).query(
        QUESTION
    )
    assert found.metadata["invent"]["score"] == 0.0


def test_the_report_survives_tools_and_routers() -> None:
    llm = Scripted()
    engine = UncertaintyQueryEngine(engine_of(llm), scorer=scorer())
    tool = QueryEngineTool.from_defaults(engine, name="ferry", description="about the ferry")
    assert tool.call(QUESTION).raw_output.metadata["invent"]["score"] == 0.0
    choosing = Scripted(sure='[{"choice": 1, "reason": "it is about the ferry"}]')
    router = RouterQueryEngine(LLMSingleSelector.from_defaults(llm=choosing), [tool], llm=llm)
    assert router.query(QUESTION).metadata["invent"]["score"] == 0.0


def test_events_reach_the_dispatcher() -> None:
    seen: list[UncertaintyEvent] = []

    class Collect(BaseEventHandler):
        def handle(self, event: Any, **kwargs: Any) -> None:
            if isinstance(event, UncertaintyEvent):
                seen.append(event)

    dispatcher, handler = instrument.get_dispatcher(), Collect()
    dispatcher.add_event_handler(handler)
    try:
        UncertaintyQueryEngine(engine_of(Scripted()), scorer=scorer()).query(QUESTION)
    finally:
        dispatcher.event_handlers.remove(handler)
    assert [(event.score, event.action) for event in seen] == [(0.0, "answer")]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    ("say", "policy", "more", "fallback", "answer", "actions"),
    [
        (lambda _k: "at nine", None, 1, True, "at nine", ["answer"]),
        (unsure, MORE, 1, True, "at ten", [*2 * ["retrieve_more"], "fallback"]),
        (unsure, MORE, 0, False, "Ask the crew.", ["retrieve_more", "abstain"]),
        (unsure, Thresholds(answer=0.2, retrieve_more=None, fallback=1.0), 1, True, "at ten", ["fallback"]),
        (unsure, Thresholds(answer=0.2, retrieve_more=None, fallback=None), 1, True, "Ask the crew.", ["abstain"]),
    ],
)  # fmt: skip
def test_routes(
    asynchronous: bool, say: Any, policy: Any, more: int, fallback: bool, answer: str, actions: list[str]
) -> None:
    router = RoutingQueryEngine(
        engine_of(Scripted(say)),
        scorer=scorer(policy=policy),
        retrieve_more=[engine_of(Scripted(say)) for _ in range(more)],
        fallback=engine_of(Scripted(sure="at ten")) if fallback else None,
        abstain_message="Ask the crew.",
    )
    found = asyncio.run(router.aquery(QUESTION)) if asynchronous else router.query(QUESTION)
    assert found.response == answer
    assert [step["action"] for step in found.metadata["invent_route"]] == actions
    assert "score" in found.metadata["invent"]


def test_more_context_can_settle_it() -> None:
    router = RoutingQueryEngine(
        engine_of(Scripted(unsure)),
        scorer=scorer(policy=MORE),
        retrieve_more=[engine_of(Scripted())],
    )
    found = router.query(QUESTION)
    assert found.response == "at nine"
    assert [step["action"] for step in found.metadata["invent_route"]] == ["retrieve_more", "answer"]


def test_the_evaluator_judges_stored_answers() -> None:
    good = InvEntropyEvaluator(Scripted(), scorer=scorer()).evaluate(QUESTION, "at nine", ["The ferry sails at nine."])
    assert (good.passing, good.score, good.invalid_result) == (True, 1.0, False)
    bad = asyncio.run(InvEntropyEvaluator(Scripted(unsure), scorer=scorer()).aevaluate(QUESTION, "at nine"))
    assert (bad.passing, bad.score) == (False, 0.0)
    assert "0% of the other answers say the same" in bad.feedback
    with pytest.raises(InputError, match="no response"):
        InvEntropyEvaluator(Scripted(), scorer=scorer()).evaluate(QUESTION)


def test_the_evaluator_puts_contexts_into_the_siblings_prompts() -> None:
    llm = Scripted()
    InvEntropyEvaluator(llm, scorer=scorer()).evaluate(QUESTION, "at nine", ["Timetable: nine {question}."])
    assert all("Timetable: nine {question}." in prompt for prompt, _ in llm.asked)
    assert len(llm.asked) == 5


def test_a_failed_score_is_an_invalid_result() -> None:
    def broken(_k: int) -> str:
        raise RuntimeError("down")

    result = InvEntropyEvaluator(Scripted(broken), scorer=scorer()).evaluate(QUESTION, "at nine")
    assert (result.invalid_result, result.passing, result.score) == (True, False, None)
    assert result.invalid_reason


def test_the_evaluator_drives_the_retry_engine() -> None:
    llm = Scripted()
    retry = RetryQueryEngine(engine_of(llm), InvEntropyEvaluator(llm, scorer=scorer()))
    assert retry.query(QUESTION).response == "at nine"


def test_models_and_engines_can_be_passed_to_the_scorer() -> None:
    def with_model(model: Any) -> InvEntropy:
        return InvEntropy(model, n=1, r=2, perturber=lambda _q, _n: ["When is the ferry?"])

    for model in (Scripted(), engine_of(Scripted())):
        with with_model(model) as direct:
            report = direct.score(QUESTION)
            assert (report.answer, report.score, report.fingerprint.model) == ("at nine", 0.0, "scripted")


@pytest.mark.filterwarnings("ignore:asyncio_module:DeprecationWarning")  # raised inside the framework
def test_the_evaluator_runs_in_batches() -> None:
    runner = BatchEvalRunner({"invent": InvEntropyEvaluator(Scripted(), scorer=scorer())}, workers=4)
    results = asyncio.run(
        runner.aevaluate_response_strs(queries=[QUESTION] * 6, response_strs=["at nine"] * 5 + ["at ten"])
    )
    assert [result.passing for result in results["invent"]] == [True] * 5 + [False]


def test_spans_of_siblings_lie_below_the_query() -> None:
    parents: dict[str, str | None] = {}

    class Spans(SimpleSpanHandler):
        def new_span(
            self, id_: str, bound_args: Any, *args: Any, parent_span_id: str | None = None, **kwargs: Any
        ) -> Any:
            parents[id_] = parent_span_id
            return super().new_span(id_, bound_args, *args, parent_span_id=parent_span_id, **kwargs)

    dispatcher, handler = instrument.get_dispatcher(), Spans()
    dispatcher.add_span_handler(handler)
    try:
        UncertaintyQueryEngine(engine_of(Scripted()), scorer=scorer()).query(QUESTION)
    finally:
        dispatcher.span_handlers.remove(handler)
    roots = [id_ for id_, parent in parents.items() if parent is None]
    assert len(roots) == 1
    assert roots[0].startswith("UncertaintyQueryEngine.query")
    assert sum("synthesize" in id_ for id_ in parents) >= 1 + 5
