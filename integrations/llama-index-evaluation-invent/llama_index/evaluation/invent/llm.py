"""`UncertainLLM`: a model whose responses carry a report of their uncertainty."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, TypeVar

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
    TextBlock,
)
from llama_index.core.llms import LLM
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools.types import BaseTool
from pydantic import PrivateAttr

from invent_chain import InvEntropy
from invent_chain.errors import ConfigurationError, InputError
from invent_chain.hosting import unscored, without_model
from llama_index.evaluation.invent.ask import LLMAsk
from llama_index.evaluation.invent.scoring import KEY, told, with_remark

logger = logging.getLogger(__name__)

Reply = TypeVar("Reply", ChatResponse, CompletionResponse)


class UncertainLLM(FunctionCallingLLM):
    """Wrap a model; its responses come back with a report in `additional_kwargs["invent"]`, else unchanged.

    The question is the last user message, or the whole prompt of a completion; siblings keep what stands around it. A
    stream is passed on as it comes, and ends with one more chunk without text that carries the report. A turn
    that calls tools is no answer and is not scored. Chat histories never see siblings.

    Args:
        llm: The model. It is never changed.
        scorer: How to score: `InvEntropy(n=..., r=..., similarity=...)`, without a model.
        question: Finds the question in the last user message or prompt, such as a part after "Question:"; what it
            returns must stand in the text. None takes the whole.
        text: Whether the report quotes questions and answers.

    Raises:
        ConfigurationError: `llm` is no model, or the scorer has one of its own.
    """

    llm: LLM
    _scorer: InvEntropy = PrivateAttr()
    _question: Callable[[str], str] | None = PrivateAttr()
    _text: bool = PrivateAttr()

    def __init__(
        self,
        llm: LLM,
        *,
        scorer: InvEntropy | None = None,
        question: Callable[[str], str] | None = None,
        text: bool = False,
    ) -> None:
        if not isinstance(llm, LLM):
            raise ConfigurationError(f"llm is a {type(llm).__name__}: pass a LlamaIndex model")
        names = ("system_prompt", "query_wrapper_prompt", "messages_to_prompt", "completion_to_prompt", "output_parser")
        super().__init__(llm=llm, callback_manager=llm.callback_manager, **{name: getattr(llm, name) for name in names})
        self._scorer, self._question, self._text = without_model(scorer), question, text

    @classmethod
    def class_name(cls) -> str:
        """Return the name of the class."""
        return "uncertain_llm"

    def unscored(self) -> LLM:
        """Return what it wraps."""
        return self.llm

    @property
    def metadata(self) -> LLMMetadata:
        """That of the wrapped model."""
        return self.llm.metadata

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Chat, and score the answer."""
        return self._chatted(messages, self.llm.chat(messages, **kwargs), kwargs)

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Chat, and score the answer."""
        return await self._achatted(messages, await self.llm.achat(messages, **kwargs), kwargs)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Complete, and score the answer."""
        return self._completed(prompt, self.llm.complete(prompt, formatted=formatted, **kwargs), kwargs)

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Complete, and score the answer."""
        found = await self.llm.acomplete(prompt, formatted=formatted, **kwargs)
        return await self._acompleted(prompt, found, kwargs)

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Stream, and end with a chunk that carries the report."""

        def stream() -> Iterator[ChatResponse]:
            last = None
            for last in self.llm.stream_chat(messages, **kwargs):
                yield last
            if last is not None:
                scored = self._chatted(messages, last, kwargs)
                if scored is not last:
                    yield scored.model_copy(update={"delta": ""})

        return stream()  # type: ignore[return-value]  # an iterator, as the frameworks' own are

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """Stream, and end with a chunk that carries the report."""
        chunks = await self.llm.astream_chat(messages, **kwargs)

        async def stream() -> AsyncIterator[ChatResponse]:
            last = None
            async for last in chunks:
                yield last
            if last is not None:
                scored = await self._achatted(messages, last, kwargs)
                if scored is not last:
                    yield scored.model_copy(update={"delta": ""})

        return stream()  # type: ignore[return-value]

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """Stream, and end with a chunk that carries the report."""

        def stream() -> Iterator[CompletionResponse]:
            last = None
            for last in self.llm.stream_complete(prompt, formatted=formatted, **kwargs):
                yield last
            if last is not None:
                yield self._completed(prompt, last, kwargs).model_copy(update={"delta": ""})

        return stream()  # type: ignore[return-value]

    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """Stream, and end with a chunk that carries the report."""
        chunks = await self.llm.astream_complete(prompt, formatted=formatted, **kwargs)

        async def stream() -> AsyncIterator[CompletionResponse]:
            last = None
            async for last in chunks:
                yield last
            if last is not None:
                yield (await self._acompleted(prompt, last, kwargs)).model_copy(update={"delta": ""})

        return stream()  # type: ignore[return-value]

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """Do what the wrapped model does."""
        return self._with_tools().get_tool_calls_from_response(response, error_on_no_tool_call, **kwargs)

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        # By way of the framework's own shim for models that do not know `tool_required`.
        return self._with_tools()._prepare_chat_with_tools_compat(
            tools,
            user_msg=user_msg,
            chat_history=chat_history,
            verbose=verbose,
            allow_parallel_tool_calls=allow_parallel_tool_calls,
            tool_required=tool_required,
            **kwargs,
        )

    def _with_tools(self) -> FunctionCallingLLM:
        if not isinstance(self.llm, FunctionCallingLLM):
            raise ConfigurationError(f"{type(self.llm).__name__} cannot call tools: wrap a model that can")
        return self.llm

    def _chatted(self, messages: Sequence[ChatMessage], found: ChatResponse, settings: dict[str, Any]) -> ChatResponse:
        if self._calls_tools(found):
            return found
        return _with(found, self._score(*self._chat(messages, settings, sync=True), found.message.content or ""))

    async def _achatted(
        self, messages: Sequence[ChatMessage], found: ChatResponse, settings: dict[str, Any]
    ) -> ChatResponse:
        if self._calls_tools(found):
            return found
        ask, question = self._chat(messages, settings, sync=False)
        return _with(found, await self._ascore(ask, question, found.message.content or ""))

    def _completed(self, prompt: str, found: CompletionResponse, settings: dict[str, Any]) -> CompletionResponse:
        return _with(found, self._score(*self._completion(prompt, settings, sync=True), found.text))

    async def _acompleted(self, prompt: str, found: CompletionResponse, settings: dict[str, Any]) -> CompletionResponse:
        return _with(found, await self._ascore(*self._completion(prompt, settings, sync=False), found.text))

    def _calls_tools(self, found: ChatResponse) -> bool:
        if not isinstance(self.llm, FunctionCallingLLM) or not self.llm.metadata.is_function_calling_model:
            return False
        try:
            return bool(self.llm.get_tool_calls_from_response(found, error_on_no_tool_call=False))
        except Exception:  # arguments that are no JSON, say: the caller is to see that, not we
            logger.warning("an answer was not scored: its tool calls cannot be read", exc_info=True)
            return True

    def _chat(self, messages: Sequence[ChatMessage], settings: dict[str, Any], *, sync: bool) -> tuple[LLMAsk, str]:
        """Return what asks siblings, and the question; empty if there is none, which fails the report."""
        history = list(messages)
        at = next((k for k in reversed(range(len(history))) if history[k].role == MessageRole.USER), None)
        text = "" if at is None else history[at].content or ""
        question = self._selected(text)

        def asked(sibling: str) -> list[ChatMessage]:
            if at is None:
                raise InputError("there is no user message")
            other = _with_text(history[at], text.replace(question, sibling))
            return [*history[:at], other, *history[at + 1 :]]

        return LLMAsk(self.llm, messages=asked, settings=settings, sync=sync), question

    def _completion(self, prompt: str, settings: dict[str, Any], *, sync: bool) -> tuple[LLMAsk, str]:
        question = self._selected(prompt)
        ask = LLMAsk(
            self.llm,
            template=lambda sibling: prompt.replace(question, sibling),
            settings=settings,
            sync=sync,
            chat=False,
        )
        return ask, question

    def _selected(self, text: str) -> str:
        if self._question is None:
            return text
        try:
            found = self._question(text)
            stands = found in text  # a TypeError for what is no text
        except Exception:
            logger.warning("question= raised, so an answer is not scored", exc_info=True)
            return ""
        return found if stands else ""

    def _score(self, ask: LLMAsk, question: str, answer: str) -> dict[str, Any]:
        try:
            report = self._scorer.score(question, answer=answer, ask=ask)
        except Exception as error:  # noqa: BLE001 - the answer is there: what goes wrong becomes a failed report
            report = unscored(self._scorer, question, answer, error)
        return told(with_remark(report, self.llm)).to_dict(text=self._text)

    async def _ascore(self, ask: LLMAsk, question: str, answer: str) -> dict[str, Any]:
        try:
            report = await self._scorer.ascore(question, answer=answer, ask=ask)
        except Exception as error:  # noqa: BLE001 - see `_score`
            report = unscored(self._scorer, question, answer, error)
        return told(with_remark(report, self.llm)).to_dict(text=self._text)


def _with_text(message: ChatMessage, text: str) -> ChatMessage:
    """Return the message with another text; images and the like stay."""
    others = [block for block in message.blocks if not isinstance(block, TextBlock)]
    return message.model_copy(update={"blocks": [*others, TextBlock(text=text)]})


def _with(found: Reply, report: dict[str, Any]) -> Reply:
    return found.model_copy(update={"additional_kwargs": {**found.additional_kwargs, KEY: report}})
