"""A cache that several machines share (extra: `redis`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from invent_chain.cache.limits import check_limits
from invent_chain.errors import CacheError, ConfigurationError, MissingExtraError

_WEEK = 7 * 24 * 3600.0


class RedisCache:
    """Keep values in a Redis server; safe under several threads, processes and machines.

    The size is limited by the server's own `maxmemory`, with `maxmemory-policy allkeys-lru`.

    Args:
        url: Address of the server, such as "redis://localhost:6379/0".
        expiry: Seconds after which the server forgets a value, > 0; None keeps it for good.
        prefix: What all keys begin with.
        timeout: Longest wait for the server in seconds: a server that hangs must not hold up a score.

    Raises:
        ConfigurationError: A limit is not above 0, or the address is none.
        MissingExtraError: The package `redis` is not installed.
    """

    blocks = True

    def __init__(
        self, url: str, *, expiry: float | None = _WEEK, prefix: str = "invent-chain:", timeout: float = 2.0
    ) -> None:
        check_limits(expiry, None, timeout)
        for name, text in (("url", url), ("prefix", prefix)):
            if not isinstance(text, str):
                raise ConfigurationError(f"{name} must be a text; got a {type(text).__name__}")
        try:
            import redis
        except ImportError as error:
            raise MissingExtraError("RedisCache", "redis") from error
        try:
            self._client: Any = redis.Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout)
        except ValueError as error:
            shown = url.rpartition("@")[2]  # never the password
            raise ConfigurationError(
                f"{shown!r} is no address of a Redis server: pass one such as redis://localhost:6379/0"
            ) from error
        self._error = redis.RedisError
        self._where = urlsplit(url).netloc.rpartition("@")[2]
        self._prefix = prefix
        self._expiry = None if expiry is None else max(1, round(expiry * 1000))

    def __repr__(self) -> str:
        return f"RedisCache({self._where!r})"

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return what is kept of these.

        Raises:
            CacheError: The server cannot be reached, or refuses.
        """
        if not keys:
            return {}
        try:
            values = self._client.mget([self._prefix + key for key in keys])
        except self._error as error:
            raise self._failed(error) from error
        return {key: value for key, value in zip(keys, values, strict=True) if value is not None}

    def set_many(self, values: Mapping[str, bytes]) -> None:
        """Keep these.

        Raises:
            CacheError: The server cannot be reached, or refuses.
        """
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for key, value in values.items():
                    pipe.set(self._prefix + key, value, px=self._expiry)
                pipe.execute()
        except self._error as error:
            raise self._failed(error) from error

    def clear(self) -> None:
        """Forget everything under the prefix."""
        try:
            for key in self._client.scan_iter(match=f"{self._prefix}*", count=1000):
                self._client.delete(key)
        except self._error as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _failed(self, error: Exception) -> CacheError:
        return CacheError(
            f"the Redis server at {self._where} cannot be used ({type(error).__name__}): check that it runs, its "
            "address and its password"
        )
