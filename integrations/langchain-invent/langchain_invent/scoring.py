"""Score one answer within a run: siblings below it in the trace, the report to those who watch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import anyio.to_thread
from langchain_core.callbacks.manager import AsyncCallbackManager, BaseRunManager, CallbackManager
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_async_callback_manager_for_config, get_callback_manager_for_config

from invent_chain import InvEntropy, UncertaintyReport, hosting
from invent_chain.errors import ConfigurationError
from invent_chain.hosting import without_model
from invent_chain.loop_thread import LoopThread
from invent_chain.sinks import attributes
from langchain_invent.messages import QuestionSelector, last_human_text
from langchain_invent.trace import (
    SiblingCallbacks,
    adispatch,
    below,
    dispatch,
    for_siblings,
    publish,
    send_feedback,
    sibling_config,
    traced_runs,
)

RUN_NAME = "invent_siblings"
Judge = Callable[[RunnableConfig, bool], Awaitable[UncertaintyReport]]
"""Asks siblings and scores: gets the config of a sibling, and whether models are to be used from their sync side."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer to be scored, and the run that gave it.

    Attributes:
        question: The question; empty if it could not be found.
        answer: What the model said, as text.
        model: Name of the model.
        config: Config of the run that gave the answer.
        run: That run; None if it is not at hand, so that siblings hang below `config`.
    """

    question: str
    answer: str
    model: str
    config: RunnableConfig
    run: BaseRunManager | None = None


@dataclass(frozen=True, slots=True)
class Scoring:
    """How answers are scored, shared by every shell in this package.

    Attributes:
        scorer: Does the work.
        text: Whether reports on messages and traces quote questions and answers.
        feedback: Whether the score is sent to LangSmith as feedback too.
        sibling_callbacks: Which callback handlers see the runs of siblings; see `trace.for_siblings`.
        metadata: Further metadata of the siblings' runs.
    """

    scorer: InvEntropy
    text: bool = False
    feedback: bool = False
    sibling_callbacks: SiblingCallbacks = "tracers"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    _loop: LoopThread = field(default_factory=LoopThread, repr=False, compare=False)

    def payload(self, report: UncertaintyReport) -> dict[str, Any]:
        """Return the report as a message carries it: plain JSON types, texts only when asked."""
        return report.to_dict(text=self.text)

    def score(self, answered: Answered, judge: Judge) -> UncertaintyReport:
        """Score from sync code. Never raises: the answer is there, and what goes wrong becomes a failed report."""
        run = answered.run
        manager = below(run, CallbackManager) if run is not None else get_callback_manager_for_config(answered.config)
        siblings = for_siblings(manager, self.sibling_callbacks).on_chain_start(
            None, self._inputs(answered), name=RUN_NAME
        )
        try:
            report = self._loop.run(_awaited(judge(self._config(answered, siblings), True)))
        except Exception as error:  # noqa: BLE001 - see above
            siblings.on_chain_error(error)
            report = self.unscored(answered, error)
        except BaseException as error:  # interrupted: close the run in the trace
            siblings.on_chain_error(error)
            raise
        else:
            siblings.on_chain_end(attributes(report, text=self.text))
        publish(report, manager.parent_run_id, manager.handlers, text=self.text)
        if self.feedback:
            send_feedback(report, traced_runs(manager.parent_run_id, manager.handlers))
        dispatch(report, manager)
        return report

    async def ascore(self, answered: Answered, judge: Judge) -> UncertaintyReport:
        """Do what `score` does, from async code."""
        run = answered.run
        manager = (
            below(run, AsyncCallbackManager)
            if run is not None
            else get_async_callback_manager_for_config(answered.config)
        )
        siblings = await for_siblings(manager, self.sibling_callbacks).on_chain_start(
            None, self._inputs(answered), name=RUN_NAME
        )
        try:
            report = await judge(self._config(answered, siblings), False)
        except Exception as error:  # noqa: BLE001 - see `score`
            await siblings.on_chain_error(error)
            report = self.unscored(answered, error)
        except BaseException as error:  # cancelled: close the run in the trace
            await siblings.on_chain_error(error)
            raise
        else:
            await siblings.on_chain_end(attributes(report, text=self.text))
        publish(report, manager.parent_run_id, manager.handlers, text=self.text)
        if self.feedback:
            await anyio.to_thread.run_sync(send_feedback, report, traced_runs(manager.parent_run_id, manager.handlers))
        await adispatch(report, manager)
        return report

    def unscored(self, answered: Answered, error: Exception) -> UncertaintyReport:
        """Return the failed report of an answer whose scoring raised."""
        return hosting.unscored(self.scorer, answered.question, answered.answer, error, model=answered.model)

    def _config(self, answered: Answered, siblings: Any) -> RunnableConfig:
        return sibling_config(answered.config, siblings, self.metadata)

    def _inputs(self, answered: Answered) -> dict[str, Any]:
        return {"question": answered.question} if self.text else {}


def with_remark(report: UncertaintyReport, question: str, selector: QuestionSelector | None) -> UncertaintyReport:
    """Note on a report that a whole message of several lines was taken for the question, where nobody named it."""
    if selector is not None and selector is not last_human_text:
        return report
    if "\n" not in question.strip():
        return report
    remark = (
        "the whole last human message was taken for the question and perturbed; if it holds context too, name the "
        "question, such as question=after('Question:')"
    )
    return replace(report, notes=(*report.notes, remark))


async def _awaited(pending: Awaitable[UncertaintyReport]) -> UncertaintyReport:
    return await pending


def scoring(
    scorer: InvEntropy | None,
    *,
    text: bool = False,
    feedback: bool = False,
    sibling_callbacks: SiblingCallbacks = "tracers",
    metadata: Mapping[str, Any] | None = None,
) -> Scoring:
    """Return how to score, with the default scorer if none is given.

    Raises:
        ConfigurationError: `scorer` is no `InvEntropy` or has a model of its own, or `sibling_callbacks` is unknown.
    """
    if sibling_callbacks not in ("tracers", "all"):
        raise ConfigurationError(f"sibling_callbacks={sibling_callbacks!r}: choose 'tracers' or 'all'")
    return Scoring(without_model(scorer), text, feedback, sibling_callbacks, dict(metadata or {}))
