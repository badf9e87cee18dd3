"""Ask many questions for their replications, or one for one answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from invent_chain.protocols import Ask
from invent_chain.sample.asking import Asking
from invent_chain.sample.request import request
from invent_chain.sample.sampled import Limits, Sampled
from invent_chain.sample.settings import check_settings
from invent_chain.types import Sampling, Usage


async def sample(
    ask: Ask,
    wanted: Sequence[tuple[str, int]],
    *,
    sampling: Sampling,
    concurrency: int = 8,
    timeout: float = 60.0,  # noqa: ASYNC109 - of each request
    max_requests: int | None = None,
    deadline: float | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Sampled:
    """Ask each question for its replications.

    A failed request costs its answers and nothing else. `AskRefusedError` ends the asking: requests in flight are
    let finish, since they are paid for. At a bound, what came is returned. Cancelling leaves no task behind.

    Args:
        ask: The model. Its `max_n` (default 1) says how many answers one request may want; a model that returns
            fewer, or rejects the count, is asked for the missing ones singly and concurrently, once each.
        wanted: (question, replications >= 0) pairs.
        sampling: Generation settings of every request.
        concurrency: See `Limits`, as the next three.
        timeout: Of one request.
        max_requests: In all.
        deadline: In all.
        progress: Called with (answers that came or failed, answers wanted); what it raises is logged.

    Returns:
        The answers, independent of the order in which they arrive.

    Raises:
        ConfigurationError: A setting is out of range; raised before any request.
        InputError: A question is empty or no text; raised before any request.
    """
    wanted = tuple(wanted)
    limits = Limits(concurrency=concurrency, timeout=timeout, max_requests=max_requests, deadline=deadline)
    asking = Asking(ask, [question for question, _ in wanted], sampling=sampling, limits=limits, progress=progress)
    check_settings(wanted, sampling=sampling, timeout=timeout)
    await asking.more([count for _, count in wanted])
    return asking.sampled()


async def ask_once(
    ask: Ask,
    question: str,
    *,
    sampling: Sampling,
    timeout: float = 60.0,  # noqa: ASYNC109 - of the request
) -> tuple[str, Usage]:
    """Ask for one answer, the primary one.

    Args:
        ask: The model.
        question: What to ask.
        sampling: Generation settings; `Sampling()` leaves the model's own.
        timeout: Longest time in seconds, > 0.

    Returns:
        The answer, unchanged, and what it cost.

    Raises:
        AskError: No usable answer came; `AskTimeoutError` if not in time, `AskRefusedError` if asking is useless.
        ConfigurationError: A setting is out of range.
        InputError: The question is empty or no text.
    """
    check_settings([(question, 1)], sampling=sampling, timeout=timeout)
    started = time.perf_counter()
    replies = await request(ask, question, n=1, sampling=sampling, timeout=timeout)
    seconds = time.perf_counter() - started
    return replies.texts[0], Usage(1, replies.prompt_tokens, replies.completion_tokens, seconds)
