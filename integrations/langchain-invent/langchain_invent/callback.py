"""`UncertaintyCallbackHandler`: score the chat model calls of a chain that stays as it is."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable, Collection, Mapping
from contextvars import copy_context
from hashlib import blake2b
from typing import Any, Literal
from uuid import UUID

import anyio.to_thread
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import Runnable
from langchain_core.tracers.langchain import LangChainTracer

from invent_chain import InvEntropy, UncertaintyReport
from invent_chain.errors import ConfigurationError, InputError
from invent_chain.loop_thread import LoopThread
from invent_chain.sinks import attributes
from langchain_invent.ask import ChatModelAsk, model_name, unbound
from langchain_invent.messages import KEY, QuestionSelector, answer_text, last_human_text, stands_in, with_question
from langchain_invent.observed import QUESTION_KEYS, Call, Job, Root, asked, async_twin, class_name, enclosing
from langchain_invent.scoring import RUN_NAME, Answered, scoring, with_remark
from langchain_invent.trace import (
    SIBLING_TAG,
    NotForSiblings,
    ReportCollector,
    adispatch,
    annotate,
    dispatch,
    for_siblings,
    publish,
    role,
    send_feedback,
    sibling_config,
    traced_runs,
)

logger = logging.getLogger(__name__)

Mode = Literal["inline", "background"]

_SHAPING = ("tools", "tool_choice", "functions", "function_call", "response_format")
"""Settings of a call that change what an answer looks like: siblings get the call's own."""


class UncertaintyCallbackHandler(NotForSiblings, BaseCallbackHandler):
    """Scores the chat model calls of any chain, which stays as it is.

    Pass it as `config={"callbacks": [handler]}`, before a tracer if the list holds one, so that the report is in the
    traced outputs too; or at a model's constructor, where it sees the model's calls but not what a chain was asked.
    What the chain returns and streams is what it would be without. A handler can score and record, but nothing can act
    on its score: to route on it, use `with_uncertainty`, `UncertainChatModel` or the middleware.

    A report is in `handler.reports`, by the id of the model's run; with `get_invent_callback`; on the run in LangSmith
    (metadata `invent.*`); and inline on the message that `invoke` returns (`response_metadata["invent"]`). Calls below
    a wrapper of this package, and messages that carry a report already (`UncertainChatModel`, or an in-memory response
    cache that holds a scored message), are left alone.

    Args:
        model: The chat model to ask siblings of, bound or not: the one that the chain calls, since a handler is not
            told it. Tools and response format are the call's own where it has them, else those bound to it.
        scorer: How to score: `InvEntropy(n=..., r=..., similarity=...)`, without a model.
        question: Finds the question in the prompt's messages. By default it is what the outermost run was asked (its
            input as text; the value at "question", "input" or "query"; the last human message) if that stands word
            for word in the prompt, so that retrieved context is not perturbed; else the text of the last human message.
        tags: Score only runs with one of these tags.
        run_names: Score only runs of these names (the `run_name`, else the model's class).
        share: Share of the calls that is scored, in [0, 1]; the run's id decides.
        mode: "inline" scores before the call returns; "background" lets it return at once. A background report is not
            on the message, and is no custom event.
        text: Whether reports on messages and traces quote questions and answers.
        feedback: Whether the score is sent to LangSmith as feedback too, where the run is traced below another run.
        on_report: Called with the run's id and the report, from whichever thread scored; what it raises is logged.
        max_pending: Most calls scored at a time in the background, >= 1; beyond it calls are not scored but counted in
            `skipped`.
        max_reports: Most reports kept in `reports`, >= 1; the oldest go first.

    Attributes:
        reports: Report by the id of the model's run.
        skipped: Calls that were not scored because `max_pending` were under way.

    Raises:
        ConfigurationError: A setting is wrong; the message says what to pass instead.
    """

    # LangChainTracer runs inline, so that what runs after it is too late for the outputs in the trace.
    run_inline = True

    def __init__(
        self,
        *,
        model: Runnable[Any, Any],
        scorer: InvEntropy | None = None,
        question: QuestionSelector | None = None,
        tags: Collection[str] | None = None,
        run_names: Collection[str] | None = None,
        share: float = 1.0,
        mode: Mode = "inline",
        text: bool = False,
        feedback: bool = False,
        on_report: Callable[[UUID, UncertaintyReport], object] | None = None,
        max_pending: int = 64,
        max_reports: int = 10_000,
    ) -> None:
        chat_model, settings = unbound(model)
        if chat_model is None:
            raise ConfigurationError(
                f"model is a {type(model).__name__}: pass the chat model that the chain calls, bound or not"
            )
        for name, names in (("tags", tags), ("run_names", run_names)):
            if isinstance(names, str) or (names is not None and not all(isinstance(one, str) for one in names)):
                raise ConfigurationError(f"{name}={names!r}: pass a collection of texts, such as {name}=['final']")
        if type(share) not in (int, float) or not 0.0 <= share <= 1.0:
            raise ConfigurationError(f"share={share!r}: must be between 0 (score nothing) and 1 (score every call)")
        if mode not in ("inline", "background"):
            raise ConfigurationError(f"mode={mode!r}: choose 'inline' or 'background'")
        functions: dict[str, Any] = {"question": question, "on_report": on_report}
        for name, function in functions.items():
            if function is not None and (not callable(function) or inspect.iscoroutinefunction(function)):
                raise ConfigurationError(f"{name} is a {type(function).__name__}: pass a function that is not async")
        for name, most in (("max_pending", max_pending), ("max_reports", max_reports)):
            if type(most) is not int or most < 1:
                raise ConfigurationError(f"{name}={most!r}: must be a whole number of at least 1")
        self._how = scoring(scorer, text=text, feedback=feedback)
        self._model, self._settings, self._question = chat_model, settings, question
        self._tags = None if tags is None else frozenset(tags)
        self._run_names = None if run_names is None else frozenset(run_names)
        self._share, self._mode, self._on_report = share, mode, on_report
        self._max_pending, self._max_reports = max_pending, max_reports
        self._loop = LoopThread()
        self._changed = threading.Condition()  # guards all that follows
        self._roots: dict[UUID, Root] = {}
        self._open: dict[UUID, Call] = {}
        self._pending = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.reports: dict[UUID, UncertaintyReport] = {}
        self.skipped = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model={model_name(self._model)!r}, mode={self._mode!r})"

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is being scored in the background.

        Args:
            timeout: Longest time to wait in seconds; None waits as long as it takes.

        Returns:
            Whether all is done.

        Raises:
            RuntimeError: Scoring goes on in the event loop that this call would block: `await handler.drain()`.
        """
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        with self._changed:
            if here is not None and any(task.get_loop() is here for task in self._tasks):
                raise RuntimeError("answers are scored in the running event loop: await handler.drain() instead")
            return self._changed.wait_for(lambda: self._pending == 0, timeout)

    async def drain(self) -> None:
        """Do what `wait` does, from async code."""
        await anyio.to_thread.run_sync(self.wait, abandon_on_cancel=True)

    # What the framework calls.

    def on_chain_start(
        self,
        serialized: dict[str, Any] | None,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        """Remember what the outermost run was asked."""
        with self._changed:
            known = self._roots.get(parent_run_id) if parent_run_id is not None else None
            root = self._roots[run_id] = known or Root()
            if known is None:
                root.text = asked(inputs)
            elif not root.text and isinstance(inputs, Mapping):
                # A streamed chain starts with an empty input; the first step that is given the question shows it.
                root.text = asked({key: inputs[key] for key in QUESTION_KEYS[:-1] if key in inputs})

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Forget the run."""
        with self._changed:
            self._roots.pop(run_id, None)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Forget the run."""
        with self._changed:
            self._roots.pop(run_id, None)

    def on_tool_start(
        self,
        serialized: dict[str, Any] | None,
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        """Remember to which outermost run a tool belongs."""
        with self._changed:
            known = self._roots.get(parent_run_id) if parent_run_id is not None else None
            self._roots[run_id] = known or Root()

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Forget the run."""
        with self._changed:
            self._roots.pop(run_id, None)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Forget the run."""
        with self._changed:
            self._roots.pop(run_id, None)

    def on_chat_model_start(
        self,
        serialized: dict[str, Any] | None,
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Remember a call that is to be scored."""
        known_as = (name, class_name(serialized))
        if not messages or not self._wanted(run_id, tags or (), metadata, known_as):
            return
        params = kwargs.get("invocation_params") or {}
        settings = {**self._settings, **{key: params[key] for key in _SHAPING if params.get(key) is not None}}
        stop = params.get("stop") or (kwargs.get("options") or {}).get("stop")
        if stop:
            settings["stop"] = stop
        _, manager = enclosing()
        with self._changed:
            root = self._roots.get(parent_run_id) if parent_run_id is not None else None
            # A tracer listed before this handler knows the run now, and no longer when it has ended.
            self._open[run_id] = Call(messages[0], settings, root or Root(), traced_runs(run_id, manager.handlers))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Forget the call."""
        with self._changed:
            self._open.pop(run_id, None)

    @property
    def on_llm_end(self) -> Callable[..., Any]:
        """Score the answer.

        Callers that can await get an async function, others a plain one. Both are needed: plain code awaited by nobody
        would block the event loop of an async chain, and `handle_event` runs the coroutines of a sync chain only after
        all plain handlers, when the tracer has closed the run. Whether the caller is a coroutine itself tells the two
        apart; whether an event loop runs in this thread does not, since a notebook's loop also runs around `invoke`.
        """
        frame = inspect.currentframe()
        caller = frame.f_back if frame is not None else None
        awaits = caller is not None and caller.f_code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR)
        return self._aend if awaits else self._end

    def _end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        if (job := self._job(response, run_id)) is None:
            return
        if self._mode == "inline":
            self._work(job)
        else:
            # Daemons: an application that ends does not wait for scores, unless it calls `wait`.
            context = copy_context()
            threading.Thread(target=context.run, args=(self._in_thread, job), name="invent-score", daemon=True).start()

    async def _aend(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        if (job := self._job(response, run_id)) is None:
            return
        if self._mode == "inline":
            await self._awork(job)
        else:
            task = asyncio.create_task(self._awork(job))
            with self._changed:
                self._tasks.add(task)  # the loop holds tasks weakly
            task.add_done_callback(lambda task: self._task_done(task, job))

    # The work.

    def _wanted(
        self,
        run_id: UUID,
        tags: Collection[str],
        metadata: Mapping[str, Any] | None,
        names: Collection[str | None],
    ) -> bool:
        if role(metadata) is not None or SIBLING_TAG in tags:
            return False
        if self._tags is not None and self._tags.isdisjoint(tags):
            return False
        if self._run_names is not None and self._run_names.isdisjoint(names):
            return False
        # The id of a run begins with the time, so that it takes a hash to spread it.
        return int.from_bytes(blake2b(run_id.bytes, digest_size=8).digest()) / 2**64 < self._share

    def _job(self, response: LLMResult, run_id: UUID) -> Job | None:
        """Open the run of the siblings while the runs around it are open; None if there is nothing to score."""
        with self._changed:
            call = self._open.pop(run_id, None)
        generation = response.generations[0][0] if response.generations and response.generations[0] else None
        if call is None or not isinstance(generation, ChatGeneration) or KEY in generation.message.response_metadata:
            return None
        config, manager = enclosing()
        if role(manager.metadata) is not None or SIBLING_TAG in manager.tags:
            return None  # the call was made with callbacks of its own, within an answer or a sibling
        problem: Exception | None = None
        question, answer = "", answer_text(generation.message)
        try:
            question = self._question_of(call)
        except Exception as error:  # noqa: BLE001 - a selector of the user's; becomes the reason of a failed report
            problem = error
        if self._mode == "background" and not self._admitted():
            return None
        try:
            # A plain manager serves async code too: `for_siblings` leaves tracers and counters, which are plain.
            siblings = for_siblings(manager).on_chain_start(
                None, {"question": question} if self._how.text else {}, name=RUN_NAME
            )
        except BaseException:  # a handler that wants its errors raised
            if self._mode == "background":
                self._settled()
            raise
        return Job(
            run_id=run_id,
            call=call,
            generation=generation,
            answer=answer,
            question=question,
            problem=problem,
            config=config,
            manager=manager,
            enclosed=manager.parent_run_id is not None,
            siblings=siblings,
            traced=list({id(run): run for run in (*call.traced, *traced_runs(run_id, manager.handlers))}.values()),
        )

    def _question_of(self, call: Call) -> str:
        if self._question is not None:
            question = self._question(call.messages)
        else:
            question = call.root.text
            if not question or not stands_in(question, call.messages):
                question = last_human_text(call.messages)
        with_question(call.messages, question, question)  # raises now, not once for each sibling
        return question

    async def _judged(self, job: Job, *, sync: bool) -> UncertaintyReport:
        """Ask and score. What goes wrong becomes a failed report, except cancellation."""
        try:
            if job.problem is not None:
                raise job.problem
            ask = ChatModelAsk(
                self._model,
                messages=lambda sibling: with_question(job.call.messages, job.question, sibling),
                config=sibling_config(job.config, job.siblings, {}),
                settings=job.call.settings,
                sync=sync,
            )
            with job.traces():
                report = await self._how.scorer.ascore(job.question, answer=job.answer, ask=ask)
            if job.question != job.call.root.text:
                report = with_remark(report, job.question, self._question)
        except Exception as error:  # noqa: BLE001 - observation never breaks the call
            job.fail(error)
            return self._unscored(job, error)
        except BaseException as error:  # cancelled: close the run in the trace
            job.fail(error)
            raise
        job.closed = True
        job.siblings.on_chain_end(attributes(report, text=self._how.text))
        return report

    def _unscored(self, job: Job, error: Exception) -> UncertaintyReport:
        answered = Answered(job.question, job.answer, model_name(self._model), job.config)
        return self._how.unscored(answered, error)

    def _work(self, job: Job) -> None:
        report = self._loop.run(self._judged(job, sync=True))
        self._hand_over(job, report)
        if job.enclosed and self._mode == "inline":  # else there may be no open run to which the event belongs
            dispatch(report, job.manager)
        if self._how.feedback:
            send_feedback(report, job.traced)

    async def _awork(self, job: Job) -> None:
        report = await self._judged(job, sync=False)
        self._hand_over(job, report)
        if job.enclosed and self._mode == "inline":
            await adispatch(report, async_twin(job.manager))
        if self._how.feedback:
            await anyio.to_thread.run_sync(send_feedback, report, job.traced)

    def _hand_over(self, job: Job, report: UncertaintyReport) -> None:
        if self._mode == "inline":
            # `invoke` returns the message of this very generation. It gets a new one, since the old one may be in other
            # hands: the model's, or a stream's consumer's.
            message = job.generation.message
            metadata = {**message.response_metadata, KEY: self._how.payload(report)}
            job.generation.message = message.model_copy(update={"response_metadata": metadata})
        with self._changed:
            self.reports[job.run_id] = report
            while len(self.reports) > self._max_reports:
                del self.reports[next(iter(self.reports))]
        collectors = [handler for handler in job.manager.handlers if isinstance(handler, ReportCollector)]
        publish(report, job.run_id, collectors, text=self._how.text)
        for run in job.traced:
            annotate(run, report, text=self._how.text)
        if not job.traced:
            tracers = [handler for handler in job.manager.handlers if isinstance(handler, LangChainTracer)]
            publish(report, job.manager.parent_run_id, tracers, text=self._how.text)
        if self._on_report is not None:
            try:
                self._on_report(job.run_id, report)
            except Exception:
                logger.warning("on_report raised; the report is kept", exc_info=True)

    # In the background.

    def _admitted(self) -> bool:
        with self._changed:
            if self._pending < self._max_pending:
                self._pending += 1
                return True
            self.skipped += 1
            first = self.skipped == 1
        if first:
            logger.warning(
                "%d answers are being scored: calls are not scored until one is done "
                "(counted in handler.skipped; raise max_pending= or lower share=)",
                self._max_pending,
            )
        return False

    def _in_thread(self, job: Job) -> None:
        try:
            self._work(job)
        except BaseException as error:
            logger.warning("an answer could not be scored in the background", exc_info=True)
            job.fail(error)
        finally:
            self._settled()

    def _task_done(self, task: asyncio.Task[None], job: Job) -> None:
        try:
            if task.cancelled() and job.run_id in self.reports:
                logger.warning("sending feedback to LangSmith was cancelled; the report is kept")
            elif task.cancelled():  # the loop ends, say
                error = InputError(
                    "scoring in the background was cancelled: await handler.drain() before the loop ends"
                )
                logger.warning("%s", error)
                job.fail(error)
                self._hand_over(job, self._unscored(job, error))
            elif (raised := task.exception()) is not None:
                logger.warning("an answer could not be scored in the background", exc_info=raised)
                job.fail(raised)
        finally:
            self._settled(task)

    def _settled(self, task: asyncio.Task[None] | None = None) -> None:
        with self._changed:
            self._pending -= 1
            if task is not None:
                self._tasks.discard(task)
            self._changed.notify_all()
