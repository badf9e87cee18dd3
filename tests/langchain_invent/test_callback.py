"""Scoring by a callback handler, in chains that stay as they are."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Iterator
from typing import Any, TypedDict
from uuid import UUID, uuid4

import numpy as np
import pytest
from fakes import Scripted, scripted
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler, get_usage_metadata_callback
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_core.tracers import LangChainTracer
from langgraph.graph import END, START, StateGraph
from langsmith import run_trees, traceable, tracing_context
from langsmith.utils import get_env_var

from invent_chain import InvEntropy, UncertaintyReport
from invent_chain.errors import ConfigurationError
from langchain_invent import UncertainChatModel, after, get_invent_callback, with_uncertainty
from langchain_invent.callback import UncertaintyCallbackHandler
from langchain_invent.testing import LangSmithCollector

QUESTION = "What is the capital of France?"
PROMPT = ChatPromptTemplate.from_messages([("system", "Be brief."), ("human", "{question}")])
RAG = ChatPromptTemplate.from_template("Context: The capital city of France is Paris.\n\nQuestion: {question}")
ASKED = 7  # n=3 perturbations, r=2 replications, the primary answer is one of them
REQUESTS = 4  # the fake gives both replications of a question in one request
HOWS = ["invoke", "ainvoke", "batch", "abatch", "stream", "astream"]


def handler_of(model: Any, **settings: Any) -> UncertaintyCallbackHandler:
    return UncertaintyCallbackHandler(model=model, **{"scorer": InvEntropy(n=3, r=2), **settings})


def run(chain: Any, given: Any, how: str, config: Any = None, handler: UncertaintyCallbackHandler | None = None) -> Any:
    """Run a chain, wait for its scores, and return its output; a stream's chunks as a list."""

    async def arun() -> Any:
        if how == "ainvoke":
            output = await chain.ainvoke(given, config)
        elif how == "abatch":
            (output,) = await chain.abatch([given], config)
        else:
            output = [chunk async for chunk in chain.astream(given, config)]
        if handler is not None:
            await handler.drain()
        return output

    if how in ("ainvoke", "abatch", "astream"):
        return asyncio.run(arun())
    if how == "invoke":
        output = chain.invoke(given, config)
    elif how == "batch":
        (output,) = chain.batch([given], config)
    else:
        output = list(chain.stream(given, config))
    if handler is not None:
        assert handler.wait(10)
    return output


def only(handler: UncertaintyCallbackHandler) -> UncertaintyReport:
    (report,) = handler.reports.values()
    return report


def nothing_left(handler: UncertaintyCallbackHandler) -> bool:
    return not handler._open and not handler._roots and not handler._pending and not handler._tasks


def questions(model: Scripted) -> list[str]:
    return [call["messages"][-1].text for call in model.record.calls]


class State(TypedDict):
    question: str
    answer: str


class Runs(BaseCallbackHandler):
    """The chat model calls that an application's handler sees."""

    def __init__(self) -> None:
        self.ids: list[UUID] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self.ids.append(run_id)


@pytest.mark.parametrize("mode", ["inline", "background"])
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("shape", ["model", "constructor", "chain", "function", "async function", "graph"])
def test_every_way_is_scored_once(shape: str, how: str, mode: str) -> None:
    model = scripted("Paris is it")
    handler = handler_of(model, mode=mode)
    seen = Runs()
    config: Any = {"callbacks": [seen, handler]}
    chain: Any = model
    given: Any = QUESTION

    async def anode(state: Any) -> Any:
        return {"answer": (await (PROMPT | model).ainvoke({"question": state["question"]})).text}

    def node(state: Any) -> Any:
        return {"answer": (PROMPT | model).invoke({"question": state["question"]}).text}

    if shape == "constructor":
        chain = model.model_copy(update={"callbacks": [handler]})
        config = {"callbacks": [seen]}
    elif shape == "chain":
        chain, given = PROMPT | model | StrOutputParser(), {"question": QUESTION}
    elif shape in ("function", "async function"):
        is_async = shape == "async function"
        if is_async and how in ("invoke", "batch", "stream"):
            return
        chain, given = RunnableLambda(anode if is_async else node), {"question": QUESTION}
    elif shape == "graph":
        graph = StateGraph(State)
        graph.add_node("node", anode if how[0] == "a" else node)
        graph.add_edge(START, "node")
        graph.add_edge("node", END)
        chain, given = graph.compile(), {"question": QUESTION}
    with get_invent_callback() as collected:
        output = run(chain, given, how, config, handler)
    if how in ("stream", "astream") and shape in ("model", "chain", "constructor"):
        texts = [chunk if isinstance(chunk, str) else chunk.text for chunk in output]
        assert "".join(texts) == "Paris is it "
        assert all("invent" not in getattr(chunk, "response_metadata", {}) for chunk in output)
    assert len(model.record.calls) == 1 + ASKED
    report = only(handler)
    assert (report.status, report.question) == ("ok", QUESTION)
    assert report.answer.strip() == "Paris is it"
    assert list(handler.reports) == seen.ids  # by the run of the one call that the application made
    assert collected.reports == handler.reports
    assert nothing_left(handler)


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "batch", "abatch"])
def test_the_message_carries_the_report_and_is_else_the_same(how: str) -> None:
    model = scripted("Paris")
    handler = handler_of(model)
    bare = run(PROMPT | scripted("Paris"), {"question": QUESTION}, how)
    output = run(PROMPT | model, {"question": QUESTION}, how, {"callbacks": [handler]})
    payload = output.response_metadata.pop("invent")
    assert payload == only(handler).to_dict(text=False)
    assert output.model_copy(update={"id": None}) == bare.model_copy(update={"id": None})


def test_text_on_the_message_only_when_asked() -> None:
    model = scripted("Paris")
    handler = handler_of(model, text=True)
    output = model.invoke(QUESTION, {"callbacks": [handler]})
    assert UncertaintyReport.from_dict(output.response_metadata["invent"]) == only(handler)


def test_background_leaves_the_message_alone() -> None:
    model = scripted("Paris")
    handler = handler_of(model, mode="background")
    output = model.invoke(QUESTION, {"callbacks": [handler]})
    assert handler.wait(10)
    assert "invent" not in output.response_metadata
    assert len(handler.reports) == 1


def test_a_message_of_the_model_is_not_changed() -> None:
    message = AIMessage("Paris")
    model = scripted(lambda _m, _n: message)
    model.invoke(QUESTION, {"callbacks": [handler_of(model)]})
    assert "invent" not in message.response_metadata


def test_background_returns_at_once_and_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    gate = threading.Event()
    model = scripted(lambda _m, number: "Paris" if number <= 1 or gate.wait(10) else "")
    free = scripted("Paris")
    handler = handler_of(model, mode="background", max_pending=1)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            free.invoke(QUESTION, {"callbacks": [handler]})
    assert (handler.skipped, len(handler.reports)) == (2, 0)
    assert len([r for r in caplog.records if "max_pending" in r.getMessage()]) == 1
    assert handler.wait(0.01) is False
    gate.set()
    assert handler.wait(10) is True
    assert len(handler.reports) == 1
    assert nothing_left(handler)


def test_background_in_an_event_loop() -> None:
    model = scripted(lambda _m, _n: time.sleep(0.02) or "Paris")
    handler = handler_of(model, mode="background")

    async def application() -> None:
        await model.ainvoke(QUESTION, {"callbacks": [handler]})
        assert not handler.reports
        with pytest.raises(RuntimeError, match="drain"):
            handler.wait()
        await handler.drain()
        assert len(handler.reports) == 1

    asyncio.run(application())
    assert nothing_left(handler)


def test_a_loop_that_ends_early_leaves_a_failed_report(caplog: pytest.LogCaptureFixture) -> None:
    model = scripted(lambda _m, number: "Paris" if number == 1 else time.sleep(0.3) or "Paris")
    handler = handler_of(model, mode="background", scorer=InvEntropy(perturber="none", r=2))

    async def application() -> None:
        await model.ainvoke(QUESTION, {"callbacks": [handler]})
        await asyncio.sleep(0.05)  # siblings are under way

    asyncio.run(application())
    assert only(handler).status == "failed"
    assert "cancelled" in only(handler).problems[0]
    assert "drain" in caplog.text
    assert nothing_left(handler)


def test_scoring_does_not_block_the_event_loop() -> None:
    model = scripted(lambda _m, number: "Paris" if number == 1 else time.sleep(0.1) or "Paris")
    handler = handler_of(model)
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            ticks.append(time.perf_counter())
            await asyncio.sleep(0.01)

    async def application() -> None:
        ticking = asyncio.create_task(tick())
        await (PROMPT | model).ainvoke({"question": QUESTION}, {"callbacks": [handler]})
        ticking.cancel()

    asyncio.run(application())
    assert len(handler.reports) == 1
    assert len(ticks) >= 5


@pytest.mark.parametrize("mode", ["inline", "background"])
def test_invoke_inside_a_running_loop(mode: str) -> None:
    """As in a notebook."""
    model = scripted("Paris")
    handler = handler_of(model, mode=mode)

    async def notebook() -> Any:
        output = (PROMPT | model).invoke({"question": QUESTION}, {"callbacks": [handler]})
        await handler.drain()
        return output

    output = asyncio.run(notebook())
    assert ("invent" in output.response_metadata) == (mode == "inline")
    assert only(handler).status == "ok"
    assert len(model.record.calls) == 1 + ASKED


def test_batches_are_scored_each() -> None:
    model = scripted("Paris")
    handler = handler_of(model)
    outputs = (PROMPT | model).batch([{"question": f"{QUESTION} {i}"} for i in range(3)], {"callbacks": [handler]})
    assert all("invent" in output.response_metadata for output in outputs)
    assert sorted(report.question for report in handler.reports.values()) == [f"{QUESTION} {i}" for i in range(3)]
    assert len(model.record.calls) == 3 * (1 + ASKED)


def test_filters() -> None:
    model = scripted("Paris")
    tagged = handler_of(model, tags=["final"])
    named = handler_of(model, run_names=["answer"])
    by_class = handler_of(model, run_names=["Scripted"])
    config: Any = {"callbacks": [tagged, named, by_class]}
    model.invoke(QUESTION, {**config, "tags": ["draft"]})
    assert [len(h.reports) for h in (tagged, named, by_class)] == [0, 0, 1]
    model.invoke(QUESTION, {**config, "tags": ["x", "final"]})
    assert [len(h.reports) for h in (tagged, named, by_class)] == [1, 0, 1]  # scored by the first: not again
    model.invoke(QUESTION, {**config, "run_name": "answer"})
    assert [len(h.reports) for h in (tagged, named, by_class)] == [1, 1, 1 + 0]


def test_share() -> None:
    model = scripted("Paris")
    state, numpy_state = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    handler = handler_of(model, share=0.4, scorer=InvEntropy(n=1, r=1, draws=1))
    ids = [uuid4() for _ in range(2000)]
    wanted = [handler._wanted(one, (), None, ()) for one in ids]
    assert wanted == [handler._wanted(one, (), None, ()) for one in ids]
    assert 0.33 < np.mean(wanted) < 0.47
    for share, count in ((0.0, 0), (1.0, 3)):
        handler = handler_of(model, share=share)
        for _ in range(3):
            model.invoke(QUESTION, {"callbacks": [handler]})
        assert len(handler.reports) == count
        assert nothing_left(handler)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == (state, numpy_state)  # noqa: NPY002


def test_reports_are_bounded() -> None:
    model = scripted("Paris")
    handler = handler_of(model, max_reports=2)
    ids = [uuid4() for _ in range(3)]
    for one in ids:
        model.invoke(QUESTION, {"callbacks": [handler], "run_id": one})
    assert list(handler.reports) == ids[1:]


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
def test_wrappers_are_not_scored_twice(how: str) -> None:
    model = scripted("Paris")
    handler = handler_of(model)
    config = {"callbacks": [handler]}
    scorer = InvEntropy(n=3, r=2)
    run(with_uncertainty(PROMPT | model, scorer=scorer), {"question": QUESTION}, how, config)
    assert len(model.record.calls) == 1 + ASKED
    run(PROMPT | UncertainChatModel(model, scorer=scorer), {"question": QUESTION}, how, config)
    assert len(model.record.calls) == 2 * (1 + ASKED)
    assert handler.reports == {}
    assert nothing_left(handler)


def test_a_model_with_callbacks_of_its_own_below_a_wrapper() -> None:
    model = scripted("Paris")
    handler = handler_of(model)
    chain = RunnableLambda(lambda given: model.invoke(given["question"], {"callbacks": [handler]}))
    wrapped = with_uncertainty(chain, scorer=InvEntropy(n=3, r=2))
    wrapped.invoke({"question": QUESTION})
    assert len(model.record.calls) == 1 + ASKED
    assert handler.reports == {}


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
def test_context_is_not_perturbed(how: str) -> None:
    model = scripted("Paris")
    handler = handler_of(model)
    chain = RunnablePassthrough.assign(documents=lambda _: "x") | RAG | model | StrOutputParser()
    run(chain, {"question": QUESTION}, how, {"callbacks": [handler]})
    assert only(handler).question == QUESTION
    asked = questions(model)
    assert all(text.startswith("Context: The capital city of France is Paris.\n\nQuestion: ") for text in asked)
    assert len(set(asked)) == 4


def test_the_question_by_a_selector_and_by_a_root_of_messages() -> None:
    model = scripted("Paris")
    handler = handler_of(model, question=after("Question:"))
    chain = RunnableLambda(lambda text: RAG.invoke({"question": text.upper()})) | model
    chain.invoke(QUESTION, {"callbacks": [handler]})
    assert only(handler).question == QUESTION.upper()
    for given in ({"messages": [("user", QUESTION)]}, [HumanMessage(QUESTION)], HumanMessage(QUESTION)):
        handler = handler_of(model)
        chain = RunnableLambda(lambda _: RAG.invoke({"question": QUESTION})) | model
        chain.invoke(given, {"callbacks": [handler]})
        assert only(handler).question == QUESTION
    handler = handler_of(model)  # what was asked does not stand in the prompt
    (RunnableLambda(lambda _: "What is the capital of Palau?") | model).invoke(QUESTION, {"callbacks": [handler]})
    assert only(handler).question == "What is the capital of Palau?"


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
@pytest.mark.parametrize("mode", ["inline", "background"])
def test_a_question_that_cannot_be_found_is_a_failed_report(how: str, mode: str) -> None:
    model = scripted("Paris")
    handler = handler_of(model, question=after("No such marker:"), mode=mode)
    assert run(model, QUESTION, how, {"callbacks": [handler]}, handler).text == "Paris"
    assert (only(handler).status, only(handler).score) == ("failed", 1.0)
    assert "No such marker" in only(handler).problems[0]
    assert len(model.record.calls) == 1


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream"])
def test_siblings_that_fail(how: str) -> None:
    model = scripted(lambda _m, number: "Paris" if number == 1 else RuntimeError("down"))
    handler = handler_of(model)
    run(PROMPT | model, {"question": QUESTION}, how, {"callbacks": [handler]})
    assert (only(handler).status, only(handler).score) == ("failed", 1.0)


@pytest.mark.parametrize("how", HOWS)
def test_a_model_that_fails_leaves_nothing(how: str) -> None:
    model = scripted(lambda _m, _n: RuntimeError("down"))
    handler = handler_of(model)
    with pytest.raises(RuntimeError, match="down"):
        run(PROMPT | model, {"question": QUESTION}, how, {"callbacks": [handler]})
    assert handler.reports == {}
    assert nothing_left(handler)


def test_a_stream_that_is_left_leaves_nothing() -> None:
    model = scripted("Paris is it")
    handler = handler_of(model)
    stream = (PROMPT | model).stream({"question": QUESTION}, {"callbacks": [handler]})
    next(stream)
    stream.close()
    assert handler.reports == {}
    assert nothing_left(handler)


@pytest.mark.parametrize("bound", ["chain", "handler"])
def test_tools_and_stop_go_to_siblings_and_nothing_is_executed(bound: str) -> None:
    call = {"name": "look_up", "args": {"city": "Paris"}, "id": "1", "type": "tool_call"}
    model = scripted(lambda _m, _n: AIMessage("", tool_calls=[call]))
    with_tools = model.bind_tools([{"name": "look_up"}])
    asked: Any = with_tools if bound == "chain" else model
    handler = handler_of(model if bound == "chain" else with_tools)
    (PROMPT | asked.bind(stop=["\n"])).invoke({"question": QUESTION}, {"callbacks": [handler]})
    assert only(handler).structure == {"arguments.city": 1.0, "tool": 1.0}
    assert all(c["kwargs"]["tools"] == [{"name": "look_up"}] for c in model.record.calls[1:])


def test_stop_reaches_siblings() -> None:
    stops: list[Any] = []

    class Stopping(Scripted):
        def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
            stops.append(stop)
            return super()._generate(messages, stop, run_manager, **kwargs)

    model = Stopping(script=lambda _m, _n: "Paris", record=scripted().record)
    model.invoke(QUESTION, {"callbacks": [handler_of(model)]}, stop=["END"])
    assert len(stops) > 1
    assert all(stop == ["END"] for stop in stops)


def test_sibling_settings_and_cache() -> None:
    model = scripted("Paris")
    handler = handler_of(model)
    set_llm_cache(InMemoryCache())
    try:
        model.invoke(QUESTION, {"callbacks": [handler]})
    finally:
        set_llm_cache(None)
    assert [call["temperature"] for call in model.record.calls] == [0.0] + [0.7] * ASKED


def test_usage_is_counted_and_on_report_is_called(caplog: pytest.LogCaptureFixture) -> None:
    model = scripted("Paris")
    told: list[Any] = []

    def on_report(run_id: UUID, report: UncertaintyReport) -> None:
        told.append((run_id, report))
        raise RuntimeError("broken application")

    handler = handler_of(model, on_report=on_report)
    with get_usage_metadata_callback() as usage:
        model.invoke(QUESTION, {"callbacks": [handler]})
    assert told == list(handler.reports.items())
    assert "on_report raised" in caplog.text
    assert usage.usage_metadata["scripted"]["input_tokens"] == 10 * (1 + REQUESTS)


@pytest.mark.parametrize("mode", ["inline", "background"])
def test_events_of_a_stream(mode: str) -> None:
    model = scripted("Paris is it")
    handler = handler_of(model, mode=mode)

    async def events() -> list[Any]:
        found = [
            event
            async for event in (PROMPT | model).astream_events(
                {"question": QUESTION}, {"callbacks": [handler]}, version="v2"
            )
        ]
        await handler.drain()
        return found

    found = asyncio.run(events())
    reports = [event["data"] for event in found if event["event"] == "on_custom_event"]
    assert reports == ([only(handler).to_dict(text=False)] if mode == "inline" else [])
    assert len([event for event in found if event["event"] == "on_chat_model_start"]) == 1
    streamed = [event["data"]["chunk"].text for event in found if event["event"] == "on_chat_model_stream"]
    assert "".join(streamed) == "Paris is it "


@pytest.mark.parametrize("how", ["generate", "agenerate"])
def test_several_prompts_in_one_call(how: str) -> None:
    model = scripted("Paris")
    handler = handler_of(model)
    prompts: Any = [[HumanMessage(f"{QUESTION} {i}")] for i in range(2)]
    if how == "generate":
        result = model.generate(prompts, callbacks=[handler])
    else:
        result = asyncio.run(model.agenerate(prompts, callbacks=[handler]))
    assert sorted(report.question for report in handler.reports.values()) == [f"{QUESTION} {i}" for i in range(2)]
    assert all("invent" in generations[0].message.response_metadata for generations in result.generations)


def test_many_at_once() -> None:
    model = scripted("Paris")
    handler = handler_of(model, mode="background")

    async def application() -> None:
        await (PROMPT | model).abatch([{"question": f"{QUESTION} {i}"} for i in range(10)], {"callbacks": [handler]})
        await handler.drain()

    asyncio.run(application())
    assert len({report.question for report in handler.reports.values()}) == 10
    assert nothing_left(handler)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"model": "gpt"}, "chat model"),
        ({"model": RunnableLambda(str)}, "chat model"),
        ({"scorer": "InvEntropy"}, "scorer"),
        ({"tags": "final"}, "tags='final'"),
        ({"run_names": [1]}, "run_names"),
        ({"share": 1.5}, "share=1.5"),
        ({"share": float("nan")}, "share=nan"),
        ({"mode": "later"}, "mode='later'"),
        ({"max_pending": 0}, "max_pending=0"),
        ({"max_reports": 1.0}, "max_reports=1.0"),
        ({"on_report": 1}, "on_report"),
        ({"question": "Question:"}, "question"),
    ],
)
def test_settings_are_checked(settings: Any, what: str) -> None:
    with pytest.raises(ConfigurationError, match=what):
        UncertaintyCallbackHandler(**{"model": scripted(), **settings})


# What LangSmith is told.


@pytest.fixture
def langsmith() -> Iterator[LangSmithCollector]:
    with LangSmithCollector() as collector:
        yield collector


@pytest.mark.parametrize("order", ["handler first", "tracer first"])
@pytest.mark.parametrize("mode", ["inline", "background"])
@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
def test_trace_of_a_chain(langsmith: LangSmithCollector, how: str, mode: str, order: str) -> None:
    model = scripted("Paris")
    handler = handler_of(model, mode=mode, feedback=True)
    tracer = LangChainTracer(client=langsmith.client())
    callbacks = [handler, tracer] if order == "handler first" else [tracer, handler]
    run(PROMPT | model, {"question": QUESTION}, how, {"callbacks": callbacks, "run_name": "app"}, handler)
    runs = langsmith.collect()
    assert langsmith.orphans() == []
    assert all(run.ended and run.error is None for run in runs)
    (root,) = [run for run in runs if run.parent_id is None]
    assert root.name == "app"
    (scored,) = [run for run in runs if "invent.score" in run.metadata]
    assert [UUID(scored.id)] == list(handler.reports)
    assert (scored.run_type, scored.parent_id) == ("llm", root.id)
    assert scored.metadata["invent.requests"] == REQUESTS
    (siblings,) = [run for run in runs if run.name == "invent_siblings"]
    assert siblings.parent_id == root.id
    children = [run for run in runs if run.parent_id == siblings.id]
    assert len(children) == REQUESTS
    assert all("invent:sibling" in run.tags for run in children)
    if mode == "inline" and order == "handler first":
        assert "'invent'" in str(scored.outputs)
    (feedback,) = langsmith.feedback()
    assert (feedback.run_id, feedback.key) == (scored.id, "invent_uncertainty")


def test_invoke_in_a_notebook_is_traced_in_time(langsmith: LangSmithCollector) -> None:
    model = scripted("Paris")
    handler = handler_of(model)

    async def notebook() -> None:
        config: Any = {"callbacks": [handler, LangChainTracer(client=langsmith.client())]}
        (PROMPT | model).invoke({"question": QUESTION}, config)

    asyncio.run(notebook())
    (scored,) = [run for run in langsmith.collect() if "invent.score" in run.metadata]
    assert "'invent'" in str(scored.outputs)


@pytest.mark.parametrize("mode", ["inline", "background"])
@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream"])
def test_trace_without_a_tracer_at_hand(langsmith: LangSmithCollector, how: str, mode: str) -> None:
    """LangSmith is switched on for the application, as by its environment variables."""
    model = scripted("Paris")
    handler = handler_of(model, mode=mode)
    config = {"callbacks": [handler]}
    with tracing_context(enabled=True, client=langsmith.client()):
        run(PROMPT | model, {"question": QUESTION}, how, config, handler)
        chain_runs = list(langsmith.collect())
        run(model, QUESTION, how, config, handler)  # no run around the call
        runs = langsmith.collect()
    assert len(handler.reports) == 2
    assert langsmith.orphans() == []
    (scored,) = [run for run in chain_runs if "invent.score" in run.metadata]
    assert scored.run_type == "llm"
    known = {run.id for run in chain_runs}
    (bare,) = [run for run in runs if run.id not in known]  # its siblings are no traces of their own
    assert bare.run_type == "llm"
    if mode == "inline":
        assert "'invent'" in str(bare.outputs)


def test_trace_by_environment(langsmith: LangSmithCollector, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in langsmith.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(run_trees, "_CLIENT", None)  # the SDK remembers its client and its reading of the environment
    get_env_var.cache_clear()
    model = scripted("Paris")
    try:
        model.invoke(QUESTION, {"callbacks": [handler_of(model)]})
        assert len(langsmith.collect()) == 1  # siblings without a run around the call are no traces of their own
        (PROMPT | model).invoke({"question": QUESTION}, {"callbacks": [handler_of(model)]})
        runs = langsmith.collect()
    finally:
        if run_trees._CLIENT is not None:
            run_trees._CLIENT.close(timeout=0)
        monkeypatch.undo()
        get_env_var.cache_clear()
    assert langsmith.orphans() == []
    (scored,) = [run for run in runs if "invent.score" in run.metadata]
    assert scored.run_type == "llm"
    assert len([run for run in runs if run.parent_id is None]) == 2


def test_a_bare_call_with_a_tracer(langsmith: LangSmithCollector) -> None:
    model = scripted("Paris")
    handler = handler_of(model)
    model.invoke(QUESTION, {"callbacks": [handler, LangChainTracer(client=langsmith.client())]})
    (bare,) = langsmith.collect()
    assert "'invent'" in str(bare.outputs)
    assert only(handler).status == "ok"


def test_a_call_that_is_not_traced_within_a_run_that_is(langsmith: LangSmithCollector) -> None:
    model = scripted("Paris")
    handler = handler_of(model)
    chain = RunnableLambda(lambda text: model.invoke(text, {"callbacks": [handler]}))
    chain.invoke(QUESTION, {"callbacks": [LangChainTracer(client=langsmith.client())], "run_name": "app"})
    runs = langsmith.collect()
    (scored,) = [run for run in runs if "invent.score" in run.metadata]
    assert scored.name == "app"
    (siblings,) = [run for run in runs if run.name == "invent_siblings"]
    assert siblings.parent_id == scored.id


def test_below_a_traced_function(langsmith: LangSmithCollector) -> None:
    model = scripted("Paris")
    handler = handler_of(model)

    @traceable(name="app")
    def application() -> None:
        model.invoke(QUESTION, {"callbacks": [handler]})

    with tracing_context(enabled=True, client=langsmith.client()):
        application()
    runs = langsmith.collect()
    (app,) = [run for run in runs if run.parent_id is None]
    (siblings,) = [run for run in runs if run.name == "invent_siblings"]
    assert siblings.parent_id == app.id
    assert only(handler).status == "ok"


def test_failing_siblings_leave_a_whole_trace(langsmith: LangSmithCollector) -> None:
    model = scripted(lambda _m, number: "Paris" if number == 1 else RuntimeError("down"))
    config: Any = {"callbacks": [handler_of(model), LangChainTracer(client=langsmith.client())]}
    (PROMPT | model).invoke({"question": QUESTION}, config)
    runs = langsmith.collect()
    assert all(run.ended for run in runs)
    (scored,) = [run for run in runs if "invent.score" in run.metadata]
    assert (scored.metadata["invent.status"], scored.metadata["invent.score"]) == ("failed", 1.0)
