"""`with_uncertainty` around real chains with a scripted model."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fakes import Scripted, scripted
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler, get_usage_metadata_callback
from langchain_core.documents import Document
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnablePassthrough
from langchain_core.runnables.history import RunnableWithMessageHistory
from langchain_core.tools import tool
from langchain_core.tracers import BaseTracer

from invent_chain import InvEntropy, UncertaintyReport
from invent_chain.errors import ConfigurationError, InputError
from langchain_invent import get_invent_callback, uncertainty_of, with_uncertainty
from langchain_invent.parts import replaced

QUESTION = "What is the capital of France?"
GIVEN = {"context": "France's capital is Paris.", "question": QUESTION}
PROMPT = ChatPromptTemplate.from_messages(
    [("system", "Use the context: {context}"), ("human", "Question: {question}\nAnswer:")]
)
ASKED = 7  # siblings of SCORER: 1 further replication of the question, 3 perturbations twice


@pytest.fixture
def scorer() -> InvEntropy:
    return InvEntropy(n=3, r=2)


class Runs(BaseTracer):
    """Records every run, as a tracer does: name, parent, tags, tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: dict[Any, Any] = {}
        self.tokens: list[str] = []

    def _persist_run(self, run: Any) -> None:
        pass

    def _start_trace(self, run: Any) -> None:
        super()._start_trace(run)
        self.runs[run.id] = run

    def on_llm_new_token(self, token: Any, **kwargs: Any) -> Any:
        self.tokens.append(token)
        return super().on_llm_new_token(token, **kwargs)

    def path(self, run_id: Any) -> str:
        run = self.runs[run_id]
        name = run.name if run.name != "Scripted" else "model"
        return f"{self.path(run.parent_run_id)}/{name}" if run.parent_run_id else name

    def paths(self) -> Counter[str]:
        return Counter(map(self.path, self.runs))


class Notes(BaseRetriever):
    """Counts how often it is asked; what it finds depends on the query."""

    queries: list[str] = []  # noqa: RUF012 - a pydantic field

    def _get_relevant_documents(self, query: str, **kwargs: Any) -> list[Document]:
        self.queries.append(query)
        return [Document("France's capital is Paris." if query == QUESTION else "Lyon is a city.")]


def questions(model: Scripted) -> list[str]:
    return [call["messages"][-1].text for call in model.record.calls]


def run(chain: Any, given: Any, how: str, config: Any = None) -> Any:
    """Run a chain in one of the ways in which a user can; streams are added up."""

    async def ainvoke() -> Any:
        return await chain.ainvoke(given, config)

    async def astream() -> Any:
        return _added([chunk async for chunk in chain.astream(given, config)])

    async def abatch() -> Any:
        return (await chain.abatch([given], config))[0]

    if how == "invoke":
        return chain.invoke(given, config)
    if how == "batch":
        return chain.batch([given], config)[0]
    if how == "stream":
        return _added(list(chain.stream(given, config)))
    return asyncio.run({"ainvoke": ainvoke, "astream": astream, "abatch": abatch}[how]())


def _added(chunks: list[Any]) -> Any:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk
    return whole


WAYS = ["invoke", "ainvoke", "batch", "abatch", "stream", "astream"]


@pytest.mark.parametrize("how", WAYS)
def test_message_keeps_its_text_and_carries_the_report(scorer: InvEntropy, how: str) -> None:
    model = scripted("Paris it is")
    bare = run(PROMPT | model, GIVEN, how)
    message = run(with_uncertainty(PROMPT | model, scorer=scorer), GIVEN, how)
    report = uncertainty_of(message)
    assert report is not None
    assert message.content == bare.content
    assert report["status"] == "ok"
    assert 0 <= report["score"] <= 0.5
    assert report["decision"]["action"] in ("answer", "retrieve_more")
    assert json.loads(json.dumps(report)) == report
    assert len(model.record.calls) == 2 + ASKED
    assert "question" not in report
    assert "siblings" not in report


@pytest.mark.parametrize("how", WAYS)
def test_other_outputs_stay_and_the_collector_has_the_report(scorer: InvEntropy, how: str) -> None:
    chain = with_uncertainty(PROMPT | scripted("Paris it is") | StrOutputParser(), scorer=scorer)
    with get_invent_callback() as collected:
        output = run(chain, GIVEN, how)
    assert output.strip() == "Paris it is"
    assert [report.question for report in collected.reports.values()] == [QUESTION]
    assert collected.last is not None
    assert collected.last.answer.strip() == "Paris it is"


@pytest.mark.parametrize("how", WAYS)
def test_pair(scorer: InvEntropy, how: str) -> None:
    chain = with_uncertainty(PROMPT | scripted() | StrOutputParser(), scorer=scorer, output="pair")
    pair = run(chain, GIVEN, how)
    assert set(pair) == {"output", "report"}
    assert pair["output"].strip() == "Paris"
    assert isinstance(pair["report"], UncertaintyReport)


def test_only_the_question_is_perturbed(scorer: InvEntropy) -> None:
    model = scripted()
    with_uncertainty(PROMPT | model, scorer=scorer).invoke(GIVEN)
    assert len(set(questions(model))) == 4
    assert all(q.startswith("Question: ") and q.endswith("\nAnswer:") for q in questions(model))
    assert {call["messages"][0].text for call in model.record.calls} == {"Use the context: " + GIVEN["context"]}


def test_siblings_have_their_temperature_and_the_primary_has_its_own(scorer: InvEntropy) -> None:
    model = scripted(temperature=0.0)
    with_uncertainty(PROMPT | model, scorer=scorer).invoke(GIVEN)
    assert [call["temperature"] for call in model.record.calls] == [0.0] + [0.7] * ASKED
    assert (model.temperature, model.cache, model.n, model.disable_streaming) == (0.0, None, None, False)


def test_retrieved_context_is_reused(scorer: InvEntropy) -> None:
    model, notes = scripted(), Notes(queries=[])
    chain = {"context": notes, "question": RunnablePassthrough()} | PROMPT | model
    message = with_uncertainty(chain, scorer=scorer).invoke(QUESTION)
    assert notes.queries == [QUESTION]
    assert len({call["messages"][0].text for call in model.record.calls}) == 1
    assert uncertainty_of(message)["status"] == "ok"  # type: ignore[index]


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_chain_siblings_split_retrieval_from_generation(how: str) -> None:
    def says(messages: Any, number: int) -> str:
        return "Paris" if "Paris" in messages[0].text else "It may be Lyon"

    model, notes = scripted(says), Notes(queries=[])
    chain = {"context": notes, "question": RunnablePassthrough()} | PROMPT | model | StrOutputParser()
    scored = with_uncertainty(chain, scorer=InvEntropy(n=3, r=2), siblings="chain", output="pair")
    report = run(scored, QUESTION, how)["report"]
    assert report.measures["generation"] == pytest.approx(0.0, abs=1e-9)
    assert report.measures["retrieval"] > 0.3
    assert report.score == pytest.approx(report.measures["generation"] + report.measures["retrieval"])
    assert len(notes.queries) == 1 + 3
    assert len(model.record.calls) == 1 + report.usage.requests


def test_hidden_retriever_is_told(scorer: InvEntropy) -> None:
    notes = Notes(queries=[])
    find = RunnableLambda(lambda question: {"context": notes.invoke(question), "question": question})
    report = with_uncertainty(find | PROMPT | scripted(), scorer=scorer, output="pair").invoke(QUESTION)["report"]
    assert any("7 retrievals ran again" in note for note in report.notes)


def test_hidden_model_is_told_and_degrades_with_a_cache(scorer: InvEntropy) -> None:
    model = scripted()
    chain = with_uncertainty(RunnableLambda(lambda question: model.invoke(question).text), scorer=scorer, output="pair")
    assert any("no model is visible" in note for note in chain.invoke(QUESTION)["report"].notes)
    set_llm_cache(InMemoryCache())
    try:
        report = chain.invoke(QUESTION)["report"]
    finally:
        set_llm_cache(None)
    assert report.status == "degraded"
    assert "response cache" in report.problems[0]


def test_model_replays_the_prompt_of_a_hidden_chain(scorer: InvEntropy) -> None:
    model = scripted(lambda _messages, number: f"Paris {number}")
    notes = Notes(queries=[])

    def answer(question: str) -> str:
        prompt = PROMPT.invoke({"context": notes.invoke(question), "question": question})
        return model.invoke(prompt).text.upper()

    chain = with_uncertainty(RunnableLambda(answer), model=model, scorer=scorer, output="pair")
    pair = chain.invoke(QUESTION)
    assert pair["output"] == "PARIS 1"
    assert pair["report"].answer == "Paris 1"
    assert notes.queries == [QUESTION]
    assert len(set(questions(model))) == 4
    assert all("Use the context" in call["messages"][0].text for call in model.record.calls)


def test_an_agent_is_scored_by_its_last_prompt(scorer: InvEntropy) -> None:
    acted: list[str] = []

    @tool
    def look_up(place: str) -> str:
        """Look a place up."""
        acted.append(place)
        return "Its capital is Paris."

    def says(messages: Any, _number: int) -> Any:
        if messages[-1].type == "tool":
            return "Paris"
        return AIMessage("", tool_calls=[{"name": "look_up", "args": {"place": "France"}, "id": "1"}])

    model = scripted(says)
    agent = create_agent(model, [look_up], system_prompt="Be brief.")
    with pytest.raises(ConfigurationError, match="whose state siblings would change"):
        with_uncertainty(agent, scorer=scorer)
    scored = with_uncertainty(agent, model=model, scorer=scorer, input_key="messages", output="pair")
    pair = scored.invoke({"messages": [HumanMessage(QUESTION)]})
    assert pair["output"]["messages"][-1].text == pair["report"].answer == "Paris"
    assert (pair["report"].status, pair["report"].score) == ("ok", 0.0)
    assert acted == ["France"]
    siblings = [call["messages"] for call in model.record.calls[2:]]
    assert all((m[0].text, m[-1].text) == ("Be brief.", "Its capital is Paris.") for m in siblings)
    assert len({m[1].text for m in siblings}) == 4


def test_messages_as_input(scorer: InvEntropy) -> None:
    model = scripted()
    history = [SystemMessage("Be brief."), HumanMessage("Hello"), AIMessage("Hi"), HumanMessage(QUESTION)]
    for given, key in ((history, "question"), ({"messages": history}, "messages")):
        model.record.calls.clear()
        chain = RunnableLambda(lambda x: x["messages"] if isinstance(x, dict) else x) | model
        message = with_uncertainty(chain, scorer=scorer, input_key=key).invoke(given)
        assert uncertainty_of(message)["status"] == "ok"  # type: ignore[index]
        assert [m.text for m in history] == ["Be brief.", "Hello", "Hi", QUESTION]
        assert {tuple(m.text for m in call["messages"][:3]) for call in model.record.calls} == {
            ("Be brief.", "Hello", "Hi")
        }
        assert len(set(questions(model))) == 4


def test_wrong_input_key_costs_no_call(scorer: InvEntropy) -> None:
    model = scripted()
    with pytest.raises(InputError, match=r"no key 'query'; it has 'context', 'question'"):
        with_uncertainty(PROMPT | model, scorer=scorer, input_key="query").invoke(GIVEN)
    assert model.record.calls == []


@pytest.mark.parametrize("how", WAYS)
def test_a_question_that_cannot_be_scored_keeps_its_answer(how: str) -> None:
    scorer = InvEntropy(n=3, r=2, max_question_chars=5)
    message = run(with_uncertainty(PROMPT | scripted("Paris"), scorer=scorer), GIVEN, how)
    report = uncertainty_of(message)
    assert message.text.strip() == "Paris"
    assert report is not None
    assert (report["status"], report["score"], report["decision"]["action"]) == ("failed", 1.0, "abstain")


def test_an_output_that_is_no_json_is_kept(scorer: InvEntropy) -> None:
    loop: dict[Any, Any] = {1: "a", "b": 2}
    loop["self"] = loop
    chain = with_uncertainty(scripted() | RunnableLambda(lambda _message: loop), scorer=scorer, output="pair")
    pair = chain.invoke(QUESTION)
    assert pair["output"] is loop
    assert pair["report"].status == "ok"


@pytest.mark.parametrize("how", WAYS)
def test_failing_siblings_keep_the_answer(scorer: InvEntropy, how: str) -> None:
    model = scripted(lambda _messages, number: "Paris" if number == 1 else RuntimeError("secret prompt"))
    with get_invent_callback() as collected:
        message = run(with_uncertainty(PROMPT | model, scorer=scorer), GIVEN, how)
    assert message.text.strip() == "Paris"
    assert uncertainty_of(message)["status"] == "failed"  # type: ignore[index]
    assert collected.last is not None
    assert "RuntimeError" in collected.last.problems[0]
    assert "secret" not in json.dumps(collected.last.to_dict())


@pytest.mark.parametrize("how", WAYS)
def test_a_failing_primary_raises_as_it_would_alone(scorer: InvEntropy, how: str) -> None:
    model = scripted(lambda _messages, _number: RuntimeError("down"))
    with pytest.raises(RuntimeError, match="down"):
        run(with_uncertainty(PROMPT | model, scorer=scorer), GIVEN, how)
    assert len(model.record.calls) == 1


@pytest.mark.parametrize("how", WAYS)
def test_with_a_global_cache_siblings_still_differ(scorer: InvEntropy, how: str) -> None:
    model = scripted(lambda _messages, number: f"answer {number}")
    set_llm_cache(InMemoryCache())
    try:
        for _ in range(2):
            run(with_uncertainty(PROMPT | model, scorer=scorer), GIVEN, how)
    finally:
        set_llm_cache(None)
    cached = 0 if "stream" in how else 1  # the framework's cache does not serve streams
    assert len(model.record.calls) == 2 * (1 + ASKED) - cached


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
def test_runs_hang_together(scorer: InvEntropy, how: str) -> None:
    runs = Runs()
    chain = with_uncertainty(PROMPT | scripted(), scorer=scorer)
    run(chain, GIVEN, how, {"callbacks": [runs], "run_name": "mine"})
    paths = runs.paths()
    assert paths["mine/RunnableSequence/model"] == 1
    assert paths["mine/invent_siblings"] == 1
    assert paths["mine/invent_siblings/invent_sibling/model"] == ASKED
    assert paths["mine/invent_siblings/invent_sibling/ChatPromptTemplate"] == ASKED
    assert all(path.startswith("mine") for path in paths)
    for run_id, one in runs.runs.items():
        below = "invent_siblings" in runs.path(run_id)
        assert ({"invent:sibling", "nostream"} <= set(one.tags)) == below


class Counts(BaseCallbackHandler):
    """A handler of the application."""

    def __init__(self) -> None:
        self.calls = 0

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        self.calls += 1


@pytest.mark.parametrize(("callbacks", "seen"), [("tracers", 1), ("all", 1 + ASKED)])
def test_handlers_of_the_application_see_siblings_only_when_asked(
    scorer: InvEntropy, callbacks: Any, seen: int
) -> None:
    handler = Counts()
    chain = with_uncertainty(PROMPT | scripted(), scorer=scorer, sibling_callbacks=callbacks)
    with get_usage_metadata_callback() as usage:
        chain.invoke(GIVEN, {"callbacks": [handler]})
    assert handler.calls == seen
    assert sum(one["total_tokens"] for one in usage.usage_metadata.values()) == 12 * (1 + ASKED)


def test_tokens_and_events_show_no_sibling(scorer: InvEntropy) -> None:
    chain = with_uncertainty(PROMPT | scripted("Paris it is"), scorer=scorer)
    runs = Runs()
    assert len(list(chain.stream(GIVEN, {"callbacks": [runs]}))) >= 4
    assert "".join(runs.tokens).strip() == "Paris it is"

    async def events() -> list[Any]:
        return [event async for event in chain.astream_events(GIVEN, version="v2")]

    seen = asyncio.run(events())
    assert [e["event"] for e in seen].count("on_chat_model_start") == 1
    assert "sibling" not in {e["name"] for e in seen}
    assert not any("invent:sibling" in e["tags"] for e in seen)
    (custom,) = [e for e in seen if e["event"] == "on_custom_event"]
    assert custom["name"] == "invent_report"
    assert custom["data"]["status"] == "ok"
    assert "siblings" not in custom["data"]


def test_the_first_token_does_not_wait_for_siblings(scorer: InvEntropy) -> None:
    model = scripted("Paris it is")
    stream = with_uncertainty(PROMPT | model, scorer=scorer).stream(GIVEN)
    assert next(stream).text == "Paris "
    assert len(model.record.calls) == 1
    *_, last = stream
    assert isinstance(last, AIMessageChunk)
    assert (last.content, set(last.response_metadata)) == ("", {"invent"})


def test_composition(scorer: InvEntropy) -> None:
    broken = scripted(lambda _m, _n: RuntimeError("down"))
    shaky = scripted(lambda _m, number: RuntimeError("down") if number == 1 else "Paris")
    scored = with_uncertainty(PROMPT | scripted(), scorer=scorer)
    fallen = with_uncertainty(PROMPT | broken, scorer=scorer).with_fallbacks([scored]).invoke(GIVEN)
    assert uncertainty_of(fallen)["status"] == "ok"  # type: ignore[index]
    retried = with_uncertainty(PROMPT | shaky, scorer=scorer).with_retry(
        stop_after_attempt=2, wait_exponential_jitter=False
    )
    assert uncertainty_of(retried.invoke(GIVEN))["status"] == "ok"  # type: ignore[index]
    assert (scored | (lambda message: message.text)).invoke(GIVEN) == "Paris"
    model = scripted()
    with_uncertainty(model, scorer=scorer).bind(stop=["x"], extra=1).invoke(QUESTION)
    assert all(call["kwargs"] == {"extra": 1} for call in model.record.calls)


def test_configurable_fields_go_through(scorer: InvEntropy) -> None:
    model = scripted().configurable_fields(model_name=ConfigurableField(id="which"))
    chain = with_uncertainty(PROMPT | model, scorer=scorer, output="pair")
    assert "which" in {spec.id for spec in chain.config_specs}
    assert chain.invoke(GIVEN, {"configurable": {"which": "other"}})["report"].status == "ok"


def test_config_reaches_the_run(scorer: InvEntropy) -> None:
    import uuid

    runs, chosen = Runs(), uuid.uuid4()
    config: Any = {
        "callbacks": [runs],
        "run_id": chosen,
        "tags": ["mine"],
        "metadata": {"who": "me"},
        "max_concurrency": 1,
    }
    with get_invent_callback() as collected:
        with_uncertainty(PROMPT | scripted(), scorer=scorer).invoke(GIVEN, config)
    assert list(collected.reports) == [chosen]
    assert all("mine" in tags for tags in (one.tags for one in runs.runs.values()))


def test_wrapper_in_wrapper_scores_once(scorer: InvEntropy) -> None:
    model = scripted()
    inner = with_uncertainty(PROMPT | model, scorer=scorer)
    with get_invent_callback() as collected:
        with_uncertainty(inner | StrOutputParser(), scorer=scorer).invoke(GIVEN)
    assert len(collected.reports) == 1
    assert len(model.record.calls) == 1 + ASKED


def test_nested_collectors_both_collect(scorer: InvEntropy) -> None:
    chain = with_uncertainty(scripted(), scorer=scorer)
    with get_invent_callback() as outer:
        chain.invoke(QUESTION)
        with get_invent_callback() as inner:
            chain.invoke(QUESTION)
    chain.invoke(QUESTION)
    assert (len(outer.reports), len(inner.reports)) == (2, 1)


def test_fifty_overlapping_calls_leave_the_model_as_it_was(
    scorer: InvEntropy, capsys: pytest.CaptureFixture[str]
) -> None:
    model = scripted(lambda messages, _number: f"echo {messages[-1].text}", temperature=0.3)
    before = model.model_dump(exclude={"record", "script"})
    chain, scored = PROMPT | model, with_uncertainty(PROMPT | model, scorer=scorer)
    inputs = [{"context": "c", "question": f"What is the capital of country {i}?"} for i in range(50)]

    async def overlapping() -> list[Any]:
        return await asyncio.gather(*(scored.ainvoke(given) for given in inputs))

    bare = [chain.invoke(given).content for given in inputs]
    assert [message.content for message in asyncio.run(overlapping())] == bare
    assert [message.content for message in scored.batch(inputs)] == bare
    tokens = [[chunk.content for chunk in chain.stream(given)] for given in inputs]
    with ThreadPoolExecutor(10) as pool:
        streams = list(pool.map(lambda given: [chunk.content for chunk in scored.stream(given)], inputs))
    assert [chunks[: len(whole)] for chunks, whole in zip(streams, tokens, strict=True)] == tokens
    assert all(chunks[len(whole) :] == [""] for chunks, whole in zip(streams, tokens, strict=True))
    assert model.model_dump(exclude={"record", "script"}) == before
    assert (model.callbacks, model.cache) == (None, None)
    assert capsys.readouterr() == ("", "")


@tool
def act(question: str) -> str:
    """Act on the world."""
    return question


@pytest.mark.filterwarnings("ignore:RunnableWithMessageHistory is deprecated")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: with_uncertainty("chain"), "got a str: pass a runnable"),  # type: ignore[arg-type]
        (lambda: with_uncertainty(scripted(), siblings="all"), "siblings='all'"),  # type: ignore[arg-type]
        (lambda: with_uncertainty(scripted(), output="both"), "output='both'"),  # type: ignore[arg-type]
        (lambda: with_uncertainty(scripted(), scorer=3), "scorer is a int"),  # type: ignore[arg-type]
        (lambda: with_uncertainty(scripted(), scorer=InvEntropy(scripted())), "a model of its own \\(scripted\\)"),
        (lambda: with_uncertainty(scripted(), model=RunnableLambda(str)), "model is a RunnableLambda"),
        (lambda: with_uncertainty(scripted(), model=scripted(), siblings="chain"), "choose one of the two"),
        (lambda: with_uncertainty(act | PROMPT | scripted()), "the tool 'act' and siblings must not act"),
        (lambda: with_uncertainty(Notes() | RunnableLambda(str) | Notes()), "two retrievers are named 'Notes'"),
        (
            lambda: with_uncertainty(RunnableWithMessageHistory(scripted(), lambda: None)),  # type: ignore[arg-type, return-value]
            "whose state siblings would change",
        ),
    ],
)
def test_wrong_settings_are_told_at_construction(make: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_replaced_shares_what_does_not_change() -> None:
    chain = PROMPT | scripted() | StrOutputParser()
    assert replaced(chain, lambda _part: None) is chain
    other = scripted()
    changed = replaced(chain, lambda part: other if isinstance(part, Scripted) else None)
    assert changed is not chain
    assert changed.steps[1] is other
    assert changed.steps[0] is chain.steps[0]
    assert isinstance(chain.steps[1], Scripted)
    assert chain.steps[1] is not other


def test_a_langchain_model_is_a_model_for_the_scorer() -> None:
    model = scripted(n=None)
    report = InvEntropy(model, n=3, r=2).score(QUESTION)
    assert report.fingerprint.model == "scripted"
    assert report.usage.requests == 5  # r answers in one request each, the primary, one more of the original
    chain = InvEntropy(PROMPT.partial(context="c") | scripted() | StrOutputParser(), n=2, r=2).score(QUESTION)
    assert chain.status == "ok"
