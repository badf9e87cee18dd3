"""Where siblings hang in the trace, and how a report reaches those who watch a run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, Literal, TypeVar
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager, UsageMetadataCallbackHandler
from langchain_core.callbacks.manager import AsyncCallbackManager, BaseRunManager, CallbackManager
from langchain_core.runnables import RunnableConfig
from langchain_core.tracers._streaming import _StreamingCallbackHandler, _V2StreamingCallbackHandler
from langchain_core.tracers.context import register_configure_hook
from langchain_core.tracers.core import _TracerCore
from langchain_core.tracers.langchain import LangChainTracer
from langsmith import Client, RunTree
from langsmith.schemas import TracerSession

from invent_chain.sinks import attributes
from invent_chain.types import UncertaintyReport

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=BaseCallbackManager)

SIBLING_TAG = "invent:sibling"
NOSTREAM_TAG = "nostream"
"""LangGraph leaves runs with this tag out of `stream_mode="messages"`."""

ROLE = "invent_role"
"""Metadata key of runs below a wrapper: "primary" or "sibling". Neither is scored again."""

EVENT = "invent_report"
"""Name of the custom event that carries each report, without texts, to handlers and `astream_events`."""


SiblingCallbacks = Literal["tracers", "all"]


class NotForSiblings:
    """Mixin of callback handlers that must not see the runs of siblings."""


def role(metadata: Any) -> str | None:
    """Return "primary" or "sibling" for a run below a wrapper, else None."""
    return metadata.get(ROLE) if isinstance(metadata, dict) else None


def below(run: BaseRunManager, kind: type[M]) -> M:
    """Return a manager for children of any run; those of models have no `get_child`."""
    manager = kind(handlers=[], parent_run_id=run.run_id)
    manager.set_handlers(run.inheritable_handlers)
    manager.add_tags(run.inheritable_tags)
    manager.add_metadata(run.inheritable_metadata)
    return manager


def for_primary(manager: Any, *handlers: BaseCallbackHandler) -> Any:
    """Mark the runs of a primary answer, so that nothing below scores them again; handlers watch them."""
    marked = manager.copy()
    marked.add_metadata({ROLE: "primary"})
    for handler in handlers:
        marked.add_handler(handler)
    return marked


def for_siblings(manager: Any, callbacks: SiblingCallbacks = "tracers") -> Any:
    """Return a copy for siblings, without the handlers that must not see them.

    Handlers that stream to the user or score answers never see siblings. Of the others, "tracers" keeps what traces
    runs and counts tokens, so that a handler of the application sees the calls that the application makes; "all" keeps
    every one.
    """
    quiet = manager.copy()
    for handler in [*quiet.handlers, *quiet.inheritable_handlers]:
        streams = isinstance(handler, (_StreamingCallbackHandler, _V2StreamingCallbackHandler, NotForSiblings))
        traces = isinstance(handler, (_TracerCore, UsageMetadataCallbackHandler))
        if streams or (callbacks == "tracers" and not traces):
            quiet.remove_handler(handler)
    quiet.add_tags([SIBLING_TAG, NOSTREAM_TAG])
    quiet.add_metadata({ROLE: "sibling"})
    return quiet


def sibling_config(config: RunnableConfig, siblings_run: Any, metadata: Mapping[str, Any]) -> RunnableConfig:
    """Return the config of a sibling: the user's `configurable` and limits, as a child of the `invent_siblings` run."""
    kept: RunnableConfig = {}
    if "configurable" in config:
        kept["configurable"] = config["configurable"]
    if "recursion_limit" in config:
        kept["recursion_limit"] = config["recursion_limit"]
    return {
        **kept,
        "callbacks": siblings_run.get_child(),
        "tags": [SIBLING_TAG, NOSTREAM_TAG],
        "metadata": {ROLE: "sibling", **metadata},
        "run_name": "invent_sibling",
    }


class ReportCollector(BaseCallbackHandler):
    """Holds the reports of every scored call below it, in the order in which they were made.

    It has no length on purpose: the framework takes a falsy handler for none.

    Attributes:
        reports: Report by the id of the run that was scored.
    """

    run_inline = True

    def __init__(self, outer: ReportCollector | None = None) -> None:
        self._lock = threading.Lock()
        self._outer = outer
        self.reports: dict[UUID, UncertaintyReport] = {}

    def add(self, run_id: UUID, report: UncertaintyReport) -> None:
        """Keep a report, also in the collector around this one."""
        with self._lock:
            self.reports[run_id] = report
        if self._outer is not None:
            self._outer.add(run_id, report)

    @property
    def last(self) -> UncertaintyReport | None:
        """The report made last; None if there is none."""
        with self._lock:
            return next(reversed(self.reports.values()), None)


_collector: ContextVar[ReportCollector | None] = ContextVar("invent_collector", default=None)
register_configure_hook(_collector, inheritable=True)


@contextmanager
def get_invent_callback() -> Iterator[ReportCollector]:
    """Collect every report from anywhere below.

    Example:
        ```python
        with get_invent_callback() as collected:
            chain.invoke("What is the capital of Palau?")
        print(collected.last.score)
        ```
    """
    collector = ReportCollector(_collector.get())
    token = _collector.set(collector)
    try:
        yield collector
    finally:
        _collector.reset(token)


def traced_runs(run_id: UUID | None, handlers: Sequence[BaseCallbackHandler]) -> list[RunTree]:
    """Return a run as the LangSmith tracers among the handlers know it, each record once."""
    found = (h.run_map.get(str(run_id)) for h in handlers if isinstance(h, LangChainTracer))
    return list({id(run): run for run in found if run is not None}.values())


def publish(
    report: UncertaintyReport, run_id: UUID | None, handlers: Sequence[BaseCallbackHandler], *, text: bool
) -> None:
    """Hand a report to the collectors and put its numbers on the traced run. What fails is logged, never raised."""
    if run_id is None:
        return
    for handler in handlers:
        if isinstance(handler, ReportCollector):
            handler.add(run_id, report)
    for run in traced_runs(run_id, handlers):
        annotate(run, report, text=text)


def annotate(run: RunTree, report: UncertaintyReport, *, text: bool) -> None:
    """Put the numbers of a report on a traced run; if the run has ended, it is sent again. Never raises."""
    try:
        run.add_metadata(attributes(report, text=text))
        # In this order: a run that is still open now sends the metadata when it ends.
        if run.end_time is not None and not run.extra.get("__disabled"):
            run.patch(exclude_inputs=True)
    except Exception:
        logger.warning("a report could not be put on the trace", exc_info=True)


def send_feedback(report: UncertaintyReport, runs: Sequence[RunTree]) -> None:
    """Send the score to LangSmith as feedback on traced runs; the first time for a project it asks for its id.

    The key is "invent_confidence" (higher = more certain) with a calibration, else "invent_uncertainty". Never raises.
    """
    key, score = ("invent_uncertainty", report.score)
    if report.confidence is not None:
        key, score = ("invent_confidence", report.confidence)
    for run in runs:
        try:
            project = _project_id(run.client, run.session_name)
            run.client.create_feedback(run.id, key=key, score=score, trace_id=run.trace_id, session_id=project)
        except Exception:
            logger.warning("feedback could not be sent to LangSmith", exc_info=True)


@cache
def _project_id(client: Client, name: str) -> UUID:
    project: TracerSession = client.read_project(project_name=name)
    return project.id


def dispatch(report: UncertaintyReport, manager: CallbackManager) -> None:
    """Send the custom event `EVENT` to every handler of the run above `manager`."""
    manager.on_custom_event(EVENT, report.to_dict(text=False), run_id=manager.parent_run_id)


async def adispatch(report: UncertaintyReport, manager: AsyncCallbackManager) -> None:
    """Do what `dispatch` does, for async code."""
    await manager.on_custom_event(EVENT, report.to_dict(text=False), run_id=manager.parent_run_id)
