import asyncio
import contextvars
import functools
import threading
import time

import anyio
import anyio.lowlevel
import pytest

from invent_chain.errors import AskError, AskRefusedError, ConfigurationError
from invent_chain.protocols import Ask
from invent_chain.sample import CallableAsk, OpenAIAsk, as_ask
from invent_chain.types import Replies, Sampling

pytestmark = pytest.mark.anyio
PLAIN = Sampling()


def sync(question):
    return f"sync {question}"


async def anaswer(question):
    await anyio.lowlevel.checkpoint()
    return f"async {question}"


class AsyncObject:
    async def __call__(self, question):
        return f"object {question}"

    def method(self, question):
        return f"method {question}"

    async def amethod(self, question):
        return f"amethod {question}"


async def answer_of(fn, sampling=PLAIN):
    return (await CallableAsk(fn).ask("q", n=3, sampling=sampling)).texts


@pytest.mark.parametrize(
    ("fn", "text", "name"),
    [
        (sync, "sync q", "sync"),
        (anaswer, "async q", "anaswer"),
        (lambda question: anaswer(question), "async q", "<lambda>"),
        (lambda *args: sync(*args), "sync q", "<lambda>"),
        (AsyncObject(), "object q", "AsyncObject"),
        (AsyncObject().method, "method q", "method"),
        (AsyncObject().amethod, "amethod q", "amethod"),
        (functools.partial(AsyncObject()), "object q", "AsyncObject"),
        (functools.partial(lambda prefix, question: prefix + question, "p "), "p q", "<lambda>"),
        ("{}!".format, "q!", "format"),
    ],
)
async def test_any_callable_answers_once(fn, text, name):
    assert await answer_of(fn) == (text,)
    assert as_ask(fn).name == name
    assert CallableAsk(fn, name="mine").name == "mine"


async def test_sync_callable_runs_off_the_loop_with_context_variables():
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("set")
    assert await answer_of(lambda q: f"{variable.get()} {threading.current_thread() is threading.main_thread()}") == (
        "set False",
    )


async def test_settings_go_to_callables_that_take_them():
    both = Sampling(temperature=0.7, max_tokens=5)
    cold = Sampling(temperature=0.0)
    assert await answer_of(lambda q, temperature=1.0: f"{temperature}", both) == ("0.7",)
    assert await answer_of(lambda q, temperature=1.0: f"{temperature}", cold) == ("0.0",)
    assert await answer_of(lambda q, temperature=1.0: f"{temperature}") == ("1.0",)
    assert await answer_of(lambda q, **kw: str(sorted(kw)), both) == ("['max_tokens', 'temperature']",)
    assert await answer_of(lambda q, **kw: f"none {kw}") == ("none {}",)
    assert await answer_of(lambda temperature: temperature, both) == ("q",)
    assert await answer_of(sync, both) == ("sync q",)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, r"returned None instead of the answer as str: add the missing return"),
        (["a"], r"returned a list .*: return one answer"),
        (b"a", r"returned a bytes .*: return answer\.decode"),
        ({"a": 1}, r"returned a dict"),
        (3, r"returned a int .* convert it to text"),
        ("", r"an empty text \(0 blank"),
        (" \n", r"an empty text \(2 blank"),
    ],
)
async def test_what_is_no_answer_is_said(value, says):
    async def asynchronous(question):
        return value

    for fn in (lambda question: value, asynchronous):
        with pytest.raises(AskError, match=says):
            await answer_of(fn)


@pytest.mark.parametrize("error", [ValueError("bad day"), TimeoutError("slow")])
async def test_what_it_raises_is_chained(error):
    def fn(question):
        raise error

    async def afn(question):
        raise error

    for each in (fn, afn):
        with pytest.raises(AskError, match=type(error).__name__) as caught:
            await answer_of(each)
        assert caught.value.__cause__ is error
        assert not isinstance(caught.value, AskRefusedError)


async def test_stop_iteration_does_not_hang():
    with pytest.raises(AskError, match="StopIteration"):
        await answer_of(lambda question: next(iter(())))


async def test_refusals_pass_through():
    def fn(question):
        raise AskRefusedError("no such model")

    with pytest.raises(AskRefusedError, match="no such model"):
        await answer_of(fn)


async def test_cancellation_is_not_swallowed():
    cancelled = []

    async def slow(question):
        try:
            await anyio.sleep(10)
        except anyio.get_cancelled_exc_class():
            cancelled.append(question)
            raise
        return "late"

    with anyio.move_on_after(0.05) as scope:
        await answer_of(slow)
    assert scope.cancelled_caught
    assert cancelled == ["q"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_asyncio_cancellation_from_inside_propagates(anyio_backend):
    async def fn(question):
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await answer_of(fn)


async def test_a_hanging_sync_callable_is_left_behind():
    release = threading.Event()
    started = time.perf_counter()
    with anyio.move_on_after(0.1) as scope:
        await answer_of(lambda q: release.wait(5))
    release.set()
    assert scope.cancelled_caught
    assert time.perf_counter() - started < 1.0


@pytest.mark.parametrize("bad", [None, 3, "text", str, OpenAIAsk, lambda: "x", lambda a, b: "x"])
async def test_callables_are_checked_when_constructed(bad):
    with pytest.raises(ConfigurationError, match=r"pass|wrap"):
        CallableAsk(bad)
    with pytest.raises(ConfigurationError):
        as_ask(bad)


async def test_as_ask_keeps_an_ask_and_names_what_it_cannot_ask():
    class Mine:
        async def ask(self, question, *, n, sampling):
            return Replies(("a",))

    class Model:
        def ainvoke(self, question):
            return "a"

    mine = Mine()
    assert as_ask(mine) is mine
    assert isinstance(CallableAsk(sync), Ask)
    with pytest.raises(ConfigurationError, match=r"cannot ask a dict: pass a sync or async callable .* OpenAIAsk"):
        as_ask({})
    with pytest.raises(ConfigurationError, match=r"cannot ask a Model.*langchain-invent"):
        as_ask(Model())
    with pytest.raises(ConfigurationError, match="the class Mine is no model"):
        as_ask(Mine)


@pytest.mark.parametrize("identity", [None, 5])
def test_an_identity_is_a_text(identity):
    with pytest.raises(ConfigurationError, match=f"identity={identity}"):
        CallableAsk(lambda q: q, identity=identity)
