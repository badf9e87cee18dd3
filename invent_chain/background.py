"""A score that is still being made: the answer is out, and who needs the report waits for it."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from invent_chain.errors import ConfigurationError
from invent_chain.loop_thread import LoopThread
from invent_chain.types import UncertaintyReport


class Pending:
    """A report to come; `await pending` in async code, `pending.result()` in sync code."""

    def __init__(self, future: asyncio.Task[UncertaintyReport] | concurrent.futures.Future[UncertaintyReport]) -> None:
        self._future = future

    def __repr__(self) -> str:
        return f"Pending({'done' if self.done() else 'scoring'})"

    def __await__(self) -> Generator[Any, None, UncertaintyReport]:
        """Wait for the report; giving up waiting does not end the scoring."""
        return asyncio.shield(asyncio.wrap_future(self._future)).__await__()

    def done(self) -> bool:
        """Whether the report is there, or will never be."""
        return self._future.done()

    def result(self, timeout: float | None = None) -> UncertaintyReport:
        """Wait for the report from sync code.

        Args:
            timeout: Longest wait in seconds; None waits for as long as it takes.

        Raises:
            TimeoutError: It is not there yet.
            ConfigurationError: The event loop that scores would wait for itself: `await` it there.
        """
        if isinstance(self._future, concurrent.futures.Future):
            return self._future.result(timeout)
        if not self._future.done():
            raise ConfigurationError("the report is being made in an event loop: `await` it there")
        return self._future.result()

    def cancel(self) -> bool:
        """Give up scoring; False if it is too late."""
        return self._future.cancel()


class Background:
    """Runs scorings beside the application: in its event loop where one runs, else in the scorer's thread.

    Args:
        loop: The scorer's thread.
    """

    def __init__(self, loop: LoopThread) -> None:
        self._loop = loop
        self._running: set[Any] = set()  # tasks that nobody holds would be collected

    def start(self, make: Callable[[], Coroutine[Any, Any, UncertaintyReport]]) -> Pending:
        """Start it, and return at once."""
        try:
            future: Any = asyncio.get_running_loop().create_task(make())
        except RuntimeError:
            future = self._loop.submit(make())
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        return Pending(future)
