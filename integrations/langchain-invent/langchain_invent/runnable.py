"""`with_uncertainty`: wrap a chain or generation step; its output stays, a report of its uncertainty comes along."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

from langchain_core.callbacks.manager import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig, RunnableSerializable
from langchain_core.runnables.history import RunnableWithMessageHistory
from langchain_core.runnables.utils import AddableDict, ConfigurableFieldSpec
from langchain_core.tools import BaseTool
from pydantic import ConfigDict

from invent_chain import InvEntropy, UncertaintyReport
from invent_chain.errors import ConfigurationError
from invent_chain.split import halves
from langchain_invent.ask import unbound
from langchain_invent.call import Call, Plan, Siblings
from langchain_invent.messages import KEY, QuestionSelector, last_human_text
from langchain_invent.parts import runnables
from langchain_invent.scoring import scoring
from langchain_invent.trace import SiblingCallbacks

OutputMode = Literal["message", "pair", "collector"]


def with_uncertainty(
    runnable: Runnable[Any, Any],
    *,
    model: Runnable[Any, Any] | None = None,
    scorer: InvEntropy | None = None,
    input_key: str = "question",
    question: QuestionSelector = last_human_text,
    siblings: Siblings = "generation",
    output: OutputMode = "message",
    text: bool = False,
    feedback: bool = False,
    sibling_callbacks: SiblingCallbacks = "tracers",
) -> UncertaintyRunnable:
    """Wrap a chain or generation step; its output comes back unchanged, with a report of its uncertainty.

    A sibling is one more run of a copy of the runnable, whose models have the siblings' temperature and no cache, on
    an input in which the question is perturbed. Retrievers that are visible in the runnable are not asked again:
    siblings get the documents that were found for the original question. What is hidden in functions runs again as it
    is, so wrap the generation step where you can.

    Args:
        runnable: What answers. It is never changed.
        model: Ask siblings of this chat model, with the prompt that the runnable's last model call saw, instead of
            running the runnable again. For runnables that act (tools, graphs, histories) or hide their model in a
            function. The answer that is scored is then that call's.
        scorer: How to score: `InvEntropy(n=..., r=..., similarity=...)`, without a model. The default compares
            answers by their words; pass `similarity=` a sentence encoder to compare meanings.
        input_key: Key of the question where the input is a mapping. Its value is a text or messages.
        question: Finds the question where the input (or the value at `input_key`, or with `model=` the prompt) is
            messages; by default the text of the last human message. See `after`.
        siblings: "generation" keeps the retrieved context; "chain" retrieves again for about half of the siblings, so
            that the report tells `retrieval` from `generation` uncertainty (in `report.measures`, both 0 to 1,
            higher = more uncertain).
        output: "message" puts the report on the message that comes back (`response_metadata["invent"]`) and leaves
            other outputs alone; "pair" gives `{"output": ..., "report": UncertaintyReport}`; "collector" leaves every
            output alone. `get_invent_callback` collects the reports in each case.
        text: Whether reports on messages and traces quote questions and answers.
        feedback: Whether the score is sent to LangSmith as feedback too.
        sibling_callbacks: Which callback handlers see the runs of siblings: "tracers" (what traces runs and counts
            tokens) or "all". Handlers that stream to the user never do.

    Raises:
        ConfigurationError: A setting is wrong, or siblings would act; the message says what to pass instead.
    """
    if not isinstance(runnable, Runnable):
        raise ConfigurationError(f"with_uncertainty got a {type(runnable).__name__}: pass a runnable")
    if siblings not in ("generation", "chain"):
        raise ConfigurationError(f"siblings={siblings!r}: choose 'generation' or 'chain'")
    if output not in ("message", "pair", "collector"):
        raise ConfigurationError(f"output={output!r}: choose 'message', 'pair' or 'collector'")
    if model is None:
        _check_harmless(runnable)
    elif unbound(model)[0] is None:
        raise ConfigurationError(f"model is a {type(model).__name__}: pass a chat model, bound or not")
    elif siblings == "chain":
        raise ConfigurationError("siblings='chain' runs the chain again, model=... does not: choose one of the two")
    how = scoring(scorer, text=text, feedback=feedback, sibling_callbacks=sibling_callbacks)
    return UncertaintyRunnable(
        bound=runnable,
        plan=Plan(
            scoring=how,
            model=model,
            input_key=input_key,
            question=question,
            siblings=siblings,
            split=halves(how.scorer) if siblings == "chain" else (),
        ),
        output=output,
    )


def _check_harmless(runnable: Runnable[Any, Any]) -> None:
    names: set[str] = set()
    for part in runnables(runnable):
        if isinstance(part, BaseTool):
            raise ConfigurationError(
                f"the runnable runs the tool {part.name!r} and siblings must not act: pass model=... to ask siblings "
                "of the model alone"
            )
        if isinstance(part, RunnableWithMessageHistory) or type(part).__module__.startswith("langgraph."):
            raise ConfigurationError(
                f"the runnable holds a {type(part).__name__}, whose state siblings would change: pass model=... to "
                "ask siblings of the model alone"
            )
        if isinstance(part, BaseRetriever):
            if part.get_name() in names:
                raise ConfigurationError(
                    f"two retrievers are named {part.get_name()!r}, so that their documents cannot be told apart: "
                    "name them, such as store.as_retriever(name='manuals')"
                )
            names.add(part.get_name())


class UncertaintyRunnable(RunnableSerializable[Any, Any]):
    """A runnable that scores the answers of another one; made by `with_uncertainty`.

    `invoke`, `batch`, `stream`, their async twins, `astream_events`, `with_fallbacks`, `with_retry`, `bind`,
    `with_config` and `|` work as on the wrapped runnable, and its `configurable` fields go through. In a stream the
    wrapped chunks come as they are; the report comes after the last of them.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    bound: Runnable[Any, Any]
    plan: Plan
    output: OutputMode

    def unscored(self) -> Runnable[Any, Any]:
        """Return the wrapped runnable."""
        return self.bound

    @property
    def InputType(self) -> Any:  # noqa: N802 - the framework's name
        """The wrapped runnable's."""
        return self.bound.InputType

    @property
    def OutputType(self) -> Any:  # noqa: N802 - the framework's name
        """The wrapped runnable's, or a mapping for `output="pair"`."""
        return dict[str, Any] if self.output == "pair" else self.bound.OutputType

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """The wrapped runnable's."""
        return self.bound.config_specs

    def get_name(self, suffix: str | None = None, *, name: str | None = None) -> str:
        """Return the name in traces."""
        return super().get_name(suffix, name=name or self.name or f"Uncertainty<{self.bound.get_name()}>")

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """Run the wrapped runnable and score its answer."""
        return self._call_with_config(self._invoke, input, config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """Run the wrapped runnable and score its answer."""
        return await self._acall_with_config(self._ainvoke, input, config, **kwargs)

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:  # noqa: A002
        """Stream the wrapped runnable's chunks, then the report."""
        yield from self.transform(iter([input]), config, **kwargs)

    async def astream(  # noqa: D102 - as `stream`
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        async def inputs() -> AsyncIterator[Any]:
            yield input

        async for chunk in self.atransform(inputs(), config, **kwargs):
            yield chunk

    def transform(
        self,
        input: Iterator[Any],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """Stream over a streamed input, which is gathered first, since the question must be whole."""
        yield from self._transform_stream_with_config(input, self._transform, config, **kwargs)

    async def atransform(  # noqa: D102 - as `transform`
        self,
        input: AsyncIterator[Any],  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        async for chunk in self._atransform_stream_with_config(input, self._atransform, config, **kwargs):
            yield chunk

    def _invoke(
        self, given: Any, run_manager: CallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Any:
        call = Call(self.bound, self.plan, given, run_manager, config, kwargs)
        output = self.bound.invoke(given, call.primary_config(), **kwargs)
        return output if call.nested else self._joined(output, call.score(output))

    async def _ainvoke(
        self, given: Any, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Any:
        call = Call(self.bound, self.plan, given, run_manager, config, kwargs)
        output = await self.bound.ainvoke(given, call.primary_config(), **kwargs)
        return output if call.nested else self._joined(output, await call.ascore(output))

    def _transform(
        self, inputs: Iterator[Any], run_manager: CallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Iterator[Any]:
        given = _Sum()
        for part in inputs:
            given.add(part)
        call = Call(self.bound, self.plan, given.value, run_manager, config, kwargs)
        output = _Sum()
        for chunk in self.bound.stream(given.value, call.primary_config(), **kwargs):
            output.add(chunk)
            yield self._chunk(chunk, call)
        if not call.nested and output.begun:
            yield from self._last_chunks(output.value, call.score(output.value))

    async def _atransform(
        self,
        inputs: AsyncIterator[Any],
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        given = _Sum()
        async for part in inputs:
            given.add(part)
        call = Call(self.bound, self.plan, given.value, run_manager, config, kwargs)
        output = _Sum()
        async for chunk in self.bound.astream(given.value, call.primary_config(), **kwargs):
            output.add(chunk)
            yield self._chunk(chunk, call)
        if not call.nested and output.begun:
            for chunk in self._last_chunks(output.value, await call.ascore(output.value)):
                yield chunk

    def _joined(self, output: Any, report: UncertaintyReport) -> Any:
        if self.output == "pair":
            return {"output": output, "report": report}
        if self.output == "message" and isinstance(output, AIMessage):
            metadata = {**output.response_metadata, KEY: self.plan.scoring.payload(report)}
            return output.model_copy(update={"response_metadata": metadata})
        return output

    def _chunk(self, chunk: Any, call: Call) -> Any:
        return AddableDict(output=chunk) if self.output == "pair" and not call.nested else chunk

    def _last_chunks(self, output: Any, report: UncertaintyReport) -> Iterator[Any]:
        if self.output == "pair":
            yield AddableDict(report=report)
        elif self.output == "message" and isinstance(output, AIMessageChunk):
            empty: Any = "" if isinstance(output.content, str) else []
            yield AIMessageChunk(
                content=empty,
                id=output.id,
                response_metadata={KEY: self.plan.scoring.payload(report)},
                chunk_position="last",
            )


class _Sum:
    """Adds up the chunks of a stream; where they cannot be added, the last one stands."""

    def __init__(self) -> None:
        self.value: Any = None
        self.begun = False
        self._addable = True

    def add(self, chunk: Any) -> None:
        if not self.begun or not self._addable:
            self.value, self.begun = chunk, True
            return
        try:
            self.value = self.value + chunk
        except TypeError:
            self.value, self._addable = chunk, False
