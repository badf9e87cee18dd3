"""Keep answers of siblings and embeddings: in memory, on disk (SQLite), or in Redis."""

from invent_chain.cache.encoder import CachedEncoder
from invent_chain.cache.keys import answer_key, as_cache, embedding_key
from invent_chain.cache.memory import MemoryCache
from invent_chain.cache.redis import RedisCache
from invent_chain.cache.sqlite import SqliteCache

__all__ = [
    "CachedEncoder",
    "MemoryCache",
    "RedisCache",
    "SqliteCache",
    "answer_key",
    "as_cache",
    "embedding_key",
]
