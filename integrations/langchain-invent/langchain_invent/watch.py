"""What happened below a run: which documents were found, which prompt the last model call saw and what it said."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from langchain_invent.messages import answer_text
from langchain_invent.trace import SIBLING_TAG


@dataclass(frozen=True, slots=True)
class Prompted:
    """A finished call of a chat model."""

    messages: Sequence[BaseMessage]
    answer: str


@dataclass(eq=False)  # frameworks keep handlers in sets
class Watch(BaseCallbackHandler):
    """A handler that remembers; it changes nothing.

    Attributes:
        documents: What each retriever found last, by its name.
        retrievals: How often a retriever was asked.
        last: The chat model call that finished last, None if there was none.
    """

    documents: dict[str, list[Document]] = field(default_factory=dict)
    retrievals: int = 0
    last: Prompted | None = None
    _open: dict[UUID, Any] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    run_inline = True  # in the order of events, also below async code

    def on_retriever_start(
        self, serialized: dict[str, Any] | None, query: str, *, run_id: UUID, name: str | None = None, **kwargs: Any
    ) -> None:
        """Count, and remember which retriever it is."""
        with self._lock:
            self.retrievals += 1
            self._open[run_id] = name or ""

    def on_retriever_end(self, documents: Sequence[Document], *, run_id: UUID, **kwargs: Any) -> None:
        """Keep what was found."""
        with self._lock:
            self.documents[self._open.pop(run_id, "")] = list(documents)

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        tags: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Remember the prompt, unless it is a sibling's."""
        if SIBLING_TAG not in (tags or ()) and messages:
            with self._lock:
                self._open[run_id] = messages[0]

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Keep prompt and answer."""
        with self._lock:
            messages = self._open.pop(run_id, None)
            generation = response.generations[0][0] if response.generations and response.generations[0] else None
            if messages is not None and isinstance(generation, ChatGeneration):
                self.last = Prompted(messages, answer_text(generation.message))
