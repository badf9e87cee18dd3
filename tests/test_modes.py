"""Modes, estimates, budgets, caches and the background, through `InvEntropy`."""

import asyncio
import concurrent.futures
import itertools
import threading

import anyio
import anyio.lowlevel
import anyio.to_thread
import numpy as np
import pytest

from invent_chain import InvEntropy, Thresholds
from invent_chain.cache import MemoryCache, SqliteCache
from invent_chain.calibrate import Calibration
from invent_chain.errors import CalibrationError, ConfigurationError, InputError
from invent_chain.evaluate import SampledSibling, Samples, score_samples
from invent_chain.rules import Rules
from invent_chain.types import Price, Replies
from tests.loopback import Loopback

QUESTION = "What is the capital of Palau?"
REWORDINGS = [f"Name the capital of Palau, way {k}." for k in range(9)]


def rewordings(question, n):
    return REWORDINGS[:n]


class Model:
    """Says "Koror" with a given probability, else something else each time; counts what it is asked."""

    name, identity = "model", "model"

    def __init__(self, share, seed=0, max_n=1):
        self.share, self.max_n = share, max_n
        self.rng = np.random.default_rng(seed)
        self.others = itertools.count()
        self.answers = 0
        self.asked = []

    async def ask(self, question, *, n, sampling):
        self.answers += n
        self.asked.append((question, n))
        await anyio.lowlevel.checkpoint()
        texts = ("Koror" if self.rng.random() < self.share else f"{next(self.others)}xyz" for _ in range(n))
        return Replies(tuple(texts), 10, 3 * n)


def scorer(share, **settings):
    return InvEntropy(Model(share), perturber=rewordings, **settings)


@pytest.mark.parametrize("mode", ["fixed", "adaptive", "screen"])
@pytest.mark.parametrize(("share", "action"), [(1.0, "answer"), (0.0, "abstain")])
def test_clear_cases_take_few_answers_and_decide_alike(mode, share, action):
    made = scorer(share, mode=mode)
    report = made.score(QUESTION, answer="Koror")
    assert report.decision.action == action
    assert report.status == "ok"
    model = made._ask
    if mode == "fixed":
        assert model.answers == 49
        assert report.score == 1 - share
        assert not any("were asked for" in note for note in report.notes)
    else:
        assert model.answers == (6 if mode == "screen" else model.answers)
        assert model.answers <= 20
        assert f"{model.answers} of 49 answers were asked for: mode='{mode}' needed no more" in report.notes
        assert abs(report.score - (1 - share)) < 0.1
        assert report.score != 1 - share  # an expectation, not a certainty
    assert len(report.siblings) == 10


def test_doubt_is_paid_for_in_full_and_scores_as_the_fixed_plan():
    made = scorer(0.5, mode="screen")
    report = made.score(QUESTION, answer="Koror")
    assert made._ask.answers == 49
    others = [text for sibling in report.siblings for text in sibling.answers][1:]
    assert report.score == pytest.approx(1 - others.count("Koror") / 49)


@pytest.mark.parametrize("guarantee", ["each", "average"])
def test_adaptive_decides_as_the_whole_plan_would(guarantee):
    """The same stored answers, all of them and adaptively: decisions agree, and less is asked."""
    rng = np.random.default_rng(0)
    everything = []
    for k, share in enumerate(rng.beta(0.5, 0.5, size=40)):

        def say(count, share=share):
            return tuple("Koror" if rng.random() < share else f"{rng.integers(10**9)}xyz" for _ in range(count))

        siblings = tuple(SampledSibling(text, "custom", None, say(3)) for text in REWORDINGS)
        everything.append(Samples(str(k), QUESTION, ("Koror",), False, "m", "", 0.7, "Koror", say(22), siblings))
    policy = Thresholds(answer=0.3, retrieve_more=None, fallback=None)
    fixed = score_samples(everything, InvEntropy(policy=policy))
    fewer = score_samples(everything, InvEntropy(policy=policy, mode="adaptive", guarantee=guarantee))
    same = [
        policy(a, "ok").action == policy(b, "ok").action
        for a, b in zip(fixed.uncertainty, fewer.uncertainty, strict=True)
    ]
    assert np.mean(same) >= 0.9
    assert fixed.asked.tolist() == [49] * 40
    assert np.median(fewer.asked) <= 0.5 * 49
    whole = fewer.asked == 49
    np.testing.assert_array_equal(fewer.uncertainty[whole], fixed.uncertainty[whole])
    assert fewer.fingerprint.mode.startswith("adaptive(error=0.05")


@pytest.mark.parametrize(("min_answers", "asked"), [(0, 8), (20, 20), (500, 49)])
def test_a_decision_may_not_end_the_asking_before_min_answers(min_answers, asked):
    made = scorer(1.0, mode="adaptive", guarantee="average", min_answers=min_answers)
    estimate = made.estimate(QUESTION, answer="Koror")
    report = made.score(QUESTION, answer="Koror")
    assert sum(len(sibling.answers) for sibling in report.siblings) - 1 == asked == estimate.least_answers
    assert ("min_answers" in report.fingerprint.mode) == (min_answers > 0)


def test_a_calibration_for_one_mode_is_refused_in_another():
    fingerprint = InvEntropy().fingerprint
    scores = np.linspace(0, 1, 60)
    calibration, _ = Calibration.fit(scores, scores < 0.5, fingerprint=fingerprint)
    InvEntropy(calibration=calibration)
    with pytest.raises(CalibrationError, match=r"mode was 'fixed' and is 'screen'"):
        InvEntropy(calibration=calibration, mode="screen")


def test_a_policy_that_never_changes_its_mind_settles_at_once():
    made = scorer(0.5, mode="adaptive", policy=Rules(otherwise="abstain"), concurrency=4)
    report = made.score(QUESTION, answer="Koror")
    assert made._ask.answers == 4
    assert report.decision.action == "abstain"


def test_a_policy_that_raises_settles_nothing():
    def broken(score, status):
        raise ValueError("no")

    made = scorer(1.0, mode="adaptive", policy=broken)
    assert made.score(QUESTION, answer="Koror").decision.action == "abstain"
    assert made._ask.answers == 49


def test_a_bound_ends_the_rounds_and_what_came_is_scored():
    made = scorer(0.5, mode="adaptive", max_requests=10)
    report = made.score(QUESTION, answer="Koror")
    assert made._ask.answers == 10
    assert report.status == "degraded"
    assert any("max_requests=10" in problem for problem in report.problems)
    assert not any("needed no more" in note for note in report.notes)


def test_an_encoder_that_fails_between_rounds_costs_no_answer():
    class Breaks:
        calls = 0

        def encode(self, texts):
            Breaks.calls += 1
            if Breaks.calls > 0:
                raise OSError("gone")

    made = scorer(1.0, mode="adaptive", similarity=Breaks())
    report = made.score(QUESTION, answer="Koror")
    assert report.answer == "Koror"
    assert report.status == "failed"
    assert "gone" in report.problems[0]


def test_the_same_answers_give_the_same_report():
    reports = [scorer(0.4, mode="adaptive", seed=3).score(QUESTION, answer="Koror") for _ in range(2)]
    assert reports[0].score == reports[1].score
    assert [s.answers for s in reports[0].siblings] == [s.answers for s in reports[1].siblings]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"mode": "quick"}, "mode='quick'"),
        ({"mode": "adaptive", "score": "support"}, "needs score='consensus'"),
        ({"error": 0}, "error=0"),
        ({"guarantee": "none"}, "guarantee='none'"),
        ({"max_cost": 1.0}, "needs the price of 'model'"),
        ({"max_cost": 0.0}, "max_cost=0.0"),
        ({"max_total_tokens": 0}, "max_total_tokens=0"),
        ({"max_in_flight": 0}, "max_in_flight=0"),
        ({"hedge": 0}, "hedge=0"),
        ({"min_answers": -1}, "min_answers=-1"),
        ({"min_answers": None, "mode": "adaptive"}, "min_answers=None"),
        ({"min_answers": 5, "mode": "screen"}, "min_answers=5 bounds mode='adaptive'"),
        ({"timeout": None}, "timeout=None"),
        ({"cache": "disk"}, "cache is a str"),
        ({"cache": MemoryCache}, r"pass an instance, MemoryCache\(...\)"),
        ({"error": "small"}, "error='small'"),
        ({"max_cost": "1"}, "max_cost='1'"),
        ({"timeout": "1"}, "timeout='1'"),
        ({"deadline": "5"}, "deadline='5'"),
        ({"hedge": "x"}, "hedge='x'"),
        ({"temperature": "hot"}, "temperature='hot'"),
        ({"prices": [1]}, "prices is a list"),
        ({"prices": {"model": (1.0, 2.0)}}, r"prices\['model'\] is a tuple: pass Price"),
    ],
)
def test_bad_settings(settings, says):
    with pytest.raises(ConfigurationError, match=says):
        InvEntropy(Model(1.0), **settings)


@pytest.mark.parametrize("value", [-1, "1", float("nan"), None])
def test_a_price_is_a_number_of_at_least_0(value):
    with pytest.raises(ConfigurationError, match=f"completion={value!r}"):
        Price(1.0, value)


def test_estimates_hold():
    prices = {"model": Price(prompt=1.0, completion=2.0)}
    made = InvEntropy(Model(1.0, max_n=5), perturber=rewordings, max_tokens=4, prices=prices)
    estimate = made.estimate(QUESTION)
    report = made.score(QUESTION)
    assert estimate.answers == 50
    assert estimate.requests == report.usage.requests == 15
    assert estimate.completion_tokens >= report.usage.completion_tokens == 150
    assert estimate.cost == pytest.approx(prices["model"].of(estimate.prompt_tokens, 200))
    assert report.usage.cost == pytest.approx(prices["model"].of(150, 150))
    assert estimate.least_answers == 50
    without = InvEntropy(Model(1.0)).estimate(QUESTION, answer="Koror")
    assert (without.answers, without.requests, without.completion_tokens, without.cost) == (49, 49, None, None)
    for mode in ("adaptive", "screen"):
        cheap = scorer(1.0, mode=mode)
        least = cheap.estimate(QUESTION, answer="Koror").least_answers
        cheap.score(QUESTION, answer="Koror")
        assert cheap._ask.answers == least
        doubtful = InvEntropy(Model(0.4, max_n=5), perturber=rewordings, mode=mode)
        most = doubtful.estimate(QUESTION, answer="Koror").requests
        assert doubtful.score(QUESTION, answer="Koror").usage.requests <= most
    with pytest.raises(InputError):
        made.estimate(" ")
    assert InvEntropy(Model(1.0), max_requests=7).estimate(QUESTION, answer="x").requests == 7


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_cached_score_asks_nothing_and_is_the_same(kind, tmp_path):
    cache = MemoryCache() if kind == "memory" else SqliteCache(tmp_path / "c.sqlite")
    encoded = []

    class Encoder:
        name = "counting"

        def encode(self, texts):
            encoded.extend(texts)
            return np.array([[len(text), 1.0 + text.count("o")] for text in texts])

    made = scorer(0.5, cache=cache, similarity=Encoder())
    first = made.score(QUESTION, answer="Koror")
    sent, texts = made._ask.answers, len(encoded)
    again = made.score(QUESTION, answer="Koror")
    assert made._ask.answers == sent == 49
    assert len(encoded) == texts == len(set(encoded))
    assert (again.score, again.measures, again.siblings) == (first.score, first.measures, first.siblings)
    assert again.usage.cache_hits == 49
    assert again.usage.requests == 0
    made.replace(temperature=0.2).score(QUESTION, answer="Koror")
    assert made._ask.answers == 98


def test_a_plain_callable_is_not_cached_and_the_report_says_so():
    report = InvEntropy(lambda q: "Koror", perturber=rewordings, n=2, cache=MemoryCache()).score(
        QUESTION, answer="Koror"
    )
    assert any("not cached" in note for note in report.notes)


class Slow(Model):
    def __init__(self):
        super().__init__(1.0)
        self.release = threading.Event()

    async def ask(self, question, *, n, sampling):
        await anyio.to_thread.run_sync(self.release.wait, abandon_on_cancel=True)
        return await super().ask(question, n=n, sampling=sampling)


def test_a_score_in_the_background_is_there_for_who_waits():
    model = Slow()
    with InvEntropy(model, perturber=rewordings, n=2, r=2) as made:
        pending = made.score(QUESTION, answer="Koror", background=True)
        assert not pending.done()
        with pytest.raises(TimeoutError):
            pending.result(timeout=0.05)
        model.release.set()
        report = pending.result(timeout=30)
    assert pending.done()
    assert report.decision.action == "answer"
    assert repr(pending) == "Pending(done)"


def test_closing_a_scorer_cancels_what_is_not_scored_yet():
    with InvEntropy(Slow(), perturber=rewordings, n=2, r=2) as made:
        pending = made.score(QUESTION, answer="Koror", background=True)
    with pytest.raises(concurrent.futures.CancelledError):
        pending.result(timeout=10)
    assert made.score(QUESTION, answer="Koror", ask=Model(1.0)).status == "ok"  # it starts anew


def test_in_an_event_loop_the_background_is_a_task_of_that_loop():
    async def application():
        model = Slow()
        made = InvEntropy(model, perturber=rewordings, n=2, r=2)
        pending = made.score(QUESTION, answer="Koror", background=True)
        with pytest.raises(ConfigurationError, match="`await` it there"):
            pending.result()
        try:
            await asyncio.wait_for(pending, 0.02)
        except TimeoutError:
            assert not pending.done()  # giving up waiting does not end it
        model.release.set()
        first, second = await asyncio.gather(pending, pending)
        assert first is second
        assert pending.result() is first
        other = made.score(QUESTION, answer="Koror", background=True)
        assert other.cancel()
        return first

    assert asyncio.run(application()).status == "ok"


def test_wrong_input_is_said_before_the_background_begins():
    made = scorer(1.0)
    with pytest.raises(ConfigurationError, match="pass answer="):
        made.score(QUESTION, background=True)
    with pytest.raises(InputError):
        made.score(" ", answer="x", background=True)
    with pytest.raises(ConfigurationError, match="no model"):
        InvEntropy().score(QUESTION, answer="x", background=True)


@pytest.mark.anyio
async def test_overlapping_calls_share_the_window():
    with Loopback(reply=lambda q, k: "Koror", delay=0.01) as server:
        import openai

        async with openai.AsyncOpenAI(base_url=server.base_url, api_key="x") as client:
            from invent_chain import OpenAIAsk

            made = InvEntropy(OpenAIAsk(client, model="m"), perturber=rewordings, n=3, r=2, max_in_flight=5)
            reports = await asyncio.gather(*(made.ascore(QUESTION, answer="Koror") for _ in range(10)))
    assert all(report.status == "ok" for report in reports)
    assert server.max_concurrent <= 5
