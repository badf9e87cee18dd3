"""`InvEntropyMiddleware` in real agents, with models written here: what is scored, what siblings see, how it ends."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

pytest.importorskip("langchain")

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelFallbackMiddleware
from langchain.agents.structured_output import AutoStrategy, ProviderStrategy, ToolStrategy
from langchain_core.callbacks import CallbackManager
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel, Field

from invent_chain import InvEntropy
from invent_chain.decide import Thresholds
from invent_chain.errors import ConfigurationError
from langchain_invent import get_invent_callback, uncertainty_of
from langchain_invent.middleware import InvEntropyMiddleware, UncertainAnswerError
from langchain_invent.trace import for_primary

QUESTION = "What is the capital of the Republic of Palau?"
ASKED = {"messages": [HumanMessage(QUESTION)]}
SCORER = InvEntropy(n=3, r=2, score="support")
SIBLINGS = 3 * 2 + 1
NOTHING_PASSES = SCORER.replace(policy=Thresholds(answer=0.0, retrieve_more=None, fallback=None))

Reply = Callable[["Scripted", Sequence[BaseMessage]], AIMessage | str]


class Scripted(BaseChatModel):
    """Says what its script says; it knows siblings by their temperature, which the primary call has not."""

    reply: Any
    temperature: float = 0.0
    log: list[dict[str, Any]] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    @property
    def sibling(self) -> bool:
        return self.temperature > 0.0

    @property
    def siblings(self) -> list[dict[str, Any]]:
        return [call for call in self.log if call["sibling"]]

    def bind_tools(self, tools: Sequence[Any], *, tool_choice: Any = None, **kwargs: Any) -> Any:
        return self.bind(tools=[convert_to_openai_tool(each) for each in tools], tool_choice=tool_choice, **kwargs)

    def _said(self, messages: Sequence[BaseMessage], settings: dict[str, Any]) -> AIMessage:
        self.log.append({"sibling": self.sibling, "messages": list(messages), "settings": settings})
        said = self.reply(self, messages)
        return AIMessage(said) if isinstance(said, str) else said

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._said(messages, kwargs))])

    def _stream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        message = self._said(messages, kwargs)
        if message.tool_calls:
            yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_calls=message.tool_calls))
            return
        for word in message.text.split(" "):
            yield ChatGenerationChunk(message=AIMessageChunk(content=f"{word} "))


def steady(model: Scripted, messages: Sequence[BaseMessage]) -> str:
    return "Ngerulmud sibling" if model.sibling else "Ngerulmud primary"


def wavering(model: Scripted, messages: Sequence[BaseMessage]) -> str:
    return f"sibling{len(model.log)}" if model.sibling else "Koror weak"


def failing(model: Scripted, messages: Sequence[BaseMessage]) -> str:
    if model.sibling:
        raise RuntimeError("overloaded")
    return "Ngerulmud primary"


def call(name: str, key: str = "1", **arguments: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": key}])


class Tooled:
    """A tool that counts, and a script that calls it once before it answers."""

    def __init__(self, sibling: Any = "Ngerulmud sibling") -> None:
        self.used: list[str] = []

        @tool
        def look_up(place: str) -> str:
            """Look up a place."""
            self.used.append(place)
            return "Palau: Ngerulmud"

        self.tool = look_up
        self.sibling = sibling

    def reply(self, model: Scripted, messages: Sequence[BaseMessage]) -> AIMessage | str:
        if model.sibling:
            said: AIMessage | str = self.sibling
            return said
        return "Ngerulmud primary" if isinstance(messages[-1], ToolMessage) else call("look_up", place="Palau")


class Place(BaseModel):
    """A place."""

    city: str
    inhabitants: int


def agent(model: BaseChatModel, tools: Sequence[Any] = (), before: Any = (), after: Any = (), **arguments: Any) -> Any:
    ours = {
        name: arguments.pop(name)
        for name in ("exit_behavior", "text", "question", "abstain_message", "scorer")
        if name in arguments
    }
    middleware = InvEntropyMiddleware(**{"scorer": SCORER, **ours})
    return create_agent(model, list(tools), middleware=[*before, middleware, *after], **arguments)


def run(agent: Any, how: str, config: Any = None, asked: Any = None) -> Any:
    if how == "sync":
        return agent.invoke(asked or ASKED, config)
    return asyncio.run(agent.ainvoke(asked or ASKED, config))


beta = pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
both = pytest.mark.parametrize("how", ["sync", "async"])


@both
def test_an_answer_carries_its_report_in_state_and_message(how: str) -> None:
    model = Scripted(reply=steady)
    with get_invent_callback() as collected:
        state = run(agent(model), how)
    report = state["uncertainty"]
    assert report["status"] == "ok"
    assert report["decision"]["action"] == "retrieve_more"
    assert 0.0 < report["score"] < 0.5
    assert "question" not in report
    assert uncertainty_of(state["messages"][-1]) == report
    assert json.loads(json.dumps(report)) == report
    assert [each.score for each in collected.reports.values()] == [report["score"]]
    assert [message.text for message in state["messages"]] == [QUESTION, "Ngerulmud primary"]
    assert len(model.siblings) == SIBLINGS
    assert len(model.log) == SIBLINGS + 1


@both
def test_the_report_quotes_only_when_asked(how: str) -> None:
    report = run(agent(Scripted(reply=steady), text=True), how)["uncertainty"]
    assert (report["question"], report["answer"]) == (QUESTION, "Ngerulmud primary")
    assert len(report["siblings"]) == 4


@both
def test_checkpoints_hold_it_and_nothing_of_siblings(how: str) -> None:
    saver = InMemorySaver()
    built = agent(Scripted(reply=steady), checkpointer=saver)
    config = {"configurable": {"thread_id": "1"}}
    run(built, how, config)
    state = run(built, how, config, {"messages": [HumanMessage("And of the island of Nauru?")]})
    kept = built.get_state(config).values
    assert kept["uncertainty"] == state["uncertainty"]
    assert [message.text for message in kept["messages"]].count("Ngerulmud primary") == 2
    assert len(kept["messages"]) == 4
    assert not any("sibling" in message.text for message in kept["messages"])


@both
def test_the_answer_is_the_same_without_it(how: str) -> None:
    tooled, bare = Tooled(), Tooled()
    scored = run(agent(Scripted(reply=tooled.reply), [tooled.tool], system_prompt="Be brief."), how)
    plain = run(create_agent(Scripted(reply=bare.reply), [bare.tool], system_prompt="Be brief."), how)

    def shown(state: Any) -> list[Any]:
        messages = [message.model_dump(exclude={"id"}) for message in state["messages"]]
        for message in messages:
            message["response_metadata"].pop("invent", None)
        return messages

    assert shown(scored) == shown(plain)


@both
def test_turns_that_call_tools_are_not_scored_and_tools_run_once(how: str) -> None:
    tooled = Tooled()
    model = Scripted(reply=tooled.reply)
    state = run(agent(model, [tooled.tool]), how)
    assert tooled.used == ["Palau"]
    assert len(model.siblings) == SIBLINGS
    assert [uncertainty_of(m) is not None for m in state["messages"] if isinstance(m, AIMessage)] == [False, True]
    assert all(isinstance(call["messages"][-1], ToolMessage) for call in model.siblings)
    assert all(call["settings"]["tools"] == model.log[0]["settings"]["tools"] for call in model.siblings)


@both
def test_a_tool_that_a_sibling_chooses_is_compared_and_not_run(how: str) -> None:
    tooled = Tooled(sibling=call("look_up", place="Nauru"))
    state = run(agent(Scripted(reply=tooled.reply), [tooled.tool], text=True), how)
    assert tooled.used == ["Palau"]
    answers = {answer for sibling in state["uncertainty"]["siblings"][1:] for answer in sibling["answers"]}
    assert answers == {'{"arguments": {"place": "Nauru"}, "tool": "look_up"}'}
    assert state["uncertainty"]["score"] > 0.5
    assert state["messages"][-1].text == "Ngerulmud primary"


@both
def test_a_report_does_not_outlive_its_answer(how: str) -> None:
    @tool(return_direct=True)
    def greet() -> str:
        """Greet."""
        return "Alii"

    def reply(model: Scripted, messages: Sequence[BaseMessage]) -> AIMessage | str:
        return call("greet") if messages[-1].text == "Greet me" else "Ngerulmud"

    built = agent(Scripted(reply=reply), [greet], checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    assert run(built, how, config)["uncertainty"]["status"] == "ok"
    assert run(built, how, config, {"messages": [HumanMessage("Greet me")]})["uncertainty"] is None


@both
def test_siblings_see_the_prompt_with_another_question(how: str) -> None:
    model = Scripted(reply=steady)
    history = [HumanMessage("Hello"), AIMessage("Hi"), HumanMessage(QUESTION)]
    run(agent(model, system_prompt="Answer questions about Palau."), how, None, {"messages": history})
    primary, *siblings = [call["messages"] for call in model.log]
    assert primary[0] == SystemMessage("Answer questions about Palau.")
    assert len(siblings) == SIBLINGS
    for messages in siblings:
        assert messages[:-1] == primary[:-1]
    assert len({messages[-1].text for messages in siblings}) == 4
    assert history[-1] == HumanMessage(QUESTION, id=history[-1].id)


def test_the_question_may_be_a_part_of_the_message() -> None:
    model = Scripted(reply=steady)
    asked = {"messages": [HumanMessage(f"Context: Koror was the capital.\n{QUESTION}")]}
    run(agent(model, question=lambda messages: QUESTION), "sync", None, asked)
    assert all(call["messages"][-1].text.startswith("Context: Koror was the capital.\n") for call in model.siblings)


@both
def test_abstaining_leaves_one_answer(how: str) -> None:
    built = agent(
        Scripted(reply=wavering), exit_behavior="abstain", abstain_message="I pass.", checkpointer=InMemorySaver()
    )
    config = {"configurable": {"thread_id": "1"}}
    state = run(built, how, config)
    assert [message.text for message in state["messages"]] == [QUESTION, "I pass."]
    assert [message.text for message in built.get_state(config).values["messages"]] == [QUESTION, "I pass."]
    assert state["uncertainty"]["decision"]["action"] == "abstain"
    assert uncertainty_of(state["messages"][-1]) == state["uncertainty"]
    assert "Koror" not in str(state)


@both
def test_abstaining_lets_certain_answers_through(how: str) -> None:
    state = run(agent(Scripted(reply=steady), exit_behavior="abstain"), how)
    assert state["messages"][-1].text == "Ngerulmud primary"


def test_abstaining_keeps_the_withheld_answer_only_when_texts_are_asked_for() -> None:
    state = run(agent(Scripted(reply=wavering), exit_behavior="abstain", text=True), "sync")
    report = uncertainty_of(state["messages"][-1])
    assert report is not None
    assert report["withheld"] == "Koror weak"
    assert {name: value for name, value in report.items() if name != "withheld"} == state["uncertainty"]


@both
@pytest.mark.parametrize("place", ["before", "after"])
def test_raising_asks_the_next_model_if_the_fallback_stands_before(how: str, place: str) -> None:
    weak, strong = Scripted(reply=wavering), Scripted(reply=steady)
    built = agent(weak, exit_behavior="raise", **{place: [ModelFallbackMiddleware(strong)]})
    if place == "after":
        with pytest.raises(UncertainAnswerError, match=r"uncertainty 0\.\d\d .*decision 'abstain'.*Fallback"):
            run(built, how)
        return
    state = run(built, how)
    assert [message.text for message in state["messages"]] == [QUESTION, "Ngerulmud primary"]
    assert state["uncertainty"]["decision"]["action"] == "retrieve_more"
    assert (len(weak.siblings), len(strong.siblings)) == (SIBLINGS, SIBLINGS)


def test_the_error_holds_the_report_and_can_be_pickled() -> None:
    with pytest.raises(UncertainAnswerError) as raised:
        run(agent(Scripted(reply=wavering), exit_behavior="raise"), "sync")
    assert raised.value.report.answer == "Koror weak"
    assert pickle.loads(pickle.dumps(raised.value)).report == raised.value.report


@both
@pytest.mark.parametrize("place", ["before", "after"])
def test_a_fallback_model_answers_when_the_first_one_is_down(how: str, place: str) -> None:
    def down(model: Scripted, messages: Sequence[BaseMessage]) -> str:
        raise RuntimeError("down")

    state = run(agent(Scripted(reply=down), **{place: [ModelFallbackMiddleware(Scripted(reply=steady))]}), how)
    assert state["messages"][-1].text == "Ngerulmud primary"
    # Listed before the fallback, the middleware knows the first model alone, which gives no siblings.
    assert state["uncertainty"]["status"] == ("ok" if place == "before" else "failed")


@both
def test_failing_siblings_cost_no_answer(how: str) -> None:
    state = run(agent(Scripted(reply=failing)), how)
    assert state["messages"][-1].text == "Ngerulmud primary"
    assert (state["uncertainty"]["status"], state["uncertainty"]["score"]) == ("failed", 1.0)


@both
def test_failing_parts_cost_no_answer(how: str) -> None:
    def lost(messages: Sequence[BaseMessage]) -> str:
        raise KeyError("question")

    for question in (lost, lambda messages: "words that stand nowhere"):
        state = run(agent(Scripted(reply=steady), question=question), how)
        assert state["messages"][-1].text == "Ngerulmud primary"
        assert state["uncertainty"]["status"] == "failed"


@both
def test_what_cannot_be_scored_follows_the_policy(how: str) -> None:
    strict = run(agent(Scripted(reply=failing), exit_behavior="abstain", abstain_message="I pass."), how)
    assert strict["messages"][-1].text == "I pass."

    def lenient(score: float, status: str) -> Any:
        return Thresholds()(score if status != "failed" else 0.0, "ok")

    scorer = SCORER.replace(policy=lenient)
    state = run(agent(Scripted(reply=failing), exit_behavior="abstain", scorer=scorer), how)
    assert state["messages"][-1].text == "Ngerulmud primary"


def placed(model: Scripted, messages: Sequence[BaseMessage]) -> AIMessage:
    people = 20 + len(model.log) if model.sibling else 20
    return call("Place", str(len(model.log)), city="Ngerulmud", inhabitants=people)


@both
@pytest.mark.parametrize("tools", [0, 1])
@pytest.mark.parametrize("strategy", [ToolStrategy, AutoStrategy])
def test_structured_output_by_tools_is_scored_field_by_field(how: str, tools: int, strategy: Any) -> None:
    model = Scripted(reply=placed)
    state = run(agent(model, [Tooled().tool] * tools, response_format=strategy(Place)), how)
    assert state["structured_response"] == Place(city="Ngerulmud", inhabitants=20)
    assert state["uncertainty"]["structure"] == {
        "tool": 1.0,
        "arguments.city": 1.0,
        "arguments.inhabitants": 0.0,
    }
    primary, *siblings = [call["settings"] for call in model.log]
    assert primary["tool_choice"] == "any"
    assert siblings == [primary] * SIBLINGS
    assert [type(message) for message in state["messages"]] == [HumanMessage, AIMessage, ToolMessage]


@both
def test_structured_output_by_the_provider_is_scored_field_by_field(how: str) -> None:
    def reply(model: Scripted, messages: Sequence[BaseMessage]) -> str:
        return json.dumps({"city": "Ngerulmud", "inhabitants": len(model.log) + 20})

    model = Scripted(reply=reply)
    state = run(agent(model, [Tooled().tool], response_format=ProviderStrategy(Place)), how)
    assert state["structured_response"] == Place(city="Ngerulmud", inhabitants=21)
    assert state["uncertainty"]["structure"] == {"city": 1.0, "inhabitants": 0.0}
    primary, *siblings = [call["settings"] for call in model.log]
    assert primary["response_format"]["type"] == "json_schema"
    assert siblings == [primary] * SIBLINGS


def test_a_schema_without_a_title_has_one_name_for_all() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "description": "A place."}

    class Named(Scripted):
        def _said(self, messages: Sequence[BaseMessage], settings: dict[str, Any]) -> AIMessage:
            super()._said(messages, settings)
            return call(settings["tools"][0]["function"]["name"], city="Ngerulmud")

    state = run(agent(Named(reply=steady), response_format=schema), "sync")
    assert state["uncertainty"]["structure"] == {"tool": 1.0, "arguments.city": 1.0}


@both
def test_a_structured_answer_that_does_not_fit_is_not_scored(how: str) -> None:
    def reply(model: Scripted, messages: Sequence[BaseMessage]) -> AIMessage:
        if len(messages) == 1:
            return call("Place", "a", city="Ngerulmud", inhabitants="many")
        return call("Place", "b", city="Ngerulmud", inhabitants=20)

    model = Scripted(reply=reply)
    state = run(agent(model, response_format=ToolStrategy(Place)), how)
    assert state["structured_response"] == Place(city="Ngerulmud", inhabitants=20)
    assert len(model.siblings) == SIBLINGS


class Passing(AgentMiddleware):
    def after_model(self, state: Any, runtime: Any) -> None:
        return None


class PassingToo(Passing):
    pass


@both
@pytest.mark.parametrize("tools", [0, 1])
@pytest.mark.parametrize("others", [0, 1, 2])
def test_abstaining_from_structured_output_ends_the_agent(how: str, tools: int, others: int) -> None:
    model = Scripted(reply=placed)
    built = agent(
        model,
        [Tooled().tool] * tools,
        before=[Passing(), PassingToo()][:others],
        exit_behavior="abstain",
        scorer=NOTHING_PASSES,
        abstain_message="I pass.",
        response_format=ToolStrategy(Place),
    )
    state = run(built, how, {"recursion_limit": 12})
    assert [message.text for message in state["messages"]] == [QUESTION, "I pass."]
    assert state.get("structured_response") is None
    assert len(model.log) == SIBLINGS + 1


def test_an_earlier_abstention_does_not_end_a_turn_that_was_answered_elsewhere() -> None:
    class Canned(AgentMiddleware):
        def wrap_model_call(self, request: Any, handler: Any) -> Any:
            if isinstance(request.messages[-1], ToolMessage):
                return AIMessage("Looked up.")
            return call("look_up", place="Nauru") if request.messages[-1].text == "Look up" else handler(request)

    tooled = Tooled()
    built = agent(
        Scripted(reply=wavering), [tooled.tool], [Canned()], exit_behavior="abstain", checkpointer=InMemorySaver()
    )
    config = {"configurable": {"thread_id": "1"}}
    assert run(built, "sync", config)["uncertainty"]["decision"]["action"] == "abstain"
    state = run(built, "sync", config, {"messages": [HumanMessage("Look up")]})
    assert (tooled.used, state["messages"][-1].text) == (["Nauru"], "Looked up.")


def test_no_sibling_in_streamed_messages() -> None:
    model = Scripted(reply=steady)
    parts = list(agent(model).stream(ASKED, stream_mode="messages"))
    assert "".join(part.text for part, _ in parts).strip() == "Ngerulmud primary"
    assert len(model.siblings) == SIBLINGS


def test_no_sibling_in_messages_streamed_async() -> None:
    async def texts() -> list[str]:
        return [part.text async for part, _ in agent(Scripted(reply=steady)).astream(ASKED, stream_mode="messages")]

    assert "".join(asyncio.run(texts())).strip() == "Ngerulmud primary"


def test_an_abstention_is_streamed_after_the_weak_answer() -> None:
    built = agent(Scripted(reply=wavering), exit_behavior="abstain", abstain_message="I pass.")
    parts = [part for part, _ in built.stream(ASKED, stream_mode="messages")]
    assert "".join(part.text for part in parts) == "Koror weak I pass."
    assert len({part.id for part in parts}) == 2


def test_no_sibling_in_streamed_events() -> None:
    async def events() -> list[Any]:
        return [event async for event in agent(Scripted(reply=steady)).astream_events(ASKED, version="v2")]

    seen = asyncio.run(events())
    tokens = [event["data"]["chunk"].text for event in seen if event["event"] == "on_chat_model_stream"]
    assert "".join(tokens).strip() == "Ngerulmud primary"
    reports = [event["data"] for event in seen if event["event"] == "on_custom_event"]
    assert [report["status"] for report in reports] == ["ok"]


@beta
def test_no_sibling_in_v3_messages() -> None:
    built = agent(Scripted(reply=steady))
    if not hasattr(built, "stream_events"):
        pytest.skip("this langgraph has no stream_events")
    stream = built.stream_events(ASKED, version="v3")
    texts = [str(message.text) for message in stream.messages]
    assert [text.strip() for text in texts] == ["Ngerulmud primary"]
    assert stream.output["uncertainty"]["status"] == "ok"


@beta
def test_no_sibling_in_v3_messages_async() -> None:
    async def texts() -> list[str]:
        stream = await agent(Scripted(reply=steady)).astream_events(ASKED, version="v3")
        return [str(await message.text) async for message in stream.messages]

    if not hasattr(agent(Scripted(reply=steady)), "stream_events"):
        pytest.skip("this langgraph has no stream_events")
    assert [text.strip() for text in asyncio.run(texts())] == ["Ngerulmud primary"]


@both
def test_an_agent_below_a_wrapper_is_scored_by_the_wrapper_alone(how: str) -> None:
    model = Scripted(reply=steady)
    config = {"callbacks": for_primary(CallbackManager(handlers=[]))}  # what wrappers hand down
    state = run(agent(model, exit_behavior="raise", scorer=NOTHING_PASSES), how, config)
    assert [message.text for message in state["messages"]] == [QUESTION, "Ngerulmud primary"]
    assert "uncertainty" not in state
    assert model.siblings == []


def test_overlapping_calls_do_not_mix() -> None:
    def reply(model: Scripted, messages: Sequence[BaseMessage]) -> str:
        return f"sibling of {messages[0].text}" if model.sibling else f"answer {messages[0].text}"

    saver = InMemorySaver()
    built = agent(Scripted(reply=reply), text=True, checkpointer=saver)

    async def ask(number: int) -> Any:
        asked = [SystemMessage(f"number{number}"), HumanMessage(f"{QUESTION} number{number}")]
        return await built.ainvoke({"messages": asked}, {"configurable": {"thread_id": str(number)}})

    async def everyone() -> list[Any]:
        return await asyncio.gather(*map(ask, range(20)))

    for number, state in enumerate(asyncio.run(everyone())):
        report = state["uncertainty"]
        assert state["messages"][-1].text == report["answer"] == f"answer number{number}"
        assert report["question"] == f"{QUESTION} number{number}"
        others = {answer for sibling in report["siblings"][1:] for answer in sibling["answers"]}
        assert others == {f"sibling of number{number}"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"exit_behavior": "end"}, "exit_behavior='end': choose 'annotate', 'abstain' or 'raise'"),
        ({"abstain_message": " "}, "abstain_message=' ': must be a text"),
        ({"abstain_message": None}, "abstain_message=None: must be a text"),
        ({"question": "What?"}, "question='What?': pass a function"),
        ({"scorer": "fast"}, "scorer is a str: pass InvEntropy"),
    ],
)
def test_arguments_are_checked_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message.replace("?", r"\?")):
        InvEntropyMiddleware(**arguments)
