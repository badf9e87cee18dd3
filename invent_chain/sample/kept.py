"""Answers that a cache keeps: looked up by question and replication, never mixed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
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
    """The answers to some questions in a cache; a cache that breaks is left out with a warning.

    Args:
        cache: Where they are; None for nowhere.
        ask: The model. Without an `identity` it does not say what its answers depend on, and nothing is kept.
        questions: Texts to ask.
        sampling: Generation settings.
    """

    def __init__(self, cache: Cache | None, ask: Ask, questions: Sequence[str], sampling: Sampling) -> None:
        self._identity = str(getattr(ask, "identity", ""))
        self._cache = cache if self._identity else None
        self.refused = cache is not None and not self._identity
        """Whether there is a cache that cannot be used."""
        self._questions, self._sampling = questions, sampling

    async def look_up(self, wanted: Sequence[Place]) -> dict[Place, str]:
        """Return the answers that are there."""
        if self._cache is None or not wanted:
            return {}
        keys = {key: place for place in wanted if (key := self._key(*place)) is not None}
        try:
            found = await self._off_loop(self._cache, lambda cache: cache.get_many(list(keys)))
        except CacheError as error:
            logger.warning("answers are not looked up: %s", error)
            return {}
        return {keys[key]: value.decode("utf-8", "surrogatepass") for key, value in found.items()}

    async def keep(self, question: int, slots: range, texts: Sequence[str]) -> None:
        """Keep the answers that came for these slots, at most as many."""
        if self._cache is None:
            return
        keys = [self._key(slot, question) for slot in slots]
        values = {
            key: text.encode("utf-8", "surrogatepass")
            for key, text in zip(keys, texts, strict=False)
            if key is not None
        }
        try:
            await self._off_loop(self._cache, lambda cache: cache.set_many(values))
        except CacheError as error:
            logger.warning("answers are not kept: %s", error)

    async def _off_loop(self, cache: Cache, use: Callable[[Cache], T]) -> T:
        if not getattr(cache, "blocks", True):
            return use(cache)
        return await anyio.to_thread.run_sync(use, cache)

    def _key(self, slot: int, question: int) -> str | None:
        text = self._questions[question]
        if self._questions.index(text) != question:
            return None  # the same text twice would share its replications
        return answer_key(self._identity, text, slot, self._sampling)
