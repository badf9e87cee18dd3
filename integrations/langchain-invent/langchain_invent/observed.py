"""A chat model call as a callback handler sees it: what was asked, the runs around it, who watches them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from langchain_core.callbacks.manager import AsyncCallbackManager, CallbackManager, CallbackManagerForChainRun
from langchain_core.messages import BaseMessage, convert_to_messages
from langchain_core.outputs import ChatGeneration
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_callback_manager_for_config, var_child_runnable_config
from langchain_core.tracers.core import _TracerCore
from langsmith import RunTree
from langsmith.run_helpers import tracing_context

from langchain_invent.messages import last_human_text

QUESTION_KEYS = ("question", "input", "query", "messages")


@dataclass(slots=True)
class Root:
    """The outermost run that the handler sees, and what it was asked; empty while that is not known."""

    text: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a chat model that has begun."""

    messages: Sequence[BaseMessage]
    settings: Mapping[str, Any]
    root: Root
    traced: Sequence[RunTree]


@dataclass(slots=True)
class Job:
    """An answer that is being scored.

    Attributes:
        run_id: The model's run.
        question: The question; empty if it could not be found.
        problem: Why it could not be found.
        enclosed: Whether there is a run around the model's, below which siblings hang.
        handlers: Who watches the runs around the model's.
        siblings: The run that holds the siblings.
        traced: The model's run in each LangChainTracer that can be reached.
    """

    run_id: UUID
    call: Call
    generation: ChatGeneration
    answer: str
    question: str
    problem: Exception | None
    config: RunnableConfig
    manager: CallbackManager
    enclosed: bool
    siblings: CallbackManagerForChainRun
    traced: Sequence[RunTree]
    closed: bool = field(default=False)

    def fail(self, error: BaseException) -> None:
        """End the run of the siblings, once."""
        if not self.closed:
            self.closed = True
            self.siblings.on_chain_error(error)

    @contextmanager
    def traces(self) -> Iterator[None]:
        """Keep siblings that have no run to hang below out of LangSmith, where each would be a trace of its own."""
        if self.enclosed:
            yield
        else:
            with tracing_context(enabled=False):
                yield


def enclosing() -> tuple[RunnableConfig, CallbackManager]:
    """Return the config of the runnable around a model call, and a manager for children of its run.

    Without a run around the call the manager has no parent, and no tracer.
    """
    config = var_child_runnable_config.get() or RunnableConfig()
    manager = get_callback_manager_for_config(config)
    if manager.parent_run_id is None:
        for handler in [*manager.handlers, *manager.inheritable_handlers]:
            if isinstance(handler, _TracerCore):
                manager.remove_handler(handler)
    return config, manager


def async_twin(manager: CallbackManager) -> AsyncCallbackManager:
    """Return a manager with the same handlers for async code."""
    return AsyncCallbackManager(
        handlers=manager.handlers,
        inheritable_handlers=manager.inheritable_handlers,
        parent_run_id=manager.parent_run_id,
        tags=manager.tags,
        inheritable_tags=manager.inheritable_tags,
        metadata=manager.metadata,
        inheritable_metadata=manager.inheritable_metadata,
    )


def class_name(serialized: Mapping[str, Any] | None) -> str | None:
    """Return the name of a serialized model's class, if it is told."""
    if not serialized:
        return None
    return serialized.get("name") or next(reversed(serialized.get("id") or []), None)


def asked(given: Any) -> str:
    """Return what a chain's input asks; empty if it does not show."""
    if isinstance(given, str):
        return given.strip()
    if isinstance(given, Mapping):
        return next((text for key in QUESTION_KEYS if key in given and (text := asked(given[key]))), "")
    try:
        if isinstance(given, PromptValue):
            messages = given.to_messages()
        elif isinstance(given, BaseMessage):
            messages = [given]
        elif isinstance(given, (list, tuple)):
            messages = convert_to_messages(given)
        else:
            return ""
        return last_human_text(messages).strip()
    except Exception:  # noqa: BLE001 - any list may come along here
        return ""
