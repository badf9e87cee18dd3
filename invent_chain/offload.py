"""Work that needs a processor, off the event loop and a few pieces at a time.

Threads that compute take turns with the event loop for the interpreter's lock. With as many of them as the default
limiter allows (40), an application that scores a thousand answers at once would hardly get its turn.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

import anyio
import anyio.to_thread
from anyio.lowlevel import current_token

T = TypeVar("T")

_MOST = max(1, min(4, (os.cpu_count() or 2) - 1))


class PerLoop(Generic[T]):
    """One object for each event loop, for those that belong to one.

    Args:
        make: Makes it.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._by_loop: WeakKeyDictionary[object, T] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def here(self) -> T:
        """Return the one of the running event loop."""
        loop = current_token().native_token
        with self._lock:
            if loop not in self._by_loop:
                self._by_loop[loop] = self._make()
            return self._by_loop[loop]


_limiters = PerLoop(lambda: anyio.CapacityLimiter(_MOST))


async def off_loop(work: Callable[[], T]) -> T:
    """Run work in a thread, in the caller's context variables, when one of the few threads is free."""
    return await anyio.to_thread.run_sync(work, limiter=_limiters.here())
