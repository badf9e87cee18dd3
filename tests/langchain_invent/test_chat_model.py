"""`UncertainChatModel` around a scripted model."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from fakes import Scripted, scripted
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import RunnableBinding
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from invent_chain import InvEntropy
from invent_chain.errors import ConfigurationError
from langchain_invent import UncertainChatModel, after, get_invent_callback, uncertainty_of, with_uncertainty
from tests.loopback import Loopback

QUESTION = "What is the capital of France?"
ASKED = 7
ACTED: list[str] = []


@pytest.fixture
def scorer() -> InvEntropy:
    return InvEntropy(n=3, r=2)


@tool
def weather(city: str, days: int = 1) -> str:
    """Tell the weather."""
    ACTED.append(city)
    return "sunny"


class Place(BaseModel):
    """A place."""

    city: str
    country: str


def calls(city: str) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": "weather", "args": {"city": city, "days": 1}, "id": "1"}])


def report_of(message: Any) -> dict[str, Any]:
    report = uncertainty_of(message)
    assert report is not None
    return report


def gathered(stream: Any) -> Any:
    async def gather() -> list[Any]:
        return [item async for item in stream]

    return asyncio.run(gather())


def test_texts_and_tokens_are_the_models(scorer: InvEntropy) -> None:
    bare, scored = scripted("Paris it is"), UncertainChatModel(scripted("Paris it is"), scorer=scorer)
    assert scored.invoke(QUESTION).content == bare.invoke(QUESTION).content
    assert asyncio.run(scored.ainvoke(QUESTION)).content == "Paris it is"
    tokens = [chunk.content for chunk in bare.stream(QUESTION)]
    assert [chunk.content for chunk in scored.stream(QUESTION)] == tokens
    assert [chunk.content for chunk in gathered(scored.astream(QUESTION))] == tokens


def test_the_report_is_on_one_last_chunk(scorer: InvEntropy) -> None:
    chunks = list(UncertainChatModel(scripted("Paris it is"), scorer=scorer).stream(QUESTION))
    assert ["invent" in chunk.response_metadata for chunk in chunks] == [False, False, False, True]
    whole = chunks[0] + chunks[1] + chunks[2] + chunks[3]
    assert report_of(whole)["status"] == "ok"
    assert whole.content == "Paris it is "
    json.dumps(whole.response_metadata)
    assert json.loads(dumps(whole))["kwargs"]["response_metadata"]["invent"]["status"] == "ok"


def test_generate_through_streaming_handlers_keeps_the_report(scorer: InvEntropy) -> None:
    model = scripted("Paris it is")
    chain = ChatPromptTemplate.from_template("{question}") | UncertainChatModel(model, scorer=scorer)
    events = gathered(chain.astream_events({"question": QUESTION}, version="v2"))
    (end,) = [event for event in events if event["event"] == "on_chat_model_end"]
    assert report_of(end["data"]["output"])["status"] == "ok"
    assert (
        "".join(e["data"]["chunk"].text for e in events if e["event"] == "on_chat_model_stream").strip()
        == "Paris it is"
    )
    assert len(model.record.calls) == 1 + ASKED


def test_the_models_messages_are_not_changed(scorer: InvEntropy) -> None:
    kept = AIMessage("Paris", response_metadata={"mine": 1})
    message = UncertainChatModel(scripted(lambda _m, _n: kept), scorer=scorer).invoke(QUESTION)
    assert set(message.response_metadata) == {"mine", "invent"}
    assert kept.response_metadata == {"mine": 1}


def test_without_streaming_the_model_answers_in_one_piece(scorer: InvEntropy) -> None:
    model = scripted("Paris it is", disable_streaming=True)
    (message,) = UncertainChatModel(model, scorer=scorer).stream(QUESTION)
    assert message.content == "Paris it is"
    assert report_of(message)["status"] == "ok"


def test_tools_are_compared_and_not_executed(scorer: InvEntropy) -> None:
    ACTED.clear()
    model = scripted(lambda _m, number: calls("Paris" if number % 2 else "Lyon"))
    bound = UncertainChatModel(model, scorer=scorer).bind_tools([weather])
    assert isinstance(bound, RunnableBinding)
    assert isinstance(bound.bound, UncertainChatModel)
    message = bound.invoke("How is the weather in Paris?")
    report = report_of(message)
    assert message.tool_calls[0]["args"]["city"] == "Paris"
    assert report["structure"]["tool"] == 1.0
    assert report["structure"]["arguments.days"] == 1.0
    assert report["structure"]["arguments.city"] == pytest.approx(3 / 7)
    assert all(call["kwargs"]["tools"] == [weather] for call in model.record.calls)
    assert ACTED == []


def test_the_question_of_a_tool_turn_is_the_users(scorer: InvEntropy) -> None:
    model = scripted("Sunny")
    history = [HumanMessage("How is the weather in Paris?"), calls("Paris"), ToolMessage("sunny", tool_call_id="1")]
    UncertainChatModel(model, scorer=scorer).invoke(history)
    assert {tuple(m.text for m in call["messages"][1:]) for call in model.record.calls} == {("", "sunny")}
    assert len({call["messages"][0].text for call in model.record.calls}) == 4


def test_structured_output_is_the_models_own(scorer: InvEntropy) -> None:
    answer = '{"city": "Paris", "country": "France"}'
    with Loopback("ok", reply=lambda question, index: answer) as server:
        model = ChatOpenAI(base_url=server.base_url, api_key="x", model="m", max_retries=0, temperature=0)  # type: ignore[arg-type]
        place = model.with_structured_output(Place).invoke(QUESTION)
        scored = UncertainChatModel(model, scorer=scorer)
        with get_invent_callback() as collected:
            assert scored.with_structured_output(Place).invoke(QUESTION) == place
        raw: Any = scored.with_structured_output(Place, include_raw=True).invoke(QUESTION)
    assert collected.last is not None
    assert all("response_format" in body for body in server.bodies)
    assert collected.last.structure == {"city": 1.0, "country": 1.0}
    assert report_of(raw["raw"])["structure"] == {"city": 1.0, "country": 1.0}


def test_replications_come_in_one_request_where_the_model_can(scorer: InvEntropy) -> None:
    with Loopback("ok", reply=lambda question, index: f"Paris {index}") as server:
        model = ChatOpenAI(base_url=server.base_url, api_key="x", model="m", max_retries=0)  # type: ignore[arg-type]
        report = report_of(UncertainChatModel(model, scorer=InvEntropy(n=3, r=3)).invoke(QUESTION))
    assert (report["status"], report["usage"]["requests"]) == ("ok", 4)


@pytest.mark.parametrize("behaviour", ["ignores_n", "rejects_n", "rejects_n_vaguely"])
def test_servers_without_n_are_asked_singly(behaviour: Any) -> None:
    with Loopback("ok", behaviour, reply=lambda question, index: "Paris") as server:
        model = ChatOpenAI(base_url=server.base_url, api_key="x", model="m", max_retries=0)  # type: ignore[arg-type]
        report = report_of(UncertainChatModel(model, scorer=InvEntropy(n=3, r=3)).invoke(QUESTION))
    assert report["status"] == "ok"
    assert report["usage"]["requests"] >= 11


def test_refused_siblings_cost_one_round_and_tell_no_secret() -> None:
    with Loopback("ok", "401", reply=lambda question, index: "Paris") as server:
        model = ChatOpenAI(base_url=server.base_url, api_key="key-of-mine", model="m", max_retries=0)  # type: ignore[arg-type]
        with get_invent_callback() as collected:
            message = UncertainChatModel(model, scorer=InvEntropy(n=9, r=2, concurrency=1)).invoke(QUESTION)
    assert message.text == "Paris"
    assert collected.last is not None
    assert collected.last.status == "failed"
    assert collected.last.usage.requests == 1
    assert "key-of-mine" not in collected.last.to_json()
    assert "status 401" in collected.last.to_json()


def test_a_question_in_a_prompt_with_context() -> None:
    model = scripted("Paris")
    prompt = "Context: What is the capital of Spain? Madrid.\nQuestion: What is the capital of France?"
    scored = UncertainChatModel(model, scorer=InvEntropy(n=3, r=2), question=after("Question:"))
    assert report_of(scored.invoke(prompt))["status"] == "ok"
    asked = {call["messages"][0].text for call in model.record.calls}
    assert len(asked) == 4
    assert all(text.startswith("Context: What is the capital of Spain? Madrid.\nQuestion:") for text in asked)


def test_a_message_of_several_lines_is_remarked_on_unless_the_question_is_named() -> None:
    prompt = "Context: Spain.\nQuestion: What is the capital of France?"
    for question, remarks in ((None, 1), (after("Question:"), 0)):
        named = {} if question is None else {"question": question}
        with get_invent_callback() as collected:
            UncertainChatModel(scripted("Paris"), scorer=InvEntropy(n=2, r=2), **named).invoke(prompt)
        assert collected.last is not None
        assert sum("name the question" in note for note in collected.last.notes) == remarks


def test_a_missing_question_keeps_the_answer(scorer: InvEntropy) -> None:
    for scored, given in (
        (UncertainChatModel(scripted("Hi"), scorer=scorer), [SystemMessage("Greet.")]),
        (UncertainChatModel(scripted("Hi"), scorer=scorer, question=after("Question:")), [HumanMessage("Greet.")]),
    ):
        message = scored.invoke(given)
        assert message.text == "Hi"
        assert report_of(message)["status"] == "failed"
        assert "human message" in report_of(message)["problems"][0]


def test_a_selector_that_raises_keeps_the_answer_and_quotes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(messages: Any) -> str:
        raise KeyError(f"no question in {messages[0].text}")

    for how in ("invoke", "stream"):
        scored = UncertainChatModel(scripted("Hi"), scorer=InvEntropy(n=2, r=2), question=broken)
        message = scored.invoke("my secret") if how == "invoke" else list(scored.stream("my secret"))[-1]
        report = report_of(message)
        assert report["status"] == "failed"
        assert report["problems"][0].startswith("KeyError was raised")
    assert "my secret" not in caplog.text


def test_blocks_of_content_are_perturbed_in_place(scorer: InvEntropy) -> None:
    model = scripted("Paris")
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    UncertainChatModel(model, scorer=scorer).invoke([HumanMessage([image, {"type": "text", "text": QUESTION}])])
    assert all(call["messages"][0].content[0] == image for call in model.record.calls)
    assert len({call["messages"][0].content[1]["text"] for call in model.record.calls}) == 4


def test_the_response_cache_keeps_the_report_and_serves_no_sibling(scorer: InvEntropy) -> None:
    model = scripted(lambda _m, number: f"Paris {number}")
    set_llm_cache(InMemoryCache())
    try:
        first, second = (UncertainChatModel(model, scorer=scorer).invoke(QUESTION) for _ in range(2))
        bare = model.invoke(QUESTION)
    finally:
        set_llm_cache(None)
    assert first.content == second.content == "Paris 1"
    assert report_of(first) == report_of(second)
    assert bare.content == f"Paris {2 + ASKED}"


def test_what_the_base_class_does_around_the_model_is_taken_over(scorer: InvEntropy) -> None:
    cache, limiter = InMemoryCache(), InMemoryRateLimiter(requests_per_second=1000)
    model = scripted(cache=cache, rate_limiter=limiter, tags=["mine"], metadata={"a": 1}, name="me")
    scored = UncertainChatModel(model, scorer=scorer)
    assert (scored.cache, scored.rate_limiter, scored.tags, scored.name) == (cache, limiter, ["mine"], "me")
    assert scored.metadata == model.metadata


def test_below_a_wrapper_it_leaves_scoring_to_the_wrapper(scorer: InvEntropy) -> None:
    model = scripted("Paris")
    for how in ("invoke", "stream"):
        model.record.calls.clear()
        chain = with_uncertainty(UncertainChatModel(model, scorer=scorer) | StrOutputParser(), scorer=scorer)
        with get_invent_callback() as collected:
            list(chain.stream(QUESTION)) if how == "stream" else chain.invoke(QUESTION)
        assert (len(collected.reports), len(model.record.calls)) == (1, 1 + ASKED)


def test_fallbacks_keep_tools(scorer: InvEntropy) -> None:
    broken = scripted(lambda _m, _n: RuntimeError("down"))
    pair = UncertainChatModel(broken, scorer=scorer).with_fallbacks([UncertainChatModel(scripted("Hi"), scorer=scorer)])
    bound = pair.bind_tools([weather])  # type: ignore[attr-defined]
    assert report_of(bound.invoke(QUESTION))["status"] == "ok"
    assert broken.record.calls[0]["kwargs"]["tools"] == [weather]


def test_overlapping_streams_keep_their_runs(scorer: InvEntropy) -> None:
    model = scripted(lambda messages, _n: f"echo {messages[-1].text}")
    scored = UncertainChatModel(model, scorer=scorer)
    streams = [scored.stream(f"What is the capital of country {i}?") for i in range(5)]
    with get_invent_callback():
        firsts = [next(stream).text for stream in streams]
        assert firsts == ["echo "] * 5
        for i, stream in enumerate(streams):
            *_, last = stream
            assert report_of(last)["status"] == "ok", i


class Hidden(Scripted):
    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.model_copy().bind(tools=tools)


@pytest.mark.parametrize("model", ["gpt", None, UncertainChatModel(scripted())])
def test_only_chat_models_can_be_wrapped(model: Any) -> None:
    with pytest.raises(ConfigurationError, match="pass a chat model"):
        UncertainChatModel(model)


def test_a_model_that_hides_itself_is_told(scorer: InvEntropy) -> None:
    hidden: BaseChatModel = Hidden(script=lambda _m, _n: "Hi", record=scripted().record)
    with pytest.raises(ConfigurationError, match="hides itself"):
        UncertainChatModel(hidden, scorer=scorer).bind_tools([weather])


class Starts(BaseCallbackHandler):
    def __init__(self) -> None:
        self.names: list[Any] = []

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        self.names.append(kwargs.get("invocation_params", {}).get("_type"))


def test_handlers_see_one_call_with_the_models_parameters(scorer: InvEntropy) -> None:
    bare, wrapped = Starts(), Starts()
    model = scripted("Hi")
    model.invoke(QUESTION, {"callbacks": [bare]})
    UncertainChatModel(model, scorer=scorer).invoke(QUESTION, {"callbacks": [wrapped]})
    assert wrapped.names == bare.names
