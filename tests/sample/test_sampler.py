import asyncio
import logging
import random
import threading
import time

import anyio
import pytest

from invent_chain.errors import (
    AskError,
    AskRefusedError,
    AskTimeoutError,
    ConfigurationError,
    InputError,
)
from invent_chain.sample import CallableAsk, ask_once, sample
from invent_chain.types import Replies, Sampling, Usage

pytestmark = pytest.mark.anyio
PLAIN = Sampling()


class Many:
    """A model that returns up to `gives` answers a request, after a random delay."""

    def __init__(self, max_n=5, gives=5, delays=None):
        self.max_n, self.gives, self.delays = max_n, gives, delays
        self.asked = []
        self.now = self.most = 0

    async def ask(self, question, *, n, sampling):
        self.asked.append((question, n))
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await anyio.sleep(self.delays.random() * 0.02 if self.delays else 0.002)
        finally:
            self.now -= 1
        return Replies(tuple(f"{question}{j}" for j in range(min(n, self.gives))), 2, 1)


def counted(outcomes):
    return [(len(o.texts), len(o.failures)) for o in outcomes]


async def test_answers_come_in_the_order_wanted():
    ask = Many()
    sampled = await sample(ask, [("a", 4), ("b", 0), ("a", 2), ("c", 7)], sampling=PLAIN)
    assert [o.question for o in sampled.outcomes] == ["a", "b", "a", "c"]
    assert [len(o.texts) for o in sampled.outcomes] == [4, 0, 2, 7]
    assert sampled.outcomes[3].texts == ("c0", "c1", "c2", "c3", "c4", "c0", "c1")
    assert sorted(n for _, n in ask.asked) == [2, 2, 4, 5]
    assert (sampled.usage.requests, sampled.usage.prompt_tokens, sampled.usage.completion_tokens) == (4, 8, 4)
    assert sampled.usage.seconds > 0


async def test_nothing_wanted_asks_nothing():
    assert (await sample(Many(), [], sampling=PLAIN)).outcomes == ()
    assert (await sample(Many(), [("a", 0)], sampling=PLAIN)).usage.requests == 0


@pytest.mark.parametrize("concurrency", [1, 3, 100])
async def test_concurrency_is_bounded_and_used(concurrency):
    ask = Many(max_n=1)
    await sample(ask, [(f"q{i}", 3) for i in range(4)], sampling=PLAIN, concurrency=concurrency)
    assert ask.most == min(concurrency, 12)


@pytest.mark.parametrize("gives", [1, 2, 5])
async def test_result_does_not_depend_on_arrival(gives):
    results = set()
    for seed in range(4):
        ask = Many(gives=gives, delays=random.Random(seed))
        sampled = await sample(ask, [(q, 5) for q in "abcd"], sampling=PLAIN, concurrency=5)
        results.add(sampled.outcomes)
    assert len(results) == 1
    assert counted(results.pop()) == [(5, 0)] * 4


async def test_a_server_that_ignores_n_costs_no_extra_requests():
    ask = Many(gives=1)
    sampled = await sample(ask, [(q, 5) for q in "abcdef"], sampling=PLAIN, concurrency=2)
    assert len(ask.asked) == 30
    assert [n for _, n in ask.asked[3:]] == [1] * 27
    assert sampled.notes == ("the model gives one answer a request: 30 requests for 30 answers",)


async def test_too_many_answers_are_cut_and_blank_ones_asked_again_once():
    class Odd:
        max_n = 3
        requests = 0

        async def ask(self, question, *, n, sampling):
            self.requests += 1
            if question == "many":
                return Replies(tuple("abcdef"), prompt_tokens=-1, completion_tokens=True)
            return Replies(("x", " ", None) if n == 3 else ("",))

    ask = Odd()
    sampled = await sample(ask, [("many", 3), ("blank", 3)], sampling=PLAIN)
    assert sampled.outcomes[0].texts == ("a", "b", "c")
    assert sampled.outcomes[1].texts == ("x",)
    assert "none of them is a text" in sampled.outcomes[1].failures[0]
    assert ask.requests == 4
    assert sampled.usage.prompt_tokens is None


@pytest.mark.parametrize("value", [None, "text", ["a"], Replies("text"), Replies(())])
async def test_a_broken_ask_is_a_failure_of_its_request(value):
    class Broken:
        async def ask(self, question, *, n, sampling):
            return value

    class Blocking:
        def ask(self, question, *, n, sampling):
            return value

    for ask in (Broken(), Blocking()):
        sampled = await sample(ask, [("a", 2)], sampling=PLAIN)
        assert counted(sampled.outcomes) == [(0, 2)]
        assert type(ask).__name__ in sampled.outcomes[0].failures[0]


async def test_one_failing_call_costs_one_answer():
    calls = iter(range(100))

    def fn(question):
        if next(calls) == 3:
            raise OSError("cable")
        return "fine"

    sampled = await sample(CallableAsk(fn, name="mine"), [("a", 5), ("b", 5)], sampling=PLAIN)
    assert sorted(counted(sampled.outcomes)) == [(4, 1), (5, 0)]
    failure = next(f for o in sampled.outcomes for f in o.failures)
    assert failure.startswith("the callable mine raised OSError: cable; ")
    assert sampled.usage.requests == 10


async def test_unexpected_errors_of_an_ask_are_recorded_with_their_type():
    class Broken:
        name = "broken"

        async def ask(self, question, *, n, sampling):
            raise KeyError("choices")

    sampled = await sample(Broken(), [("a", 2)], sampling=PLAIN)
    assert sampled.outcomes[0].failures == ("broken raised KeyError: 'choices'",) * 2
    with pytest.raises(AskError, match="broken raised KeyError"):
        await ask_once(Broken(), "a", sampling=PLAIN, timeout=1)


async def test_refusal_stops_asking_and_keeps_what_is_in_flight():
    async def fn(question):
        if question == "bad":
            raise AskRefusedError("no such model")
        await anyio.sleep(0.05)
        return "paid for"

    sampled = await sample(CallableAsk(fn), [("a", 1), ("bad", 1), ("c", 1)], sampling=PLAIN, concurrency=2)
    assert counted(sampled.outcomes) == [(1, 0), (0, 1), (0, 1)]
    assert sampled.outcomes[1].failures == ("no such model",)
    assert sampled.outcomes[2].failures == ("not asked, since the model refused another request: no such model",)
    assert sampled.usage.requests == 2


async def test_max_requests_costs_breadth_evenly():
    async def fn(question):
        return question

    sampled = await sample(CallableAsk(fn), [(q, 3) for q in "abcd"], sampling=PLAIN, max_requests=6)
    assert counted(sampled.outcomes) == [(2, 1), (2, 1), (1, 2), (1, 2)]
    assert sampled.outcomes[0].failures == ("max_requests=6 reached: raise it or ask for fewer answers",)
    assert sampled.usage.requests == 6


async def test_top_ups_are_fair_too():
    sampled = await sample(Many(gives=1), [(q, 3) for q in "abcd"], sampling=PLAIN, max_requests=8, concurrency=4)
    assert [len(o.texts) for o in sampled.outcomes] == [2] * 4


async def test_deadline_keeps_what_came():
    async def fn(question):
        await anyio.sleep(10 if question == "slow" else 0)
        return question

    wanted = [("slow", 1), ("fast", 2), ("slow", 2)]
    seen = []
    sampled = await sample(
        CallableAsk(fn), wanted, sampling=PLAIN, deadline=0.2, concurrency=2, progress=lambda *a: seen.append(a)
    )
    assert counted(sampled.outcomes)[0] == (0, 1)
    assert sampled.outcomes[1].texts[:1] == ("fast",)
    assert sampled.outcomes[2].failures == ("deadline=0.2 s reached: raise it or ask for fewer answers",) * 2
    assert seen[-1] == (5, 5)
    assert sampled.usage.seconds < 1.0


async def test_a_hanging_sync_callable_times_out_and_costs_its_answer():
    release = threading.Event()

    def fn(question):
        if question == "hang":
            release.wait(5)
        return "fine"

    sampled = await sample(CallableAsk(fn), [("hang", 1), ("a", 2)], sampling=PLAIN, timeout=0.2)
    release.set()
    assert counted(sampled.outcomes) == [(0, 1), (2, 0)]
    assert sampled.outcomes[0].failures[0].startswith("no answer within timeout=0.2 s: raise timeout")


@pytest.mark.parametrize("how", ["sync", "async"])
async def test_cancelling_leaves_no_task(how):
    before = _tasks()
    running = []
    release = threading.Event()

    async def slow(question):
        running.append(question)
        try:
            await anyio.sleep(10)
        finally:
            running.remove(question)

    ask = CallableAsk(slow if how == "async" else lambda q: release.wait(5))
    started = time.perf_counter()
    with anyio.move_on_after(0.1) as scope:
        await sample(ask, [(f"q{i}", 2) for i in range(10)], sampling=PLAIN)
    release.set()
    assert scope.cancelled_caught
    assert time.perf_counter() - started < 1.0
    assert running == []
    assert _tasks() == before


def _tasks():
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:
        import trio

        return trio.lowlevel.current_statistics().tasks_living


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_asyncio_cancel_propagates_out_of_sample(anyio_backend):
    task = asyncio.create_task(sample(CallableAsk(asyncio.sleep, name="sleep"), [("a", 1)], sampling=PLAIN))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_callable_cancelled_from_inside_costs_one_answer(anyio_backend):
    async def fn(question):
        if question == "dead":
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future
        await anyio.sleep(0.02)
        return "fine"

    sampled = await sample(CallableAsk(fn), [("dead", 1), ("a", 3)], sampling=PLAIN, concurrency=2)
    assert counted(sampled.outcomes) == [(0, 1), (3, 0)]
    assert "cancelled from inside" in sampled.outcomes[0].failures[0]


async def test_progress_counts_up_and_cannot_break_the_run(caplog):
    seen = []

    def progress(done, total):
        seen.append((done, total))
        raise ValueError("bar")

    with caplog.at_level(logging.WARNING, logger="invent_chain"):
        sampled = await sample(Many(), [(q, 5) for q in "abc"], sampling=PLAIN, progress=progress)
    assert seen == [(5, 15), (10, 15), (15, 15)]
    assert counted(sampled.outcomes) == [(5, 0)] * 3
    assert "progress function raised" in caplog.text


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"concurrency": 0}, "concurrency=0"),
        ({"concurrency": True}, "concurrency=True"),
        ({"timeout": 0}, "timeout=0: must be more than 0 seconds"),
        ({"timeout": float("nan")}, "timeout=nan"),
        ({"timeout": "1"}, "timeout='1'"),
        ({"deadline": -1}, "deadline=-1"),
        ({"max_requests": 0}, "max_requests=0"),
        ({"sampling": Sampling(temperature=-0.1)}, "temperature=-0.1"),
        ({"sampling": Sampling(temperature=float("inf"))}, "temperature=inf"),
        ({"sampling": Sampling(max_tokens=0)}, "max_tokens=0"),
        ({"wanted": [("a", -1)]}, "replications=-1"),
        ({"ask": Many(max_n=0)}, "max_n of Many=0"),
    ],
)
async def test_settings_are_checked_before_any_call(settings, says):
    settings = {"ask": Many(), "wanted": [("a", 1)], "sampling": PLAIN, **settings}
    ask, wanted = settings.pop("ask"), settings.pop("wanted")
    with pytest.raises(ConfigurationError, match=says):
        await sample(ask, wanted, **settings)
    assert ask.asked == []


@pytest.mark.parametrize("question", ["", " ", None, 3])
async def test_questions_are_checked_before_any_call(question):
    ask = Many()
    with pytest.raises(InputError, match="visible characters; got"):
        await sample(ask, [("a", 1), (question, 1)], sampling=PLAIN)
    with pytest.raises(InputError):
        await ask_once(ask, question, sampling=PLAIN)
    assert ask.asked == []


async def test_ask_once_brings_the_answer_and_its_cost():
    text, usage = await ask_once(Many(), "a", sampling=PLAIN, timeout=5)
    assert text == "a0"
    assert usage == Usage(1, 2, 1, usage.seconds)
    assert usage.seconds > 0


async def test_ask_once_raises_clearly():
    async def slow(question):
        await anyio.sleep(10)

    def refused(question):
        raise AskRefusedError("no such model")

    with pytest.raises(AskTimeoutError, match=r"timeout=0\.05 s"):
        await ask_once(CallableAsk(slow), "a", sampling=PLAIN, timeout=0.05)
    with pytest.raises(AskRefusedError, match="no such model"):
        await ask_once(CallableAsk(refused), "a", sampling=PLAIN, timeout=5)
    with pytest.raises(ConfigurationError, match="timeout"):
        await ask_once(CallableAsk(slow), "a", sampling=PLAIN, timeout=0)
