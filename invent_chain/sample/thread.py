"""Run blocking model calls off the event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

T = TypeVar("T")


async def in_thread(call: Callable[[], T]) -> T:
    """Run a blocking call in a worker thread, in the caller's context variables.

    Cancelling does not wait for the call: the thread is left to end by itself, and what it returns is dropped.

    Raises:
        Exception: Whatever the call raises; a StopIteration becomes a RuntimeError.
    """

    def boxed() -> tuple[T]:
        return (call(),)  # trio takes no coroutine out of a thread, and a lambda around an async function returns one

    # A limiter of its own: the sampler already bounds concurrency, and threads left behind by a hanging model must not
    # use up the limiter that the application shares.
    (result,) = await anyio.to_thread.run_sync(boxed, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1))
    return result
