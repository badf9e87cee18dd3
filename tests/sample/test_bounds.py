"""Budgets, the gate that adapts to 429, hedging, the cache behind the sampler."""

import itertools

import anyio
import anyio.lowlevel
import openai
import pytest

from invent_chain.cache import MemoryCache, SqliteCache
from invent_chain.errors import AskError, AskRateLimitedError, CacheError
from invent_chain.sample import Asking, CallableAsk, Gate, Limits, OpenAIAsk
from invent_chain.sample.budget import Bounds, Ledger
from invent_chain.types import Price, Replies, Sampling
from tests.loopback import Loopback

pytestmark = pytest.mark.anyio
PLAIN = Sampling()


class Model:
    """Answers after a while; counts tokens; may be told what to do with each request."""

    identity = "a model"

    def __init__(self, *, max_n=1, tokens=(10, 5), act=lambda k: None, delay=0.002):
        self.max_n, self.tokens, self.act, self.delay = max_n, tokens, act, delay
        self.asked, self.now, self.most = [], 0, 0
        self.count = itertools.count()

    async def ask(self, question, *, n, sampling):
        k = next(self.count)
        self.asked.append((question, n))
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await anyio.sleep(self.delay)
            self.act(k)
        finally:
            self.now -= 1
        read, written = self.tokens
        return Replies(tuple(f"{question}{k}.{j}" for j in range(n)), read, None if written is None else written * n)


async def asked(model, counts, *, sampling=PLAIN, gate=None, cache=None, price=None, **limits):
    asking = Asking(
        model,
        "abcdefghij"[: len(counts)],
        sampling=sampling,
        limits=Limits(**limits),
        gate=gate,
        cache=cache,
        price=price,
    )
    await asking.more(counts)
    return asking


def came(asking):
    return sum(len(outcome.texts) for outcome in asking.sampled().outcomes)


@pytest.mark.parametrize("max_n", [1, 5])
@pytest.mark.parametrize("most", [15, 100, 333])
async def test_tokens_are_a_hard_bound(max_n, most):
    asking = await asked(Model(max_n=max_n), [5] * 6, max_total_tokens=most, sampling=Sampling(max_tokens=5))
    usage = asking.sampled().usage
    assert usage.prompt_tokens + usage.completion_tokens <= most
    assert came(asking) >= 1
    failures = {failure for outcome in asking.sampled().outcomes for failure in outcome.failures}
    assert failures == {
        f"max_total_tokens={most} would be passed by another request: raise it or ask for fewer answers"
    } or (most == 333 and max_n == 5)
    assert came(asking) + sum(len(o.failures) for o in asking.sampled().outcomes) == 30


async def test_money_is_a_hard_bound_and_is_accounted_for():
    price = Price(prompt=1.0, completion=10.0)
    asking = await asked(Model(), [5] * 6, max_cost=300e-6, price=price)
    usage = asking.sampled().usage
    assert usage.cost == pytest.approx(price.of(usage.prompt_tokens, usage.completion_tokens))
    assert 240e-6 <= usage.cost <= 300e-6
    assert came(asking) == 5
    free = await asked(Model(), [2])
    assert free.sampled().usage.cost is None


async def test_tokens_that_are_not_counted_are_estimated_and_noted():
    asking = await asked(Model(tokens=(None, None)), [20], max_total_tokens=30, concurrency=2)
    assert 0 < came(asking) < 20
    assert asking.sampled().usage.prompt_tokens is None
    assert any("one token for four characters" in note for note in asking.sampled().notes)


async def test_a_wide_budget_costs_one_more_request_and_no_batches():
    model = Model(max_n=50)
    asking = await asked(model, [22, 3, 3], max_total_tokens=100_000)
    assert came(asking) == 28
    assert sorted(n for _, n in model.asked) == [1, 3, 3, 21]


async def test_before_anything_is_known_one_request_goes_alone():
    ledger = Ledger(Bounds(tokens=100), None)
    ledger.sent("q", 1)
    assert ledger.stop("q", 1) == (-1, None)
    model = Model()
    await asked(model, [12], max_total_tokens=10_000, concurrency=4)
    assert model.most == 4


async def test_bounds_hold_across_rounds():
    asking = await asked(Model(), [3, 3], max_requests=8)
    await asking.more([2, 2])
    assert came(asking) == 8
    assert [len(texts) for texts in asking.answers] == [5, 5]
    assert "max_requests=8" in asking.stopped


async def test_a_rate_limit_narrows_the_window_and_loses_nothing():
    gate = Gate(16)

    def act(k):
        if 8 <= k < 12:
            raise AskRateLimitedError("slow down", retry_after=0.05)

    model = Model(act=act)
    asking = await asked(model, [10] * 4, gate=gate, concurrency=16)
    assert came(asking) == 40
    assert asking.sampled().usage.requests == 44
    assert gate.window < 16
    assert gate.in_flight == 0


async def test_a_window_halves_once_for_a_pause_and_widens_by_one_a_windowful():
    gate = Gate(8)
    gate.throttled(0.05)
    gate.throttled(0.05)
    assert gate.window == 4
    for _ in range(5):
        gate.answered()
    assert 5 <= gate.window < 5.5
    for _ in range(200):
        gate.answered()
    assert gate.window == 8


async def test_a_server_that_never_relents_ends_in_failures():
    def act(k):
        raise AskRateLimitedError("slow down", retry_after=0.001)

    model = Model(act=act)
    asking = await asked(model, [2])
    assert came(asking) == 0
    assert len(model.asked) == 6
    assert asking.sampled().outcomes[0].failures == ("slow down", "slow down")


async def test_a_wait_longer_than_the_timeout_is_not_waited_for():
    def act(k):
        raise AskRateLimitedError("slow down", retry_after=3600)

    with anyio.fail_after(5):
        asking = await asked(Model(act=act), [1], timeout=0.2)
    assert asking.sampled().outcomes[0].failures == ("slow down",)


async def test_retry_after_of_a_real_server_is_waited_for():
    with Loopback("429", "ok", retry_after=0.3) as server:
        async with openai.AsyncOpenAI(base_url=server.base_url, api_key="x", max_retries=0) as client:
            asking = await asked(OpenAIAsk(client, model="m"), [3])
    assert came(asking) == 3
    assert asking.sampled().usage.requests == 2
    assert asking.sampled().usage.seconds >= 0.3


async def test_the_gate_is_first_come_first_served_and_survives_cancelling():
    gate, order = Gate(1), []

    async def enter(k):
        async with gate.passed():
            order.append(k)
            await anyio.sleep(0.01)

    async with anyio.create_task_group() as group:
        for k in range(5):
            group.start_soon(enter, k)
            await anyio.lowlevel.checkpoint()
        with anyio.move_on_after(0.005):
            await enter("cancelled")
    assert order == sorted(order)
    assert gate.in_flight == 0


async def test_calls_that_overlap_share_one_window_fairly():
    gate, model = Gate(4), Model(delay=0.005)
    ended = []

    async def one(name):
        asking = Asking(model, [name], sampling=PLAIN, limits=Limits(concurrency=8), gate=gate)
        await asking.more([8])
        ended.append(len(model.asked))

    async with anyio.create_task_group() as group:
        for name in "abcde":
            group.start_soon(one, name)
    assert model.most == 4
    assert len(model.asked) == 40
    assert min(ended) >= 8  # none had to wait for all others, none went before all others


@pytest.mark.parametrize(("hedge", "requests"), [(None, 1), (0.05, 2)])
async def test_hedging_is_off_unless_asked_for(hedge, requests):
    class SlowOnce(Model):
        async def ask(self, question, *, n, sampling):
            self.delay = 0.5 if not self.asked else 0.002
            return await super().ask(question, n=n, sampling=sampling)

    model = SlowOnce()
    asking = await asked(model, [1], hedge=hedge)
    assert len(model.asked) == asking.sampled().usage.requests == requests
    assert came(asking) == 1
    assert (asking.sampled().usage.seconds < 0.4) == (hedge is not None)


async def test_a_hedge_that_fails_costs_nothing():
    def act(k):
        raise AskError(f"failed {k}")

    asking = await asked(Model(act=act, delay=0.05), [1], hedge=0.01)
    assert asking.sampled().outcomes[0].failures == ("failed 0",)
    bounded = await asked(Model(delay=0.05), [1], hedge=0.01, max_requests=1)
    assert bounded.sampled().usage.requests == 1


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("max_n", [1, 4])
async def test_answers_are_asked_once_and_replications_never_mixed(kind, max_n, tmp_path):
    cache = MemoryCache() if kind == "memory" else SqliteCache(tmp_path / "c.sqlite")
    model = Model(max_n=max_n)
    first = await asked(model, [5, 3], cache=cache)
    sent = len(model.asked)
    again = await asked(model, [5, 3], cache=cache)
    assert len(model.asked) == sent
    assert again.sampled().outcomes == first.sampled().outcomes
    assert again.sampled().usage.cache_hits == 8
    assert again.sampled().usage.requests == 0
    assert len(set(first.sampled().outcomes[0].texts)) == 5
    more = await asked(model, [7], cache=cache)
    assert more.sampled().outcomes[0].texts[:5] == first.sampled().outcomes[0].texts
    assert sum(n for _, n in model.asked[sent:]) == 2
    await asked(model, [5, 3], cache=cache, sampling=Sampling(temperature=0.1))
    assert sum(n for _, n in model.asked) == 18


async def test_without_an_identity_nothing_is_cached_and_the_report_says_so():
    cache, calls = MemoryCache(), []
    for _ in range(2):
        asking = await asked(CallableAsk(lambda q: calls.append(q) or "yes"), [2], cache=cache)
    assert len(calls) == 4
    assert any("not cached" in note for note in asking.sampled().notes)
    named = CallableAsk(lambda q: calls.append(q) or "yes", identity="my prompt v1")
    for _ in range(2):
        await asked(named, [2], cache=cache)
    assert len(calls) == 6


async def test_a_cache_that_breaks_costs_nothing(tmp_path, caplog):
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(b"this is no database" * 100)
    asking = await asked(Model(), [3], cache=SqliteCache(broken))
    assert came(asking) == 3
    assert caplog.text.count("answers are not cached") == 1  # left out from then on
    (note,) = asking.sampled().notes
    assert "broken.sqlite cannot be used" in note


async def test_a_cache_that_breaks_while_answers_come_costs_nothing():
    class Full(MemoryCache):
        def set_many(self, values):
            raise CacheError("the disk is full")

    asking = await asked(Model(), [3], cache=Full(), concurrency=1)
    assert came(asking) == 3
    assert asking.sampled().notes == ("answers were not cached: the disk is full",)


class Batched:
    identity, max_n = "batched", 100

    def __init__(self):
        self.wanted = []

    async def ask(self, question, *, n, sampling):
        raise AssertionError

    async def ask_many(self, wanted, *, sampling):
        self.wanted.append(list(wanted))
        if any(question == "e" for question, _ in wanted):
            raise AskError("no memory")
        return [Replies(tuple(f"{q}{j}" for j in range(n)), 3, n) for q, n in wanted]


async def test_a_batching_model_is_asked_once_a_round():
    model, cache = Batched(), MemoryCache()
    asking = await asked(model, [3, 2], cache=cache)
    assert model.wanted == [[("a", 3), ("b", 2)]]
    assert [o.texts for o in asking.sampled().outcomes] == [("a0", "a1", "a2"), ("b0", "b1")]
    assert asking.sampled().usage.requests == 1
    assert asking.sampled().usage.completion_tokens == 5
    again = await asked(model, [3, 3], cache=cache)
    assert model.wanted[1:] == [[("b", 1)]]
    assert again.sampled().usage.cache_hits == 5
    failed = await asked(model, [1] * 5)
    assert all(o.failures == ("no memory",) for o in failed.sampled().outcomes)


async def test_bounds_let_a_batching_model_go_on_once_its_tokens_are_known():
    """One answer alone, then all that fits: 4 tokens for each of them, and no more than 40 in all."""
    free, tight = Batched(), Batched()
    asking = await asked(free, [3, 2], max_total_tokens=1000)
    assert [sorted(wanted) for wanted in free.wanted] == [[("a", 1)], [("a", 2), ("b", 2)]]
    assert came(asking) == 5
    asking = await asked(tight, [20, 20], max_total_tokens=40)
    usage = asking.sampled().usage
    assert 20 < usage.prompt_tokens + usage.completion_tokens <= 40
    assert 10 < came(asking) < 40
    assert "max_total_tokens=40" in asking.stopped
    assert sum(len(o.failures) for o in asking.sampled().outcomes) == 40 - came(asking)
    asking = await asked(Batched(), [3, 2], max_total_tokens=1000, max_requests=1)
    assert came(asking) == 1
    assert "max_requests=1" in asking.stopped


@pytest.mark.parametrize(
    ("replies", "says"),
    [
        ([], "gave 0 replies to 2 questions"),
        ([Replies(("x",)), "text"], "returned str: an Ask returns Replies"),
        (None, "raised TypeError"),
    ],
)
async def test_what_a_batching_model_does_wrong_costs_its_answers_alone(replies, says):
    class Wrong(Batched):
        async def ask_many(self, wanted, *, sampling):
            return replies

    asking = await asked(Wrong(), [1, 1])
    assert all(says in o.failures[0] for o in asking.sampled().outcomes)


async def test_blank_and_missing_answers_of_a_batching_model_are_failures():
    class Blank(Batched):
        async def ask_many(self, wanted, *, sampling):
            return [Replies(("x", " ", None)), Replies(("y", "z", "one too many"))]

    outcomes = (await asked(Blank(), [4, 2])).sampled().outcomes
    assert [o.texts for o in outcomes] == [("x",), ("y", "z")]
    assert [len(o.failures) for o in outcomes] == [3, 0]
