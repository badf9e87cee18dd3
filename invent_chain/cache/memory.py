"""A cache that lives as long as the process."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from invent_chain.cache.limits import check_limits


class MemoryCache:
    """Keep values in memory; safe under several threads. What was used longest ago goes first.

    Args:
        expiry: Seconds after which a value is no longer given, > 0; None keeps it.
        max_bytes: Most bytes of keys and values; None for no limit.

    Raises:
        ConfigurationError: A limit is not above 0.
    """

    blocks = False

    def __init__(self, *, expiry: float | None = None, max_bytes: int | None = 64_000_000) -> None:
        check_limits(expiry, max_bytes)
        self._expiry, self._max_bytes = expiry, max_bytes
        self._kept: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return what is kept of these."""
        now, found = time.monotonic(), {}
        with self._lock:
            for key in keys:
                value, since = self._kept.get(key, (None, now))
                if value is None:
                    continue
                if self._expiry is not None and now - since > self._expiry:
                    self._drop(key)
                    continue
                self._kept.move_to_end(key)
                found[key] = value
        return found

    def set_many(self, values: Mapping[str, bytes]) -> None:
        """Keep these."""
        now = time.monotonic()
        with self._lock:
            for key, value in values.items():
                if key in self._kept:
                    self._drop(key)
                self._kept[key] = value, now
                self._bytes += len(key) + len(value)
            while self._max_bytes is not None and self._bytes > self._max_bytes:
                self._drop(next(iter(self._kept)))

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0

    def _drop(self, key: str) -> None:
        value, _ = self._kept.pop(key)
        self._bytes -= len(key) + len(value)
