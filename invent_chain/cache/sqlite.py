"""A cache on disk, shared by the processes of a machine."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from invent_chain.cache.limits import check_limits
from invent_chain.errors import CacheError, ConfigurationError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, value BLOB NOT NULL, since REAL NOT NULL, used REAL NOT NULL)
  WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS kept_used ON kept (used);
"""
_AT_ONCE = 500
"""Keys in one statement: SQLite bounds the number of its parameters."""

_TRIM_EVERY = 200
"""Values written between two looks at the size, which reads the whole table."""

_TRIM_TO = 0.9
"""Share of `max_bytes` that is left after trimming, so that not every write trims."""


def default_path() -> Path:
    """Return where the cache lies if nothing is said: in the user's folder for caches."""
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "invent-chain" / "cache.sqlite"


class SqliteCache:
    """Keep values in a SQLite file; safe under several threads and processes. What was used longest ago goes first.

    The file holds answers of the model in plain text, and is made readable by its owner alone.

    Args:
        path: The file; made at first use, with its folder. None is `default_path()`.
        expiry: Seconds after which a value is no longer given, > 0; None keeps it.
        max_bytes: Most bytes of keys and values, looked at every 200 writes; None for no limit.
        timeout: Longest wait in seconds for another process that writes.

    Raises:
        ConfigurationError: A limit is not above 0.
    """

    blocks = True

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        expiry: float | None = None,
        max_bytes: int | None = 1_000_000_000,
        timeout: float = 10.0,
    ) -> None:
        check_limits(expiry, max_bytes, timeout)
        given: object = path
        if given is not None and not (isinstance(given, str | Path) and str(given)):
            raise ConfigurationError(f"path={path!r}: pass the file's name, or None for the default place")
        self.path = default_path() if path is None else Path(path)
        self._expiry, self._max_bytes, self._timeout = expiry, max_bytes, timeout
        self._connection: sqlite3.Connection | None = None
        self._process = -1
        self._until_trim = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"SqliteCache({str(self.path)!r})"

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return what is kept of these.

        Raises:
            CacheError: The file cannot be read, or is no cache.
        """
        now = time.time()
        found: dict[str, bytes] = {}
        oldest = 0.0 if self._expiry is None else now - self._expiry
        with self._open() as connection:
            for start in range(0, len(keys), _AT_ONCE):
                some = keys[start : start + _AT_ONCE]
                marks = ",".join("?" * len(some))
                rows = connection.execute(
                    f"SELECT key, value FROM kept WHERE since >= ? AND key IN ({marks})",  # noqa: S608 - only marks
                    (oldest, *some),
                )
                found.update(rows)
            connection.executemany("UPDATE kept SET used = ? WHERE key = ?", [(now, key) for key in found])
        return found

    def set_many(self, values: Mapping[str, bytes]) -> None:
        """Keep these.

        Raises:
            CacheError: The file cannot be written, or is no cache.
        """
        now = time.time()
        with self._open() as connection:
            rows = [(key, value, now, now) for key, value in values.items()]
            connection.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?)", rows)
            self._until_trim -= len(rows)
            if self._until_trim <= 0:
                self._until_trim = _TRIM_EVERY
                self._trim(connection, now)

    def clear(self) -> None:
        """Forget everything."""
        with self._open() as connection:
            connection.execute("DELETE FROM kept")

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def _trim(self, connection: sqlite3.Connection, now: float) -> None:
        if self._expiry is not None:
            connection.execute("DELETE FROM kept WHERE since < ?", (now - self._expiry,))
        if self._max_bytes is None:
            return
        (size,) = connection.execute("SELECT COALESCE(SUM(LENGTH(key) + LENGTH(value)), 0) FROM kept").fetchone()
        if size <= self._max_bytes:
            return
        surplus, gone = size - _TRIM_TO * self._max_bytes, []
        for key, length in connection.execute("SELECT key, LENGTH(key) + LENGTH(value) FROM kept ORDER BY used"):
            gone.append((key,))
            surplus -= length
            if surplus <= 0:
                break
        connection.executemany("DELETE FROM kept WHERE key = ?", gone)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection within one transaction; a forked process opens one of its own."""
        with self._lock:
            try:
                if self._connection is None or self._process != os.getpid():
                    self._connection, self._process = self._connected(), os.getpid()
                with self._connection as connection:
                    yield connection
            except (sqlite3.Error, OSError) as error:
                raise CacheError(
                    f"the cache {self.path} cannot be used ({error}): delete it, or name another path"
                ) from error

    def _connected(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch(mode=0o600)
        connection = sqlite3.connect(self.path, timeout=self._timeout, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.executescript(_SCHEMA)
        return connection
