"""How many requests are in flight at a time: a window for all questions, which shrinks when the model says so.

Additive increase, multiplicative decrease: each answer widens the window by a fraction, so that it grows by one for
each windowful of answers; a rate limit halves it and holds everything back for as long as the server asks.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio


class Gate:
    """Lets requests of one event loop through, first come, first served.

    Args:
        most: Widest window: most requests in flight, >= 1.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.window = float(most)
        self.in_flight = 0
        self._waiting: deque[anyio.Event] = deque()
        self._open_at = 0.0

    @asynccontextmanager
    async def passed(self) -> AsyncIterator[None]:
        """Wait for a place in the window, and hold it."""
        await self._enter()
        try:
            # A place held back by a pause stays taken, so nobody overtakes.
            while (wait := self._open_at - time.monotonic()) > 0:  # noqa: ASYNC110 - a pause may grow meanwhile
                await anyio.sleep(wait)
            yield
        finally:
            self.in_flight -= 1
            self._wake()

    def answered(self) -> None:
        """Widen the window a little."""
        self.window = min(self._most, self.window + 1.0 / self.window)
        self._wake()

    def throttled(self, seconds: float) -> None:
        """Halve the window, once for each pause, and let nobody through for `seconds`."""
        now = time.monotonic()
        if now >= self._open_at:
            self.window = max(1.0, self.window / 2)
        self._open_at = max(self._open_at, now + seconds)

    async def _enter(self) -> None:
        if not self._waiting and self.in_flight < int(self.window):
            self.in_flight += 1
            return
        turn = anyio.Event()
        self._waiting.append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():  # the place was given just as the wait was cancelled
                self.in_flight -= 1
                self._wake()
            else:
                self._waiting.remove(turn)
            raise

    def _wake(self) -> None:
        while self._waiting and self.in_flight < int(self.window):
            self.in_flight += 1
            self._waiting.popleft().set()
