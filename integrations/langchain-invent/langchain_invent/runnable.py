"""`with_uncertainty`: wrap a chain or generation step; its output stays, a report of its uncertainty comes along."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

import anyio
from langchain_core.callbacks import BaseCallbackManager
from langchain_core.callbacks.manager import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.globals import get_llm_cache
from langchain_core.language_models import BaseChatModel, BaseLanguageModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig, RunnableSerializable
from langchain_core.runnables.config import patch_config
from langchain_core.runnables.history import RunnableWithMessageHistory
from langchain_core.runnables.utils import AddableDict, ConfigurableFieldSpec
from langchain_core.tools import BaseTool
from pydantic import ConfigDict

from invent_chain import InvEntropy, UncertaintyReport
from invent_chain.errors import ConfigurationError, InputError
from invent_chain.types import Status
from langchain_invent.ask import ChatModelAsk, RunnableAsk, model_name, unbound
from langchain_invent.messages import KEY, QuestionSelector, answer_text, last_human_text, with_question
from langchain_invent.parts import runnables
from langchain_invent.scoring import Answered, Judge, Scoring, scoring
from langchain_invent.subject import Subject, subject_of
from langchain_invent.trace import SiblingCallbacks, for_primary, role
from langchain_invent.watch import Watch

Siblings = Literal["generation", "chain"]
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
        model=model,
        scoring=how,
        split=halves(how.scorer) if siblings == "chain" else (),
        input_key=input_key,
        question=question,
        siblings=siblings,
        output=output,
    )


def halves(scorer: InvEntropy) -> tuple[InvEntropy, InvEntropy]:
    """Return scorers that share the replications of one: for siblings that retrieve again, and that do not."""
    kept = max(1, scorer.fingerprint.r // 2)
    return scorer.replace(r=max(1, scorer.fingerprint.r - kept)), scorer.replace(r=kept)


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
    """A runnable that scores the answers of another one; made by `with_uncertainty`, which says what the fields mean.

    `invoke`, `batch`, `stream`, their async twins, `astream_events`, `with_fallbacks`, `with_retry`, `bind`,
    `with_config` and `|` work as on the wrapped runnable, and its `configurable` fields go through. In a stream the
    wrapped chunks come as they are; the report comes after the last of them.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    bound: Runnable[Any, Any]
    model: Runnable[Any, Any] | None
    scoring: Scoring
    split: tuple[InvEntropy, ...]
    input_key: str
    question: Callable[[Sequence[BaseMessage]], str]
    siblings: Siblings
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
        call = _Call(self, given, run_manager, config, kwargs)
        output = self.bound.invoke(given, call.primary_config(), **kwargs)
        return output if call.nested else self._joined(output, call.score(output))

    async def _ainvoke(
        self, given: Any, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Any:
        call = _Call(self, given, run_manager, config, kwargs)
        output = await self.bound.ainvoke(given, call.primary_config(), **kwargs)
        return output if call.nested else self._joined(output, await call.ascore(output))

    def _transform(
        self, inputs: Iterator[Any], run_manager: CallbackManagerForChainRun, config: RunnableConfig, **kwargs: Any
    ) -> Iterator[Any]:
        given = _Sum()
        for part in inputs:
            given.add(part)
        call = _Call(self, given.value, run_manager, config, kwargs)
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
        call = _Call(self, given.value, run_manager, config, kwargs)
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
            metadata = {**output.response_metadata, KEY: self.scoring.payload(report)}
            return output.model_copy(update={"response_metadata": metadata})
        return output

    def _chunk(self, chunk: Any, call: _Call) -> Any:
        return AddableDict(output=chunk) if self.output == "pair" and not call.nested else chunk

    def _last_chunks(self, output: Any, report: UncertaintyReport) -> Iterator[Any]:
        if self.output == "pair":
            yield AddableDict(report=report)
        elif self.output == "message" and isinstance(output, AIMessageChunk):
            empty: Any = "" if isinstance(output.content, str) else []
            yield AIMessageChunk(
                content=empty,
                id=output.id,
                response_metadata={KEY: self.scoring.payload(report)},
                chunk_position="last",
            )


class _Call:
    """One call of an `UncertaintyRunnable`: what is asked, what was seen below, how siblings are asked."""

    def __init__(
        self,
        shell: UncertaintyRunnable,
        given: Any,
        run: CallbackManagerForChainRun | AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        settings: Mapping[str, Any],
    ) -> None:
        self.nested = role(run.metadata) is not None
        self._shell, self._run, self._config, self._settings = shell, run, config, settings
        self._watch = Watch()
        self._subject: Subject | None = None
        try:
            self._subject = subject_of(given, shell.input_key, shell.question)
        except InputError:
            if shell.model is None:  # else the question may yet be found in the prompt
                raise

    def primary_config(self) -> RunnableConfig:
        manager = self._run.get_child()
        return patch_config(self._config, callbacks=manager if self.nested else for_primary(manager, self._watch))

    def score(self, output: Any) -> UncertaintyReport:
        answered, judge = self._plan(output)
        return self._shell.scoring.score(answered, judge)

    async def ascore(self, output: Any) -> UncertaintyReport:
        answered, judge = self._plan(output)
        return await self._shell.scoring.ascore(answered, judge)

    def _plan(self, output: Any) -> tuple[Answered, Judge]:
        if self._shell.model is not None:
            return self._replay(self._shell.model, output)
        return self._rerun(cast("Subject", self._subject), answer_text(output))

    def _rerun(self, subject: Subject, answer: str) -> tuple[Answered, Judge]:
        """Ask siblings of the whole runnable."""
        shell = self._shell
        models = [part for part in runnables(shell.bound) if isinstance(part, BaseLanguageModel)]
        chat_model = next((model for model in reversed(models) if isinstance(model, BaseChatModel)), None)
        name = model_name(models[-1]) if models else shell.bound.get_name()

        async def ascore(scorer: InvEntropy, config: RunnableConfig, sync: bool, recalled: bool) -> UncertaintyReport:
            again = Watch()
            cast("BaseCallbackManager", config["callbacks"]).add_handler(again)
            ask = RunnableAsk(
                shell.bound,
                make_input=subject.make_input,
                config=config,
                settings=self._settings,
                recalled=self._watch.documents if recalled else None,
                model=chat_model,
                name=name,
                sync=sync,
            )
            report = await scorer.ascore(subject.question, answer=answer, ask=ask)
            hidden = again.retrievals if recalled else 0
            return _with_remarks(report, models, scorer.fingerprint.temperature, hidden)

        async def judge(config: RunnableConfig, sync: bool) -> UncertaintyReport:
            if shell.siblings == "generation":
                return await ascore(shell.scoring.scorer, config, sync, recalled=True)
            whole, kept = shell.split
            reports: dict[bool, UncertaintyReport] = {}

            async def keep(scorer: InvEntropy, recalled: bool) -> None:
                reports[recalled] = await ascore(scorer, config, sync, recalled)

            async with anyio.create_task_group() as group:
                group.start_soon(keep, whole, False)
                group.start_soon(keep, kept, True)
            return _split(reports[False], reports[True])

        return Answered(subject.question, answer, name, self._config, self._run), judge

    def _replay(self, model: Runnable[Any, Any], output: Any) -> tuple[Answered, Judge]:
        """Ask siblings of a model, with the prompt that the runnable's last model call saw."""
        chat_model, bound = unbound(model)
        seen = self._watch.last
        known = self._subject.question if self._subject else ""
        answer = seen.answer if seen else answer_text(output)

        async def judge(config: RunnableConfig, sync: bool) -> UncertaintyReport:
            if seen is None:
                raise InputError("no chat model call was seen below the wrapped runnable: leave out model=")
            question = known if known and _stands_in(known, seen.messages) else self._shell.question(seen.messages)
            with_question(seen.messages, question, question)
            ask = ChatModelAsk(
                cast("BaseChatModel", chat_model),
                messages=lambda sibling: with_question(seen.messages, question, sibling),
                config=config,
                settings=bound,
                sync=sync,
            )
            return await self._shell.scoring.scorer.ascore(question, answer=answer, ask=ask)

        return Answered(known, answer, model_name(chat_model), self._config, self._run), judge


def _stands_in(question: str, messages: Sequence[BaseMessage]) -> bool:
    try:
        with_question(messages, question, question)
    except InputError:
        return False
    return True


def _with_remarks(
    report: UncertaintyReport, models: Sequence[Any], temperature: float | None, hidden: int
) -> UncertaintyReport:
    """Say what siblings could not be given: settings that are out of reach, retrievals that happened again."""
    notes, problems = list(report.notes), list(report.problems)
    if not models:
        notes.append("no model is visible in the runnable: siblings ran with its own temperature; pass model=...")
        if get_llm_cache() is not None:
            problems.append(
                "a global response cache is set and the model is hidden in a function, so that siblings may be copies "
                "out of the cache: pass model=..."
            )
    elif temperature is not None and not any("temperature" in type(model).model_fields for model in models):
        notes.append(f"{model_name(models[-1])} has no setting temperature: siblings ran with its own")
    if hidden:
        notes.append(
            f"{hidden} retrievals ran again for siblings, since the retriever is hidden in a function: "
            "wrap the generation step alone"
        )
    status: Status = "degraded" if report.status == "ok" and problems else report.status
    return replace(report, notes=tuple(notes), problems=tuple(problems), status=status)


def _split(whole: UncertaintyReport, kept: UncertaintyReport) -> UncertaintyReport:
    """Join the report over new retrievals with the one over the same documents."""
    joined = replace(
        whole, usage=replace(whole.usage + kept.usage, seconds=max(whole.usage.seconds, kept.usage.seconds))
    )
    if "failed" in (whole.status, kept.status):
        problem = "retrieval and generation could not be told apart: one of the two halves was not scored"
        status: Status = "failed" if whole.status == "failed" else "degraded"
        return replace(joined, status=status, problems=(*whole.problems, *kept.problems, problem))
    parts = {"generation": kept.score, "retrieval": max(0.0, whole.score - kept.score)}
    status = "ok" if whole.status == kept.status == "ok" else "degraded"
    return replace(
        joined, measures={**whole.measures, **parts}, status=status, problems=(*whole.problems, *kept.problems)
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
