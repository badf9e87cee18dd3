"""What is kept under which key, and what users may pass as a cache."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from invent_chain.cache.sqlite import SqliteCache
from invent_chain.errors import ConfigurationError
from invent_chain.protocols import Cache
from invent_chain.types import Sampling


def answer_key(identity: str, question: str, replication: int, sampling: Sampling) -> str:
    """Return the key of one answer: equal only for the same model, prompt, settings, question and replication.

    Args:
        identity: What the answer depends on besides these: server, model, prompt, further parameters.
        question: The text asked.
        replication: Number of the answer to this question, >= 0: replications are never mixed.
        sampling: Generation settings.
    """
    return _digest("answer", identity, question, replication, sampling.temperature, sampling.max_tokens)


def embedding_key(encoder: str, text: str) -> str:
    """Return the key of the embedding of a text by an encoder of this identity."""
    return _digest("embedding", encoder, text)


def as_cache(what: Any) -> Cache | None:
    """Return a cache: None or False switches it off, True is SQLite at its default place, else a `Cache`.

    Raises:
        ConfigurationError: None of these.
    """
    if what is None or what is False:
        return None
    if what is True:
        return SqliteCache()
    if isinstance(what, type):
        raise ConfigurationError(f"cache={what.__name__}: pass an instance, {what.__name__}(...)")
    if isinstance(what, Cache):
        return what
    raise ConfigurationError(
        f"cache is a {type(what).__name__}: pass True (on disk), a MemoryCache, SqliteCache or RedisCache, or None"
    )


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()
