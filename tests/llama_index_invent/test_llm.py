"""`UncertainLLM` in chats, completions, streams, chat engines, and below a query engine."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatResponse, ImageBlock, LLMMetadata, TextBlock
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.llms import ChatMessage, CompletionResponse, MockLLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.tools import FunctionTool

from invent_chain import InvEntropy
from invent_chain.errors import ConfigurationError
from llama_index.evaluation.invent import UncertainLLM, UncertaintyQueryEngine
from tests.llama_index_invent.test_engines import QUESTION, Scripted, engine_of, scorer, unsure

HISTORY = [
    ChatMessage(role="system", content="You sell tickets."),
    ChatMessage(role="user", content="Hello"),
    ChatMessage(role="assistant", content="Hello!"),
    ChatMessage(role="user", content=QUESTION),
]


def test_a_chat_keeps_its_answer_and_its_history_around_siblings() -> None:
    inner = Scripted()
    plain = inner.chat(HISTORY)
    found = UncertainLLM(inner, scorer=scorer()).chat(HISTORY)
    assert found.message == plain.message
    assert found.additional_kwargs["invent"]["score"] == 0.0
    siblings = [prompt for prompt, temperature in inner.asked if temperature == 0.7]
    assert len(siblings) == 5
    assert all("You sell tickets." in prompt and "Hello!" in prompt for prompt in siblings)
    assert sum("Ferry time to the island?" in prompt and QUESTION not in prompt for prompt in siblings) == 2
    assert inner.temperature == 0.0


@pytest.mark.parametrize("asynchronous", [False, True])
def test_completions(asynchronous: bool) -> None:
    llm = UncertainLLM(Scripted(unsure), scorer=scorer())
    found = asyncio.run(llm.acomplete(QUESTION)) if asynchronous else llm.complete(QUESTION)
    assert found.text == "at nine"
    assert found.additional_kwargs["invent"]["decision"]["action"] == "abstain"


def test_a_stream_ends_with_the_report() -> None:
    inner = Scripted()
    chunks = UncertainLLM(inner, scorer=scorer()).stream_chat(HISTORY)
    first = next(chunks)
    assert first.delta == "a"
    assert len(inner.asked) == 1  # nothing is asked before the last token is out
    rest = list(chunks)
    assert "".join(chunk.delta or "" for chunk in (first, *rest)) == "at nine"
    assert [("invent" in chunk.additional_kwargs) for chunk in rest] == [False] * (len(rest) - 1) + [True]
    assert rest[-1].message.content == "at nine"
    last = list(UncertainLLM(inner, scorer=scorer()).stream_complete(QUESTION))[-1]
    assert (last.delta, last.text, last.additional_kwargs["invent"]["score"]) == ("", "at nine", 0.0)


def test_async_streams() -> None:
    async def run() -> tuple[list[Any], list[Any]]:
        llm = UncertainLLM(Scripted(), scorer=scorer())
        chat = [chunk async for chunk in await llm.astream_chat(HISTORY)]
        return chat, [chunk async for chunk in await llm.astream_complete(QUESTION)]

    for chunks in asyncio.run(run()):
        assert "".join(chunk.delta or "" for chunk in chunks) == "at nine"
        assert chunks[-1].additional_kwargs["invent"]["status"] == "ok"


def test_a_chat_engine_remembers_no_sibling() -> None:
    engine = SimpleChatEngine.from_defaults(
        llm=UncertainLLM(Scripted(unsure), scorer=scorer()), memory=ChatMemoryBuffer.from_defaults()
    )
    assert str(engine.chat(QUESTION)) == "at nine"
    assert str(engine.chat("And on Sundays?")) == "at nine"
    assert [message.content for message in engine.chat_history] == [QUESTION, "at nine", "And on Sundays?", "at nine"]


def test_below_a_scored_engine_siblings_are_not_scored_again() -> None:
    inner = Scripted()
    engine = engine_of(UncertainLLM(inner, scorer=scorer()))  # type: ignore[arg-type]
    found = UncertaintyQueryEngine(engine, scorer=scorer()).query(QUESTION)
    assert found.metadata["invent"]["score"] == 0.0
    assert [temperature for _, temperature in inner.asked].count(0.7) <= 2 * 5


def test_the_question_can_be_a_part_of_the_prompt() -> None:
    inner = Scripted()
    llm = UncertainLLM(inner, scorer=scorer(), question=lambda text: text.partition("Question: ")[2], text=True)
    found = llm.complete(f"Notes: nine.\nQuestion: {QUESTION}")
    assert found.additional_kwargs["invent"]["question"] == QUESTION
    assert all(prompt.startswith("Notes: nine.") for prompt, _ in inner.asked)
    lost = llm.complete("Notes: nine.")
    assert (lost.text, lost.additional_kwargs["invent"]["status"]) == ("at nine", "failed")


def test_images_stay_beside_the_question() -> None:
    seen: list[list[ChatMessage]] = []

    class Eyes(Scripted):
        def chat(self, messages: Any, **kwargs: Any) -> Any:
            seen.append(list(messages))
            return super().chat([ChatMessage(role="user", content="?")], **kwargs)

    image = ImageBlock(image=b"x", image_mimetype="image/png")
    given = ChatMessage(role="user", blocks=[image, TextBlock(text=QUESTION)])
    UncertainLLM(Eyes(), scorer=scorer()).chat([given])
    assert len(seen) == 6
    assert all(any(isinstance(block, ImageBlock) for block in messages[0].blocks) for messages in seen)
    assert given.blocks[1] == TextBlock(text=QUESTION)


def test_wrong_settings_are_told() -> None:
    with pytest.raises(ConfigurationError, match="llm is a str"):
        UncertainLLM("gpt")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="model of its own"):
        UncertainLLM(Scripted(), scorer=InvEntropy(lambda _q: "x"))
    with pytest.raises(ConfigurationError, match="cannot call tools"):
        UncertainLLM(Scripted()).chat_with_tools([], "hello")


def test_a_model_without_a_temperature_is_told() -> None:
    found = UncertainLLM(MockLLM(), scorer=scorer(), text=True).complete(QUESTION)
    assert "MockLLM has no setting temperature: siblings ran with its own" in found.additional_kwargs["invent"]["notes"]


class Tooled(FunctionCallingLLM):
    """Calls the tool it is given; without one it answers."""

    temperature: float = 0.0

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="tooled", is_chat_model=True, is_function_calling_model=True)

    def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        calls = [{"name": name} for name in kwargs.get("tools", [])]
        content = None if calls else "at nine"
        message = ChatMessage(role="assistant", content=content, additional_kwargs={"tool_calls": calls})
        return ChatResponse(message=message)

    async def achat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        return self.chat(messages, **kwargs)

    def _prepare_chat_with_tools(self, tools: Any, user_msg: Any = None, **kwargs: Any) -> dict[str, Any]:
        messages = [ChatMessage(role="user", content=user_msg)]
        return {"messages": messages, "tools": [tool.metadata.name for tool in tools]}

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        calls = response.message.additional_kwargs["tool_calls"]
        return [ToolSelection(tool_id=str(k), tool_name=c["name"], tool_kwargs={}) for k, c in enumerate(calls)]

    def _unused(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    complete = stream_chat = stream_complete = acomplete = astream_chat = astream_complete = _unused


def ferry() -> str:
    """Say when the ferry sails."""
    return "at nine"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_tools_work_as_before_and_a_call_of_them_is_no_answer(asynchronous: bool) -> None:
    llm = UncertainLLM(Tooled(), scorer=scorer())
    tool = FunctionTool.from_defaults(ferry)
    if asynchronous:
        found = asyncio.run(llm.achat_with_tools([tool], QUESTION))
    else:
        found = llm.chat_with_tools([tool], QUESTION)
    assert [call.tool_name for call in llm.get_tool_calls_from_response(found)] == ["ferry"]
    assert "invent" not in found.additional_kwargs
    assert llm.chat([ChatMessage(role="user", content=QUESTION)]).additional_kwargs["invent"]["score"] == 0.0
    assert llm.metadata.is_function_calling_model


def test_the_calls_own_settings_do_not_undo_those_of_siblings() -> None:
    seen: list[dict[str, Any]] = []

    class Takes(Scripted):
        def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
            seen.append(kwargs)
            return super().complete(prompt, formatted)

    UncertainLLM(Takes(), scorer=scorer()).complete(QUESTION, temperature=0.0, seed=1, stop=["!"])
    assert seen[0] == {"temperature": 0.0, "seed": 1, "stop": ["!"]}
    assert seen[1:] == [{"stop": ["!"]}] * 5


def test_what_raises_after_the_answer_never_costs_it() -> None:
    def broken(_text: str) -> str:
        raise RuntimeError("no question here")

    class Garbled(Tooled):
        def get_tool_calls_from_response(self, *args: Any, **kwargs: Any) -> Any:
            raise ValueError("no JSON")

    found = UncertainLLM(Scripted(), scorer=scorer(), question=broken).complete(QUESTION)
    assert (found.text, found.additional_kwargs["invent"]["status"]) == ("at nine", "failed")
    assert UncertainLLM(Garbled(), scorer=scorer()).chat(HISTORY).message.content == "at nine"
