"""`UncertainChatModel`: any chat model, with a report of its uncertainty on every message."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.callbacks.manager import (
    AsyncCallbackManager,
    AsyncCallbackManagerForLLMRun,
    BaseRunManager,
    CallbackManager,
    CallbackManagerForLLMRun,
)
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.outputs.chat_generation import merge_chat_generation_chunks
from langchain_core.runnables import Runnable, RunnableConfig, ensure_config
from langchain_core.tools import BaseTool
from langchain_core.utils.uuid import uuid7
from pydantic import ConfigDict, PrivateAttr

from invent_chain import InvEntropy, UncertaintyReport
from invent_chain.errors import ConfigurationError
from langchain_invent.ask import ChatModelAsk, model_name
from langchain_invent.messages import KEY, QuestionSelector, answer_text, last_human_text, with_question
from langchain_invent.parts import replaced
from langchain_invent.scoring import Answered, Judge, Scoring, scoring, with_remark
from langchain_invent.trace import SiblingCallbacks, role

_TAKEN_OVER = (
    "cache", "callbacks", "custom_get_token_ids", "disable_streaming", "metadata", "name", "output_version", "profile",
    "rate_limiter", "tags", "verbose",
)  # fmt: skip
"""What the base class does with a model around its own methods; the wrapper does it in the wrapped model's stead."""


class UncertainChatModel(BaseChatModel):
    """A chat model whose messages carry a report of their uncertainty (`response_metadata["invent"]`).

    Answers, streamed tokens, tools, structured output, caching and callbacks are the wrapped model's. In a stream the
    report comes on one last, empty chunk. For tool calls and structured output the report's `structure` says how far
    siblings agree on the tool, its arguments and the fields; nothing is executed.

    Args:
        model: The chat model. It is never changed.
        scorer: How to score: `InvEntropy(n=..., r=..., similarity=...)`, without a model.
        question: Finds the question in the messages; by default the text of the last human message. Where prompts
            hold context and question in one message, name the question, since context must not be perturbed:
            `question=after("Question:")`.
        text: Whether reports on messages and traces quote questions and answers.
        feedback: Whether the score is sent to LangSmith as feedback too.
        sibling_callbacks: Which callback handlers see the runs of siblings: "tracers" (what traces runs and counts
            tokens) or "all". Handlers that stream to the user never do.

    Raises:
        ConfigurationError: `model` is no chat model, or scores its answers already.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    inner: BaseChatModel
    scoring: Scoring
    question: Callable[[Sequence[BaseMessage]], str] = last_human_text
    _run: BaseRunManager | None = PrivateAttr(default=None)

    def __init__(
        self,
        model: BaseChatModel,
        *,
        scorer: InvEntropy | None = None,
        question: QuestionSelector = last_human_text,
        text: bool = False,
        feedback: bool = False,
        sibling_callbacks: SiblingCallbacks = "tracers",
    ) -> None:
        given: object = model
        if not isinstance(given, BaseChatModel) or isinstance(given, UncertainChatModel):
            raise ConfigurationError(f"UncertainChatModel got a {type(model).__name__}: pass a chat model")
        how = scoring(scorer, text=text, feedback=feedback, sibling_callbacks=sibling_callbacks)
        taken = {name: getattr(model, name) for name in _TAKEN_OVER}
        super().__init__(inner=model, scoring=how, question=question, **taken)  # type: ignore[call-arg]

    def unscored(self) -> BaseChatModel:
        """Return the wrapped model."""
        return self.inner

    @property
    def _llm_type(self) -> str:
        return self.inner._llm_type

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return dict(self.inner._identifying_params)

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        # A response cache keeps the report with the answer, so the scorer is part of its key: an answer cached for the
        # bare model has no report.
        return f"{self.inner._get_llm_string(stop, **kwargs)} {KEY}: {self.scoring.scorer.fingerprint}"

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return self.inner._get_ls_params(stop=stop, **kwargs)

    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        return self.inner._get_invocation_params(stop=stop, **kwargs)

    def _combine_llm_outputs(self, llm_outputs: list[dict[str, Any] | None]) -> dict[str, Any]:
        return self.inner._combine_llm_outputs(llm_outputs)

    def get_num_tokens(self, text: str) -> int:
        """Count as the wrapped model does."""
        return self.inner.get_num_tokens(text)

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> int:
        """Count as the wrapped model does."""
        return self.inner.get_num_tokens_from_messages(messages, *args, **kwargs)

    def get_token_ids(self, text: str) -> list[int]:
        """Split as the wrapped model does."""
        return self.inner.get_token_ids(text)

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools in the wrapped model's own way."""
        choice = {} if tool_choice is None else {"tool_choice": tool_choice}
        return self._around(self.inner.bind_tools(tools, **choice, **kwargs))

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Ask for structure in the wrapped model's own way.

        The report is on the raw message: take it with `include_raw=True` or `get_invent_callback`.
        """
        return self._around(self.inner.with_structured_output(schema, include_raw=include_raw, **kwargs))

    def _around(self, runnable: Runnable[Any, Any]) -> Runnable[Any, Any]:
        """Return a copy of a runnable made by the wrapped model that calls this model instead."""
        found = False

        def change(part: Runnable[Any, Any]) -> Runnable[Any, Any] | None:
            nonlocal found
            if part is self.inner:
                found = True
                return self
            return None

        changed: Runnable[Any, Any] = replaced(runnable, change)
        if not found:
            raise ConfigurationError(
                f"{type(self.inner).__name__} hides itself in what it makes here, so that its answers cannot be "
                "scored: bind on the bare model and wrap the result with with_uncertainty(..., model=...)"
            )
        return changed

    # The streaming methods get no run manager, but siblings have to hang below the run. So each call is made on a copy
    # of this object that knows its run.

    def _for_run(self, run: BaseRunManager | None) -> UncertainChatModel:
        call = self.model_copy()
        call._run = run
        return call

    def _for_stream(
        self, manager: BaseCallbackManager, config: RunnableConfig
    ) -> tuple[UncertainChatModel, RunnableConfig]:
        """Choose the id of the run before the base class opens it with the same handlers."""
        known = manager.copy()
        known.add_tags(config.get("tags") or [])
        known.add_metadata(config.get("metadata") or {})
        run = CallbackManagerForLLMRun(
            run_id=config.get("run_id") or uuid7(),
            handlers=known.handlers,
            inheritable_handlers=known.inheritable_handlers,
            parent_run_id=known.parent_run_id,
            tags=known.tags,
            inheritable_tags=known.inheritable_tags,
            metadata=known.metadata,
            inheritable_metadata=known.inheritable_metadata,
        )
        return self._for_run(run), {**config, "callbacks": manager, "run_id": run.run_id}

    def _generate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self._for_run(run_manager)
        return super(UncertainChatModel, call)._generate_with_cache(messages, stop, run_manager, **kwargs)

    async def _agenerate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self._for_run(run_manager)
        return await super(UncertainChatModel, call)._agenerate_with_cache(messages, stop, run_manager, **kwargs)

    def stream(  # noqa: D102 - the base class's
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        config = ensure_config(config)
        manager = CallbackManager.configure(config.get("callbacks"))
        call, config = self._for_stream(manager, config)
        yield from super(UncertainChatModel, call).stream(input, config, stop=stop, **kwargs)

    async def astream(  # noqa: D102 - the base class's
        self,
        input: LanguageModelInput,  # noqa: A002
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        config = ensure_config(config)
        manager = AsyncCallbackManager.configure(config.get("callbacks"))
        call, config = self._for_stream(manager, config)
        async for chunk in super(UncertainChatModel, call).astream(input, config, stop=stop, **kwargs):
            yield chunk

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        result = self.inner._generate(messages, stop=stop, run_manager=run_manager, **kwargs)
        plan = self._plan(messages, result.generations[0] if result.generations else None, stop, kwargs)
        return result if plan is None else self._with_report(result, self.scoring.score(*plan))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        result = await self.inner._agenerate(messages, stop=stop, run_manager=run_manager, **kwargs)
        plan = self._plan(messages, result.generations[0] if result.generations else None, stop, kwargs)
        return result if plan is None else self._with_report(result, await self.scoring.ascore(*plan))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        chunks: list[ChatGenerationChunk] = []
        for chunk in self.inner._stream(messages, stop=stop, run_manager=run_manager, **kwargs):
            chunks.append(chunk)
            yield chunk
        plan = self._plan(messages, merge_chat_generation_chunks(chunks), stop, kwargs)
        if plan is not None:
            yield self._last_chunk(chunks[-1], self.scoring.score(*plan))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        chunks: list[ChatGenerationChunk] = []
        async for chunk in self.inner._astream(messages, stop=stop, run_manager=run_manager, **kwargs):
            chunks.append(chunk)
            yield chunk
        plan = self._plan(messages, merge_chat_generation_chunks(chunks), stop, kwargs)
        if plan is not None:
            yield self._last_chunk(chunks[-1], await self.scoring.ascore(*plan))

    def _should_stream(self, *, async_api: bool, **kwargs: Any) -> bool:
        return self.inner._should_stream(async_api=async_api, **kwargs)

    def _should_use_protocol_streaming(self, *, async_api: bool, **kwargs: Any) -> bool:
        return self.inner._should_use_protocol_streaming(async_api=async_api, **kwargs)

    def _plan(
        self,
        messages: Sequence[BaseMessage],
        generation: ChatGeneration | None,
        stop: list[str] | None,
        settings: dict[str, Any],
    ) -> tuple[Answered, Judge] | None:
        """Return what to score and how; None below a wrapper, which scores itself, and where nothing came."""
        run = self._run
        if generation is None or (run is not None and role(run.metadata) is not None):
            return None
        answer, name = answer_text(generation.message), model_name(self.inner)
        try:
            question = self.question(messages)
        except Exception:  # noqa: BLE001 - raised again in `judge`, where it fails the report and not the answer
            question = ""
        config = ensure_config() if run is None else RunnableConfig()

        async def judge(config: RunnableConfig, sync: bool) -> UncertaintyReport:
            question = self.question(messages)
            ask = ChatModelAsk(
                self.inner,
                messages=lambda sibling: with_question(messages, question, sibling),
                config=config,
                settings=settings if stop is None else {**settings, "stop": stop},
                sync=sync,
            )
            report = await self.scoring.scorer.ascore(question, answer=answer, ask=ask)
            return with_remark(report, question, self.question)

        return Answered(question, answer, name, config, run), judge

    def _with_report(self, result: ChatResult, report: UncertaintyReport) -> ChatResult:
        first, *others = result.generations
        metadata = {**first.message.response_metadata, KEY: self.scoring.payload(report)}
        message = first.message.model_copy(update={"response_metadata": metadata})
        generations = [first.model_copy(update={"message": message}), *others]
        return result.model_copy(update={"generations": generations})

    def _last_chunk(self, before: ChatGenerationChunk, report: UncertaintyReport) -> ChatGenerationChunk:
        empty: Any = "" if isinstance(before.message.content, str) else []
        metadata = {KEY: self.scoring.payload(report)}
        return ChatGenerationChunk(
            message=AIMessageChunk(content=empty, response_metadata=metadata, chunk_position="last")
        )
