"""Questions that are being asked: concurrently, several answers a request, within bounds.

Every wanted answer is a slot, the j-th replication of a question. Jobs fill slots and wait in a heap ordered by
replication first and question second, so that a bound cuts the breadth of all questions evenly. `Asking` may be told to
ask for more, round after round; bounds and what was learned about the model hold across rounds.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import anyio
import anyio.abc

from invent_chain.errors import AskError, AskRateLimitedError, AskRefusedError
from invent_chain.protocols import Ask, BatchAsk, Cache
from invent_chain.sample.budget import Bounds, Ledger
from invent_chain.sample.gate import Gate
from invent_chain.sample.kept import KeptAnswers
from invent_chain.sample.request import CountRejectedError, hedged, request, request_many
from invent_chain.sample.sampled import Limits, Outcome, Sampled
from invent_chain.sample.settings import check_settings, most_at_once
from invent_chain.types import Price, Replies, Sampling

logger = logging.getLogger(__name__)

_MOST_TRIES = 3
"""How often one request is sent while the model asks to slow down, what the client tried by itself included."""

_FIRST_WAIT = 1.0
"""Seconds before the second try where the model does not say; doubled for each further one."""


@dataclass(frozen=True, order=True, slots=True)
class _Job:
    """A request for slots `slot` to `slot + count - 1` of a question; with n < count, the rest is asked for later."""

    slot: int
    question: int
    count: int
    n: int
    tries: int = field(default=0, compare=False)


class Asking:
    """Questions that are being asked: their slots, the heap of jobs, and what was learned about the model.

    Args:
        ask: The model; see `sample`.
        questions: Texts to ask.
        sampling: Generation settings of every request.
        limits: What bounds the asking, over all rounds.
        price: Price of the model, for `max_cost` and for the cost in the usage.
        gate: Shared with other questions; by default one as wide as `concurrency`.
        cache: Answers found there are not asked for. Used only where the model has an `identity`.
        progress: See `sample`.

    Raises:
        ConfigurationError: A setting is out of range.
        InputError: A question is empty or no text.
    """

    def __init__(
        self,
        ask: Ask,
        questions: Sequence[str],
        *,
        sampling: Sampling,
        limits: Limits,
        price: Price | None = None,
        gate: Gate | None = None,
        cache: Cache | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        check_settings(
            [(question, 0) for question in questions],
            sampling=sampling,
            timeout=limits.timeout,
            concurrency=limits.concurrency,
            max_requests=limits.max_requests,
            deadline=limits.deadline,
        )
        self._ask, self._questions, self._sampling, self._limits = ask, tuple(questions), sampling, limits
        self._at_once = most_at_once(ask)
        self._gate = Gate(limits.concurrency) if gate is None else gate
        self._kept = KeptAnswers(cache, ask, self._questions, sampling)
        self._progress = progress
        bounds = Bounds(limits.max_requests, limits.max_total_tokens, limits.max_cost, price)
        self._ledger = Ledger(bounds, sampling.max_tokens)
        self._texts: list[list[str | None]] = [[] for _ in questions]
        self._failures: list[list[str | None]] = [[] for _ in questions]
        self._total = self._done = self._hits = 0
        self._heap: list[_Job] = []
        self._workers = 0
        self._stopped: str | None = None
        self._doubtful = False  # a count was rejected: find out with one answer first
        self._singly = False  # the model gives one answer a request, whatever is asked
        self._group: anyio.abc.TaskGroup
        self._started = time.perf_counter()

    @property
    def answers(self) -> list[tuple[str | None, ...]]:
        """Answers of each question by slot; None for one that did not come."""
        return [tuple(texts) for texts in self._texts]

    @property
    def stopped(self) -> str | None:
        """Why nothing more can be asked, if a bound was met or the model refused."""
        return self._stopped

    async def more(self, counts: Sequence[int]) -> None:
        """Ask question i for `counts[i]` more answers, and wait until they came, failed or met a bound."""
        wanted = []
        for i, count in enumerate(counts):
            first = len(self._texts[i])
            self._texts[i] += [None] * count
            self._failures[i] += [None] * count
            wanted += [(first + k, i) for k in range(count)]
        self._total += len(wanted)
        left = None
        if self._limits.deadline is not None:
            left = max(0.0, self._limits.deadline - (time.perf_counter() - self._started))
        with anyio.move_on_after(left) as limit:
            missing = await self._look_up(wanted)
            if isinstance(self._ask, BatchAsk):
                await self._ask_in_one_go(self._ask, sorted(missing))
            else:
                await self._ask_concurrently(missing)
        if limit.cancelled_caught:
            self._stopped = f"deadline={self._limits.deadline:g} s reached: raise it or ask for fewer answers"
        self._close(self._stopped or "the request was cancelled before its answer came")

    def sampled(self) -> Sampled:
        """Return what came of all rounds."""
        usage = replace(
            self._ledger.usage,
            seconds=time.perf_counter() - self._started,
            cache_hits=self._hits,
            cost=self._ledger.cost(),
        )
        notes = []
        if self._singly:
            notes.append(f"the model gives one answer a request: {usage.requests} requests for {self._total} answers")
        if self._kept.note is not None:
            notes.append(self._kept.note)
        if self._ledger.guessed and (self._limits.max_total_tokens is not None or self._limits.max_cost is not None):
            notes.append("the model does not count tokens: the budget goes by one token for four characters")
        return Sampled(
            outcomes=tuple(
                Outcome(question, tuple(t for t in texts if t is not None), tuple(f for f in failures if f is not None))
                for question, texts, failures in zip(self._questions, self._texts, self._failures, strict=True)
            ),
            usage=usage,
            notes=tuple(notes),
        )

    async def _look_up(self, wanted: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Fill slots from the cache; return (slot, question) of those that are still open."""
        found = await self._kept.look_up(wanted)
        for (slot, i), text in found.items():
            self._texts[i][slot] = text
        if found:
            self._hits += len(found)
            self._tell(len(found))
        return [place for place in wanted if place not in found]

    async def _ask_in_one_go(self, ask: BatchAsk, missing: list[tuple[int, int]]) -> None:
        """Ask for all that is missing at once, or for as much at a time as the bounds allow."""
        while missing:
            allowed, self._stopped = self._ledger.stop(self._prompts(missing), len(missing))
            if allowed == 0:
                return  # what is open is given the reason
            now, missing = missing[:allowed], missing[allowed:]
            try:
                await self._ask_batch(ask, now)
            except AskError as error:
                self._stopped = f"not asked, since the model failed: {error}" if missing else None
                for slot, i in now:
                    self._fail(_Job(slot, i, 1, 1), str(error) or type(error).__name__)
                return

    async def _ask_batch(self, ask: BatchAsk, places: list[tuple[int, int]]) -> None:
        by_question = _by_question(places)
        wanted = [(self._questions[i], len(slots)) for i, slots in by_question.items()]
        prompts = self._prompts(places)
        expected = self._ledger.sent(prompts, len(places))
        joined: Replies | None = None
        try:
            async with self._gate.passed():
                replies = await request_many(ask, wanted, sampling=self._sampling)
            joined = Replies(
                tuple(text for reply in replies for text in reply.texts) or ("",),
                _summed(reply.prompt_tokens for reply in replies),
                _summed(reply.completion_tokens for reply in replies),
            )
        finally:
            self._ledger.done(expected, prompts, joined)
        came: dict[tuple[int, int], str] = {}
        for (i, slots), reply in zip(by_question.items(), replies, strict=True):
            for slot, text in zip(slots, (*reply.texts, *[""] * len(slots)), strict=False):
                if text.strip():
                    self._texts[i][slot] = came[slot, i] = text
                    self._tell(1)
                else:
                    self._fail(_Job(slot, i, 1, 1), "the model gave no text: raise max_tokens")
        await self._kept.keep(came)

    def _prompts(self, places: list[tuple[int, int]]) -> str:
        return "".join(self._filled(i) for i in _by_question(places))

    async def _ask_concurrently(self, missing: list[tuple[int, int]]) -> None:
        for i, slots in _by_question(missing).items():
            for run in _runs(slots):
                for slot in range(run.start, run.stop, self._at_once):
                    n = min(self._at_once, run.stop - slot)
                    self._heap.append(_Job(slot, i, n, n))
        heapq.heapify(self._heap)
        async with anyio.create_task_group() as self._group:
            self._hire()

    def _hire(self) -> None:
        """Start workers for the jobs that wait, as many as may be in flight."""
        for _ in range(min(self._limits.concurrency - self._workers, len(self._heap))):
            self._workers += 1
            self._group.start_soon(self._work)

    async def _work(self) -> None:
        try:
            while (job := self._next()) is not None:
                await self._do(job)
                self._hire()
        finally:
            self._workers -= 1

    def _push(self, question: int, slots: range) -> None:
        for slot in slots:
            heapq.heappush(self._heap, _Job(slot, question, 1, 1))
        self._hire()

    def _next(self) -> _Job | None:
        """Return the next request; None where there is none, or where another one in flight has to be waited for."""
        if self._stopped is not None or not self._heap:
            return None
        job = heapq.heappop(self._heap)
        if job.n > 1 and self._singly:
            self._push(job.question, range(job.slot + 1, job.slot + job.count))
            job = _Job(job.slot, job.question, 1, 1, job.tries)
        elif job.n > 1 and self._doubtful:
            job = replace(job, n=1)
        allowed, reason = self._ledger.stop(self._filled(job.question), job.n)
        if allowed == job.n:
            return job
        if allowed > 0:
            return replace(job, n=allowed)
        heapq.heappush(self._heap, job)
        if reason is not None:
            self._stopped = reason
        return None

    async def _do(self, job: _Job) -> None:
        text = self._filled(job.question)
        expected = self._ledger.sent(text, job.n)
        replies: Replies | None = None
        try:
            async with self._gate.passed():
                replies = await self._request(job)
        except CountRejectedError as error:
            if job.n == 1:
                self._fail(job, str(error))
            else:
                self._doubtful = True
                heapq.heappush(self._heap, _Job(job.slot, job.question, job.count, job.n))
        except AskRateLimitedError as error:
            self._slow_down(job, error)
        except AskRefusedError as error:
            self._fail(job, str(error) or type(error).__name__)
            if self._stopped is None:
                self._stopped = f"not asked, since the model refused another request: {error}"
        except AskError as error:
            self._fail(job, str(error) or type(error).__name__)
        finally:
            self._ledger.done(expected, text, replies)
        if replies is not None:
            self._gate.answered()
            self._take(job, replies)
            await self._kept.keep({(job.slot + k, job.question): text for k, text in enumerate(replies.texts)})

    def _filled(self, question: int) -> str:
        """Return the text that is sent for a question, as far as the model tells."""
        text: str = getattr(self._ask, "filled", str)(self._questions[question])
        return text

    async def _request(self, job: _Job) -> Replies:
        question = self._questions[job.question]

        async def send() -> Replies:
            return await request(self._ask, question, n=job.n, sampling=self._sampling, timeout=self._limits.timeout)

        if self._limits.hedge is None:
            return await send()
        return await hedged(send, self._limits.hedge, lambda: self._ledger.hedge(self._filled(job.question), job.n))

    def _slow_down(self, job: _Job, error: AskRateLimitedError) -> None:
        wait = _FIRST_WAIT * 2**job.tries if error.retry_after is None else error.retry_after
        self._gate.throttled(min(wait, self._limits.timeout))
        tries = job.tries + error.tries
        if tries >= _MOST_TRIES or wait > self._limits.timeout:
            self._fail(job, str(error) or type(error).__name__)
        else:
            heapq.heappush(self._heap, replace(job, tries=tries))

    def _take(self, job: _Job, replies: Replies) -> None:
        came = len(replies.texts)
        self._texts[job.question][job.slot : job.slot + came] = replies.texts
        if came == 1 and (job.n > 1 or (self._doubtful and job.count > 1)):
            self._singly = True
        rest = range(job.slot + came, job.slot + job.count)
        if rest and came == job.n and not (self._singly or self._doubtful):  # fewer were wanted, to keep to a bound
            heapq.heappush(self._heap, _Job(rest.start, job.question, len(rest), len(rest)))
        else:
            self._push(job.question, rest)
        self._tell(came)

    def _fail(self, job: _Job, reason: str) -> None:
        self._failures[job.question][job.slot : job.slot + job.count] = [reason] * job.count
        self._tell(job.count)

    def _close(self, reason: str) -> None:
        """Give every slot that is still open its reason: the bound that stopped the asking, or `reason`."""
        for job in self._heap:
            self._failures[job.question][job.slot : job.slot + job.count] = [self._stopped or reason] * job.count
        self._heap.clear()
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


def _by_question(places: list[tuple[int, int]]) -> dict[int, list[int]]:
    """Return the slots of each question."""
    slots: dict[int, list[int]] = {}
    for slot, i in places:
        slots.setdefault(i, []).append(slot)
    return slots


def _runs(slots: list[int]) -> list[range]:
    """Join neighbouring slots, so that one request can fill several."""
    runs: list[range] = []
    for slot in sorted(slots):
        if runs and runs[-1].stop == slot:
            runs[-1] = range(runs[-1].start, slot + 1)
        else:
            runs.append(range(slot, slot + 1))
    return runs


def _summed(counts: Iterable[int | None]) -> int | None:
    """Return the sum; None where one is not known."""
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total
