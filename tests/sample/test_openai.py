import subprocess
import sys
import time
from contextlib import asynccontextmanager

import openai
import pytest

from invent_chain.errors import (
    AskError,
    AskRateLimitedError,
    AskRefusedError,
    AskTimeoutError,
    ConfigurationError,
    MissingExtraError,
)
from invent_chain.sample import OpenAIAsk, as_ask, sample
from invent_chain.types import Sampling
from tests.loopback import Loopback, closed_port_url

pytestmark = pytest.mark.anyio
KEY = "sk-secret-123"
QUESTION = "What is {this}, a {question}?"
PLAIN = Sampling()


@pytest.fixture(params=["sync", "async"])
def kind(request):
    return request.param


@asynccontextmanager
async def asking(kind, base_url, *, max_retries=0, timeout=5.0, **settings):  # noqa: ASYNC109
    make = openai.OpenAI if kind == "sync" else openai.AsyncOpenAI
    client = make(api_key=KEY, base_url=base_url, max_retries=max_retries, timeout=timeout)
    try:
        yield OpenAIAsk(client, model="m", **settings)
    finally:
        if kind == "sync":
            client.close()
        else:
            await client.close()


async def test_one_request_brings_all_choices(kind):
    with Loopback() as server:
        async with asking(kind, server.base_url, system="Be brief.", extra={"top_p": 0.5, "temperature": 2}) as ask:
            replies = await ask.ask(QUESTION, n=3, sampling=Sampling(temperature=0.7, max_tokens=8))
            one = await ask.ask("q", n=1, sampling=PLAIN)
    assert replies.texts == tuple(f"answer {i} to {QUESTION}" for i in range(3))
    assert (replies.prompt_tokens, replies.completion_tokens) == (10, 9)
    assert one.texts == ("answer 0 to q",)
    first, second = server.bodies
    assert first == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}],
        "n": 3,
        "temperature": 0.7,
        "max_tokens": 8,
        "top_p": 0.5,
    }
    assert second["temperature"] == 2
    assert not {"n", "max_tokens"} & set(second)


async def test_template_keeps_other_braces(kind):
    with Loopback() as server:
        async with asking(kind, server.base_url, template='{"json": {}} Q: {question}\nA:') as ask:
            await ask.ask(QUESTION, n=1, sampling=PLAIN)
    assert server.questions() == [f'{{"json": {{}}}} Q: {QUESTION}\nA:']


@pytest.mark.parametrize(
    ("behaviour", "error", "says"),
    [
        ("400", AskError, r"answered 400.*check temperature"),
        ("401", AskRefusedError, r"answered 401 \(invalid_api_key\) for model 'm': check the API key"),
        ("403", AskRefusedError, r"answered 403 .*API key may use"),
        ("404", AskRefusedError, r"answered 404 .*base_url .*/v1.* model"),
        ("unknown_model", AskRefusedError, r"answered 400.* does not know model 'm'"),
        ("no_quota", AskRefusedError, r"answered 429 \(insufficient_quota\).*top it up"),
        ("429", AskRateLimitedError, r"answered 429 \(rate_limit_exceeded\) after 0 retries .*lower concurrency"),
        ("500", AskError, r"answered 500 .*the server failed"),
        ("truncated", AskError, r"no complete reply from .*RemoteProtocolError.*check that the server runs"),
        ("garbage", AskError, r"could not be read \(JSONDecodeError\).*OpenAI-compatible"),
        ("html", AskError, r"sent a reply without choices.*/v1"),
        ("wrong_shape", AskError, r"sent a reply without choices"),
        ("empty", AskError, r"sent 1 choices without text \(finish_reason: stop\)"),
    ],
)
async def test_each_failure_names_server_and_fix(kind, behaviour, error, says):
    with Loopback(behaviour) as server:
        async with asking(kind, server.base_url) as ask:
            with pytest.raises(AskError, match=says) as caught:
                await ask.ask(QUESTION, n=1, sampling=PLAIN)
        assert server.base_url in str(caught.value)
    assert type(caught.value) is error
    assert KEY not in str(caught.value)
    assert QUESTION not in str(caught.value)
    assert server.requests == 1


async def test_nothing_listens(kind):
    url = closed_port_url()
    async with asking(kind, url.replace("//", "//user:password@")) as ask:
        with pytest.raises(AskError, match=rf"no complete reply from {url} \(ConnectError\)"):
            await ask.ask("q", n=1, sampling=PLAIN)


async def test_client_timeout(kind):
    with Loopback("hang") as server:
        async with asking(kind, server.base_url, timeout=0.1) as ask:
            with pytest.raises(AskTimeoutError, match="within the timeout of the client"):
                await ask.ask("q", n=1, sampling=PLAIN)


async def test_client_retries_by_itself_and_honours_retry_after(kind):
    with Loopback("429", "429", "ok", retry_after=0.15) as server:
        async with asking(kind, server.base_url, max_retries=2) as ask:
            started = time.perf_counter()
            replies = await ask.ask("q", n=1, sampling=PLAIN)
            seconds = time.perf_counter() - started
    assert replies.texts == ("answer 0 to q",)
    assert server.requests == 3
    assert 0.25 < seconds < 2.0


async def test_retries_are_not_stacked(kind):
    with Loopback("429", retry_after=0.01) as server:
        async with asking(kind, server.base_url, max_retries=2) as ask:
            sampled = await sample(ask, [("q", 2)], sampling=PLAIN)
    assert server.requests == 3
    assert "after 2 retries" in sampled.outcomes[0].failures[0]
    assert len(sampled.outcomes[0].failures) == 2


async def test_ten_questions_cost_ten_requests(kind):
    wanted = [(f"q{i}", 5) for i in range(10)]
    with Loopback() as server:
        async with asking(kind, server.base_url) as ask:
            sampled = await sample(ask, wanted, sampling=PLAIN, concurrency=4)
    assert server.requests == sampled.usage.requests == 10
    assert server.max_concurrent <= 4
    assert [o.texts for o in sampled.outcomes] == [tuple(f"answer {j} to {q}" for j in range(5)) for q, _ in wanted]
    assert (sampled.usage.prompt_tokens, sampled.usage.completion_tokens) == (100, 150)
    assert sampled.notes == ()


@pytest.mark.parametrize(("behaviour", "wasted"), [("ignores_n", 0), ("rejects_n", 3), ("rejects_n_vaguely", 3)])
async def test_without_n_all_answers_still_come(kind, behaviour, wasted):
    wanted = [(f"q{i}", 4) for i in range(6)]
    with Loopback(behaviour) as server:
        async with asking(kind, server.base_url) as ask:
            sampled = await sample(ask, wanted, sampling=PLAIN, concurrency=3)
            assert ask.max_n == (1 if behaviour == "rejects_n" else 128)
    assert all(o.texts == (f"answer 0 to {o.question}",) * 4 for o in sampled.outcomes)
    assert not any(o.failures for o in sampled.outcomes)
    assert server.requests == sampled.usage.requests
    assert 24 <= server.requests <= 24 + wasted
    assert "one answer a request" in sampled.notes[0]


async def test_one_blank_choice_is_asked_again(kind):
    with Loopback("one_empty", "ok") as server:
        async with asking(kind, server.base_url) as ask:
            sampled = await sample(ask, [("q", 3)], sampling=PLAIN)
    assert sampled.outcomes[0].texts == ("answer 1 to q", "answer 2 to q", "answer 0 to q")
    assert server.requests == 2


async def test_a_rejection_that_is_not_about_n_costs_one_more_request(kind):
    with Loopback("400") as server:
        async with asking(kind, server.base_url) as ask:
            sampled = await sample(ask, [("q", 4)], sampling=PLAIN)
            assert ask.max_n == 128
    assert server.requests == 2
    assert sampled.outcomes[0].texts == ()
    assert ["check temperature" in f for f in sampled.outcomes[0].failures] == [True] * 4


async def test_refusal_ends_the_batch(kind):
    with Loopback("401") as server:
        async with asking(kind, server.base_url) as ask:
            sampled = await sample(ask, [(f"q{i}", 2) for i in range(20)], sampling=PLAIN, concurrency=2)
    assert server.requests <= 3
    failures = [f for o in sampled.outcomes for f in o.failures]
    assert len(failures) == 40
    assert failures[-1].startswith("not asked, since the model refused another request: http")


async def test_the_client_is_unchanged(kind):
    with Loopback("ok", "429", "500", "rejects_n") as server:
        async with asking(kind, server.base_url, max_retries=1, timeout=3.0) as ask:
            client = ask._client
            before = (client.max_retries, client.timeout, str(client.base_url), client.api_key)
            await sample(ask, [("q", 3), ("r", 3)], sampling=Sampling(temperature=1.0), timeout=2.0)
            assert before == (client.max_retries, client.timeout, str(client.base_url), client.api_key)
            assert ask._client is client


async def test_a_closed_client_is_said(kind):
    async with asking(kind, closed_port_url()) as ask:
        pass
    with pytest.raises(AskRefusedError, match="is closed"):
        await ask.ask("q", n=1, sampling=PLAIN)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"model": " "}, "name the model"),
        ({"model": None}, "name the model"),
        ({"template": "Answer."}, r"put \{question\} into it"),
        ({"system": 3}, "system must be a text"),
        ({"max_n": 0}, "max_n=0"),
        ({"extra": {"n": 3}}, "'n', which is set by the replications"),
        ({"extra": {"extra_body": {"messages": []}}}, "'messages'"),
        ({"extra": {"seed": 1}}, "every answer looks certain"),
        ({"extra": {"top_k": 1}}, r"extra_body"),
    ],
)
async def test_settings_are_checked_when_constructed(kind, settings, says):
    with pytest.raises(ConfigurationError, match=says):
        async with asking(kind, "http://127.0.0.1:1/v1") as ask:
            OpenAIAsk(ask._client, **{"model": "m", **settings})


async def test_a_bare_client_needs_a_model(kind):
    async with asking(kind, "http://127.0.0.1:1/v1", extra={"extra_body": {"top_k": 1}}) as ask:
        with pytest.raises(ConfigurationError, match=r"pass OpenAIAsk\(client, model="):
            as_ask(ask._client)
        assert as_ask(ask) is ask
        assert repr(ask) == "OpenAIAsk(model='m', base_url='http://127.0.0.1:1/v1')"


@pytest.mark.parametrize("client", [None, "https://api.openai.com", openai.OpenAI, openai])
def test_other_clients_are_named(client):
    with pytest.raises(ConfigurationError, match=r"pass openai\.OpenAI\(\.\.\.\)"):
        OpenAIAsk(client, model="m")


def test_openai_is_imported_only_when_needed(monkeypatch):
    code = "import sys, invent_chain.sample; sys.exit('openai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingExtraError, match=r"invent-chain\[openai\]"):
        OpenAIAsk(object(), model="m")


def test_a_server_whose_address_changes_keeps_its_identity_under_a_name():
    asks = [
        OpenAIAsk(openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="x"), model="m", server=server)
        for port in (1, 2)
        for server in (None, "mine")
    ]
    assert asks[0].identity != asks[2].identity
    assert asks[1].identity == asks[3].identity
    assert len({ask.identity for ask in asks}) == 3
