"""Ask siblings: concurrently, several answers a request where the model can, within bounds.

Every wanted answer is a slot, the j-th replication of a question. Jobs fill slots and wait in a heap ordered by
replication first and question second, so that a bound cuts the breadth of all questions evenly.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import anyio
import anyio.abc

from invent_chain.errors import AskError, AskRefusedError
from invent_chain.protocols import Ask
from invent_chain.sample.request import CountRejectedError, request
from invent_chain.sample.settings import check_settings, most_at_once
from invent_chain.types import Replies, Sampling, Usage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one question.

    Attributes:
        question: The text asked.
        texts: The answers in the order of their slots, at most as many as were wanted.
        failures: One sentence for each answer that did not come.
    """

    question: str
    texts: tuple[str, ...]
    failures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sampled:
    """What came of all questions.

    Attributes:
        outcomes: One for each wanted question, in the order of `wanted`.
        usage: Requests sent (failed ones included; retries inside a client are not seen), tokens where the model
            says, wall-clock seconds.
        notes: What made it costlier than planned.
    """

    outcomes: tuple[Outcome, ...]
    usage: Usage
    notes: tuple[str, ...] = ()


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
        concurrency: Most requests in flight, >= 1. A sync model that times out still runs in its thread.
        timeout: Longest time for one request in seconds, > 0, counted from when it is sent.
        max_requests: Most requests in all, >= 1; None for no limit.
        deadline: Longest time for all requests in seconds, > 0; None for no limit.
        progress: Called with (answers that came or failed, answers wanted); what it raises is logged.

    Returns:
        The answers, independent of the order in which they arrive.

    Raises:
        ConfigurationError: A setting is out of range; raised before any request.
        InputError: A question is empty or no text; raised before any request.
    """
    wanted = tuple(wanted)
    check_settings(
        wanted,
        sampling=sampling,
        concurrency=concurrency,
        timeout=timeout,
        max_requests=max_requests,
        deadline=deadline,
    )
    run = _Run(ask, wanted, sampling, concurrency, timeout, max_requests, progress)
    return await run.finish(most_at_once(ask), deadline)


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


@dataclass(frozen=True, order=True, slots=True)
class _Job:
    """A request for slots `slot` to `slot + count - 1` of a question; with n < count, the rest is asked for later."""

    slot: int
    question: int
    count: int
    n: int


class _Run:
    """One call of `sample`: its heap of jobs, its slots, and what it learns about the model."""

    def __init__(
        self,
        ask: Ask,
        wanted: Sequence[tuple[str, int]],
        sampling: Sampling,
        concurrency: int,
        timeout: float,
        max_requests: int | None,
        progress: Callable[[int, int], object] | None,
    ) -> None:
        self._ask, self._wanted, self._sampling = ask, wanted, sampling
        self._concurrency, self._timeout, self._max_requests = concurrency, timeout, max_requests
        self._progress = progress
        self._texts: list[list[str | None]] = [[None] * count for _, count in wanted]
        self._failures: list[list[str | None]] = [[None] * count for _, count in wanted]
        self._total = sum(count for _, count in wanted)
        self._done = 0
        self._usage = Usage()
        self._heap: list[_Job] = []
        self._workers = 0
        self._stopped: str | None = None
        self._doubtful = False  # a count was rejected: find out with one answer first
        self._singly = False  # the model gives one answer a request, whatever is asked
        self._group: anyio.abc.TaskGroup

    async def finish(self, at_once: int, deadline: float | None) -> Sampled:
        started = time.perf_counter()
        for i, (_, count) in enumerate(self._wanted):
            for slot in range(0, count, at_once):
                n = min(at_once, count - slot)
                self._heap.append(_Job(slot, i, n, n))
        heapq.heapify(self._heap)
        with anyio.move_on_after(deadline) as limit:
            async with anyio.create_task_group() as self._group:
                for _ in range(min(self._concurrency, len(self._heap))):
                    self._hire()
        self._close(
            f"deadline={deadline:g} s reached: raise it or ask for fewer answers"
            if limit.cancelled_caught
            else "the request was cancelled before its answer came"
        )
        seconds = time.perf_counter() - started
        note = f"the model gives one answer a request: {self._usage.requests} requests for {self._total} answers"
        return Sampled(
            outcomes=tuple(
                Outcome(question, tuple(t for t in texts if t is not None), tuple(f for f in failures if f is not None))
                for (question, _), texts, failures in zip(self._wanted, self._texts, self._failures, strict=True)
            ),
            usage=Usage(self._usage.requests, self._usage.prompt_tokens, self._usage.completion_tokens, seconds),
            notes=(note,) if self._singly else (),
        )

    def _hire(self) -> None:
        self._workers += 1
        self._group.start_soon(self._work)

    async def _work(self) -> None:
        while (job := self._next()) is not None:
            await self._do(job)
        self._workers -= 1

    def _push(self, question: int, slots: range) -> None:
        for slot in slots:
            heapq.heappush(self._heap, _Job(slot, question, 1, 1))
            if self._workers < self._concurrency:
                self._hire()

    def _next(self) -> _Job | None:
        if self._stopped is not None or not self._heap:
            return None
        if self._max_requests is not None and self._usage.requests >= self._max_requests:
            self._stopped = f"max_requests={self._max_requests} reached: raise it or ask for fewer answers"
            return None
        job = heapq.heappop(self._heap)
        if job.n > 1 and self._singly:
            self._push(job.question, range(job.slot + 1, job.slot + job.count))
            return _Job(job.slot, job.question, 1, 1)
        if job.n > 1 and self._doubtful:
            return _Job(job.slot, job.question, job.count, 1)
        return job

    async def _do(self, job: _Job) -> None:
        self._usage += Usage(requests=1)
        question = self._wanted[job.question][0]
        try:
            replies = await request(self._ask, question, n=job.n, sampling=self._sampling, timeout=self._timeout)
        except CountRejectedError as error:
            if job.n == 1:
                self._fail(job, str(error))
            else:
                self._doubtful = True
                heapq.heappush(self._heap, _Job(job.slot, job.question, job.count, job.n))
        except AskRefusedError as error:
            self._fail(job, str(error) or type(error).__name__)
            if self._stopped is None:
                self._stopped = f"not asked, since the model refused another request: {error}"
        except AskError as error:
            self._fail(job, str(error) or type(error).__name__)
        else:
            self._take(job, replies)

    def _take(self, job: _Job, replies: Replies) -> None:
        self._usage += Usage(prompt_tokens=replies.prompt_tokens, completion_tokens=replies.completion_tokens)
        came = len(replies.texts)
        self._texts[job.question][job.slot : job.slot + came] = replies.texts
        if job.count > 1 and came == 1:
            self._singly = True
        self._push(job.question, range(job.slot + came, job.slot + job.count))
        self._tell(came)

    def _fail(self, job: _Job, reason: str) -> None:
        self._failures[job.question][job.slot : job.slot + job.count] = [reason] * job.count
        self._tell(job.count)

    def _close(self, reason: str) -> None:
        """Give every slot that is still open its reason: the bound that stopped the asking, or `reason`."""
        for job in self._heap:
            self._failures[job.question][job.slot : job.slot + job.count] = [self._stopped or reason] * job.count
        for texts, failures in zip(self._texts, self._failures, strict=True):
            for slot, (text, failure) in enumerate(zip(texts, failures, strict=True)):
                if text is None and failure is None:
                    failures[slot] = reason
        if self._done < self._total:
            self._tell(self._total - self._done)

    def _tell(self, more: int) -> None:
        self._done += more
        if self._progress is None:
            return
        try:
            self._progress(self._done, self._total)
        except Exception:
            logger.warning("the progress function raised; sampling goes on", exc_info=True)
