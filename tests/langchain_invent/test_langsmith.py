"""What LangSmith is told, by a real client to a loopback server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fakes import scripted
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers import LangChainTracer
from langsmith import run_trees
from langsmith.utils import get_env_var

from invent_chain import InvEntropy
from langchain_invent import UncertainChatModel, with_uncertainty
from langchain_invent.testing import LangSmithCollector, TracedRun

QUESTION = "What is the capital of France?"
PROMPT = ChatPromptTemplate.from_messages([("system", "Be brief."), ("human", "{question}")])
ASKED = 7


@pytest.fixture
def scorer() -> InvEntropy:
    return InvEntropy(n=3, r=2)


@pytest.fixture
def langsmith() -> Iterator[LangSmithCollector]:
    with LangSmithCollector() as collector:
        yield collector


def run(chain: Any, given: Any, how: str, config: Any) -> None:
    async def drain() -> None:
        async for _ in chain.astream(given, config):
            pass

    if how == "invoke":
        chain.invoke(given, config)
    elif how == "batch":
        chain.batch([given], config)
    elif how == "stream":
        list(chain.stream(given, config))
    else:
        asyncio.run(chain.ainvoke(given, config) if how == "ainvoke" else drain())


def named(runs: list[TracedRun], name: str) -> list[TracedRun]:
    return [run for run in runs if run.name == name]


def check_tree(collector: LangSmithCollector, runs: list[TracedRun], scored_name: str, asked: int = ASKED) -> None:
    """One scored run with its numbers, one `invent_siblings` run below it, the siblings tagged below that."""
    assert collector.orphans() == []
    assert len({run.trace_id for run in runs}) == 1
    assert all(run.ended and run.error is None for run in runs)
    (scored,) = [run for run in runs if "invent.score" in run.metadata]
    assert scored.name == scored_name
    assert 0 <= scored.metadata["invent.score"] <= 1
    assert scored.metadata["invent.decision"] in ("answer", "retrieve_more", "fallback", "abstain")
    assert scored.metadata["invent.status"] == "ok"
    assert scored.metadata["invent.requests"] == asked
    assert scored.metadata["invent.input_tokens"] == 10 * asked
    assert "invent.confidence" not in scored.metadata  # there is no calibration
    (siblings,) = named(runs, "invent_siblings")
    assert siblings.parent_id == scored.id
    assert siblings.inputs in ({}, None)
    assert siblings.outputs is not None
    assert siblings.outputs["invent.score"] == scored.metadata["invent.score"]
    children = [run for run in runs if run.parent_id == siblings.id]
    assert len(children) == asked
    assert all("invent:sibling" in run.tags for run in children)
    assert all("invent:sibling" in run.tags for run in runs if run.metadata.get("invent_role") == "sibling")


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "batch", "stream", "astream"])
def test_chain(langsmith: LangSmithCollector, scorer: InvEntropy, how: str) -> None:
    chain = RunnableLambda(lambda q: {"question": q}) | with_uncertainty(PROMPT | scripted("Paris"), scorer=scorer)
    run(chain, QUESTION, how, {"callbacks": [LangChainTracer(client=langsmith.client())], "run_name": "app"})
    runs = langsmith.collect()
    check_tree(langsmith, runs, "Uncertainty<RunnableSequence>")
    assert [run.parent_id for run in named(runs, "app")] == [None]


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "batch", "stream", "astream"])
@pytest.mark.parametrize("alone", [True, False])
def test_chat_model(langsmith: LangSmithCollector, scorer: InvEntropy, how: str, alone: bool) -> None:
    model = UncertainChatModel(scripted("Paris"), scorer=scorer)
    chain = model if alone else PROMPT | model
    run(
        chain,
        QUESTION if alone else {"question": QUESTION},
        how,
        {"callbacks": [LangChainTracer(client=langsmith.client())]},
    )
    # Both replications of a question come in one request, since this model has a field n.
    check_tree(langsmith, langsmith.collect(), "UncertainChatModel", asked=4)


@pytest.fixture
def traced(langsmith: LangSmithCollector, monkeypatch: pytest.MonkeyPatch) -> Iterator[LangSmithCollector]:
    """Tracing by the environment alone; the framework's client and its reading of the environment are cached."""
    for name, value in langsmith.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(run_trees, "_CLIENT", None)
    get_env_var.cache_clear()
    yield langsmith
    if run_trees._CLIENT is not None:
        run_trees._CLIENT.close(timeout=0)
    monkeypatch.undo()
    get_env_var.cache_clear()


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
def test_by_environment(traced: LangSmithCollector, scorer: InvEntropy, how: str) -> None:
    run(with_uncertainty(PROMPT | scripted("Paris"), scorer=scorer), {"question": QUESTION}, how, None)
    check_tree(traced, traced.collect(), "Uncertainty<RunnableSequence>")


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
def test_chat_model_by_environment(traced: LangSmithCollector, scorer: InvEntropy, how: str) -> None:
    run(UncertainChatModel(scripted("Paris"), scorer=scorer), QUESTION, how, None)
    check_tree(traced, traced.collect(), "UncertainChatModel", asked=4)


def test_text_only_when_asked(langsmith: LangSmithCollector, scorer: InvEntropy) -> None:
    for text in (False, True):
        config: Any = {"callbacks": [LangChainTracer(client=langsmith.client())], "run_name": f"text {text}"}
        with_uncertainty(PROMPT | scripted("Paris"), scorer=scorer, text=text).invoke({"question": QUESTION}, config)
    runs = langsmith.collect()
    for text in (False, True):
        (scored,) = named(runs, f"text {text}")
        (siblings,) = [run for run in named(runs, "invent_siblings") if run.parent_id == scored.id]
        told = json.dumps([scored.metadata, siblings.metadata, siblings.inputs, siblings.outputs])
        assert (QUESTION in told, "Paris" in told) == (text, text)


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_feedback_only_when_asked(langsmith: LangSmithCollector, scorer: InvEntropy, how: str) -> None:
    for feedback in (False, True):
        chain = with_uncertainty(PROMPT | scripted("Paris"), scorer=scorer, feedback=feedback)
        run(chain, {"question": QUESTION}, how, {"callbacks": [LangChainTracer(client=langsmith.client())]})
    runs = langsmith.collect()
    (feedback_sent,) = langsmith.feedback()
    assert feedback_sent.key == "invent_uncertainty"
    (scored,) = [run for run in runs if str(run.id) == str(feedback_sent.run_id)]
    assert feedback_sent.score == pytest.approx(scored.metadata["invent.score"])


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
def test_failing_siblings_leave_a_whole_trace(langsmith: LangSmithCollector, scorer: InvEntropy, how: str) -> None:
    model = scripted(lambda _m, number: "Paris" if number == 1 else RuntimeError("down"))
    config = {"callbacks": [LangChainTracer(client=langsmith.client())]}
    run(with_uncertainty(PROMPT | model, scorer=scorer), {"question": QUESTION}, how, config)
    runs = langsmith.collect()
    assert langsmith.orphans() == []
    assert all(run.ended for run in runs)
    (scored,) = [run for run in runs if "invent.score" in run.metadata]
    assert (scored.metadata["invent.status"], scored.metadata["invent.score"]) == ("failed", 1.0)


def test_the_split_is_on_the_trace(langsmith: LangSmithCollector, scorer: InvEntropy) -> None:
    chain = with_uncertainty(PROMPT | scripted("Paris"), scorer=scorer, siblings="chain")
    chain.invoke({"question": QUESTION}, {"callbacks": [LangChainTracer(client=langsmith.client())]})
    (scored,) = [run for run in langsmith.collect() if "invent.score" in run.metadata]
    assert {"invent.measures.generation", "invent.measures.retrieval"} <= set(scored.metadata)
