"""A scripted chat model that records what it was asked; a private field shared by all copies holds the record."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import ConfigDict


class Record:
    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.lock = threading.Lock()

    def add(self, **call: Any) -> int:
        with self.lock:
            self.calls.append(call)
            return len(self.calls)


class Scripted(BaseChatModel):
    """Answers with `script(messages, number of the call)`, a text or an `AIMessage`."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    script: Callable[[list[BaseMessage], int], Any]
    record: Record
    temperature: float | None = 0.0
    n: int | None = None
    model_name: str = "scripted"

    @property
    def _llm_type(self) -> str:
        return "scripted"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"temperature": self.temperature, "model_name": self.model_name}

    def bind_tools(self, tools: Any, *, tool_choice: Any = None, **kwargs: Any) -> Any:
        return self.bind(tools=list(tools), **kwargs)

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return ChatResult(
            generations=[ChatGeneration(message=self._answer(messages, kwargs)) for _ in range(self.n or 1)]
        )

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Iterator[Any]:
        answer = self._answer(messages, kwargs)
        for word in answer.text.split(" "):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word + " "))

    def _answer(self, messages: list[BaseMessage], kwargs: dict[str, Any]) -> AIMessage:
        number = self.record.add(messages=messages, temperature=self.temperature, kwargs=kwargs, n=self.n)
        answer = self.script(messages, number)
        if isinstance(answer, Exception):
            raise answer
        return (
            answer
            if isinstance(answer, AIMessage)
            else AIMessage(answer, usage_metadata=_usage(), response_metadata={"model_name": self.model_name})
        )


def _usage() -> Any:
    return {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}


def scripted(script: Callable[[list[BaseMessage], int], Any] | str = "Paris", **fields: Any) -> Scripted:
    answer = script if callable(script) else lambda _messages, _number: script
    return Scripted(script=answer, record=Record(), **fields)
