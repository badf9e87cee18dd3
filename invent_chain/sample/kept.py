"""Answers that a cache keeps: looked up by question and replication, never mixed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import anyio.to_thread

from invent_chain.cache.keys import answer_key
from invent_chain.errors import CacheError
from invent_chain.protocols import Ask, Cache
from invent_chain.types import Sampling

logger = logging.getLogger(__name__)

T = TypeVar("T")
Place = tuple[int, int]
"""Slot and question: the slot-th replication of the question-th question."""


class KeptAnswers:
    """The answers to some questions in a cache; one that breaks is left out from then on.

    Args:
        cache: Where they are; None for nowhere.
        ask: The model. Without an `identity` it does not say what its answers depend on, and nothing is kept.
        questions: Texts to ask.
        sampling: Generation settings.
    """

    def __init__(self, cache: Cache | None, ask: Ask, questions: Sequence[str], sampling: Sampling) -> None:
        self._identity = str(getattr(ask, "identity", ""))
        self._cache = cache if self._identity else None
        self.note: str | None = None
        """Why a cache is not used, if so."""
        if cache is not None and not self._identity:
            self.note = "answers were not cached: the model does not say what they depend on (Ask.identity)"
        self._questions, self._sampling = questions, sampling

    async def look_up(self, wanted: Sequence[Place]) -> dict[Place, str]:
        """Return the answers that are there."""
        if self._cache is None or not wanted:
            return {}
        keys = {key: place for place in wanted if (key := self._key(*place)) is not None}
        try:
            found = await self._off_loop(self._cache, lambda cache: cache.get_many(list(keys)))
        except CacheError as error:
            self._leave_out(error)
            return {}
        return {keys[key]: value.decode("utf-8", "surrogatepass") for key, value in found.items()}

    async def keep(self, came: Mapping[Place, str]) -> None:
        """Keep these answers."""
        if self._cache is None or not came:
            return
        values = {
            key: text.encode("utf-8", "surrogatepass")
            for place, text in came.items()
            if (key := self._key(*place)) is not None
        }
        try:
            await self._off_loop(self._cache, lambda cache: cache.set_many(values))
        except CacheError as error:
            self._leave_out(error)

    def _leave_out(self, error: CacheError) -> None:
        if self._cache is not None:  # requests in flight may fail with it too
            logger.warning("answers are not cached: %s", error)
        self._cache = None
        self.note = f"answers were not cached: {error}"

    async def _off_loop(self, cache: Cache, use: Callable[[Cache], T]) -> T:
        if not getattr(cache, "blocks", True):
            return use(cache)
        return await anyio.to_thread.run_sync(use, cache)

    def _key(self, slot: int, question: int) -> str | None:
        text = self._questions[question]
        if self._questions.index(text) != question:
            return None  # the same text twice would share its replications
        return answer_key(self._identity, text, slot, self._sampling)
