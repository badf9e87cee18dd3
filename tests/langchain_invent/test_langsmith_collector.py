"""The loopback LangSmith server, against the real SDK and real LangChain chains."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import pytest

pytest.importorskip("langchain_core")
pytest.importorskip("langsmith")

import zstandard
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.tracers.langchain import LangChainTracer
from langsmith import run_trees, tracing_context, utils

from langchain_invent.testing import LangSmithCollector, TracedRun

VARIABLES = ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2", "LANGSMITH_ENDPOINT", "LANGSMITH_RUNS_ENDPOINTS")


def forget_environment() -> None:
    utils.get_env_var.cache_clear()  # type: ignore[attr-defined]  # overloads hide the lru_cache


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Start from no tracing and no client; the SDK must have nothing to warn about at the end."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(run_trees, "_CLIENT", None)
    forget_environment()
    yield
    forget_environment()
    if run_trees._CLIENT is not None:
        run_trees._CLIENT.close(timeout=0)
    warned = [r.getMessage() for r in caplog.get_records("call") if r.levelno >= logging.WARNING]
    assert [message for message in warned if not message.startswith("Run compression is not enabled")] == []


@pytest.fixture
def collector() -> Iterator[LangSmithCollector]:
    with LangSmithCollector() as running:
        yield running


def chain() -> Runnable[Any, Any]:
    """Prepare, then a step that calls a model of its own, then the model."""
    inner = RunnableLambda(lambda text: text.upper()).with_config(run_name="shout")
    think = FakeListChatModel(responses=["hm"])

    def consider(text: str, config: RunnableConfig) -> str:
        think.invoke(text, config)
        return text

    step = (inner | RunnableLambda(consider).with_config(run_name="consider")).with_config(run_name="prepare")
    model = FakeListChatModel(responses=["Koror"]).with_config(tags=["main"], metadata={"invent.score": 0.123456})
    return (step | model).with_config(run_name="chain")


def shape(run: TracedRun) -> Any:
    return (run.name, run.run_type, [shape(child) for child in run.children])


WHOLE: Any = (
    "chain",
    "chain",
    [
        (
            "prepare",
            "chain",
            [("shout", "chain", []), ("consider", "chain", [("FakeListChatModel", "llm", [])])],
        ),
        ("FakeListChatModel", "llm", []),
    ],
)


@pytest.mark.anyio
@pytest.mark.parametrize("face", ["sync", "async"])
@pytest.mark.parametrize("server", [{}, {"compression": False}, {"multipart": False, "compression": False}])
async def test_a_chain_arrives_whole(face: str, server: dict[str, Any]) -> None:
    with LangSmithCollector(**server) as collector:
        config: RunnableConfig = {"callbacks": [LangChainTracer(client=collector.client(), project_name="mine")]}
        if face == "sync":
            chain().invoke("hello", config)
        else:
            await chain().ainvoke("hello", config)
        runs = collector.collect()
    assert shape(runs[0]) == WHOLE
    names = ["chain", "prepare", "shout", "consider", "FakeListChatModel", "FakeListChatModel"]
    assert [run.name for run in runs] == names
    root, model = runs[0], runs[-1]
    assert (root.parent_id, root.trace_id, root.project, root.error) == (None, root.id, "mine", None)
    assert root.inputs == {"input": "hello"}
    assert "Koror" in json.dumps(root.outputs)
    assert all(run.ended for run in runs)
    assert {run.trace_id for run in runs} == {root.id}
    assert model.parent_id == root.id
    assert "main" in model.tags
    assert model.metadata["invent.score"] == 0.123456
    assert model.metadata["ls_model_type"] == "chat"
    assert "HELLO" in json.dumps(model.inputs)
    assert collector.orphans() == []


def test_the_tree(collector: LangSmithCollector) -> None:
    config: RunnableConfig = {
        "callbacks": [LangChainTracer(client=collector.client())],
        "metadata": {"invent.decision": "answer"},
    }
    (
        RunnableLambda(lambda text: text) | RunnableLambda(lambda text: 1 // 0).with_config(run_name="divide")
    ).with_config(run_name="top").batch(["x"], config, return_exceptions=True)
    chain().invoke("hello", {"callbacks": config["callbacks"]})
    collector.collect()
    error = "ZeroDivisionError('integer division or modulo by zero')"
    assert collector.tree() == "\n".join(
        [
            f"top [chain] decision=answer error: {error}",
            "├── RunnableLambda [chain] decision=answer",
            f"└── divide [chain] decision=answer error: {error}",
            "chain [chain]",
            "├── prepare [chain]",
            "│   ├── shout [chain]",
            "│   └── consider [chain]",
            "│       └── FakeListChatModel [llm]",
            "└── FakeListChatModel [llm] score=0.123",
        ]
    )


def test_the_environment_alone_is_enough(collector: LangSmithCollector, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in collector.environment.items():
        monkeypatch.setenv(name, value)
    forget_environment()
    chain().invoke("hello")
    runs = collector.collect()
    assert shape(runs[0]) == WHOLE
    assert runs[0].project == "default"


def test_a_process_of_its_own_is_waited_for() -> None:
    script = (
        "from langchain_core.runnables import RunnableLambda as L;"
        "(L(lambda x: x) | L(lambda x: x)).invoke('hello from the other side')"
    )
    with LangSmithCollector(project="other") as collector:
        environment = {**os.environ, **collector.environment}
        with subprocess.Popen([sys.executable, "-c", script], env=environment) as process:
            runs = collector.wait(3, timeout=60)
        assert process.returncode == 0
    assert [run.project for run in runs] == ["other"] * 3
    assert len(runs[0].children) == 2


def test_a_tracing_context_is_enough(collector: LangSmithCollector) -> None:
    with tracing_context(enabled=True, client=collector.client()):
        chain().invoke("hello")
    assert shape(collector.collect()[0]) == WHOLE


def test_it_never_touches_the_environment() -> None:
    before = dict(os.environ)
    with LangSmithCollector() as collector:
        chain().invoke("hello", {"callbacks": [LangChainTracer(client=collector.client())]})
        assert collector.environment["LANGSMITH_ENDPOINT"] == collector.url
        collector.collect()
    assert dict(os.environ) == before


@pytest.mark.parametrize("traced", [True, False])
def test_feedback(collector: LangSmithCollector, traced: bool) -> None:
    client = collector.client()
    chain().invoke("hello", {"callbacks": [LangChainTracer(client=client)]})
    root = collector.collect()[0]
    session = client.read_project(project_name=root.project).id
    trace: dict[str, Any] = {"trace_id": root.trace_id} if traced else {}
    for score in (0.25, 0, True):
        client.create_feedback(root.id, "invent", score=score, comment="why", session_id=session, **trace)
    collector.collect()
    given = collector.feedback()
    assert [feedback.score for feedback in given] == [0.25, 0, True]
    assert {(f.key, f.comment, f.run_id, f.trace_id) for f in given} == {
        ("invent", "why", root.id, root.trace_id if traced else None)
    }
    client.update_feedback(given[0].id, score=0.5)
    assert collector.feedback()[0].score == 0.5


def test_a_run_through_the_plain_endpoints(collector: LangSmithCollector) -> None:
    client = collector.client()
    key = uuid.uuid4()
    client.create_run("mine", {"q": 1}, "tool", id=key, extra={"metadata": {"a": 1, "b": 1}})
    collector.collect()
    (before,) = collector.runs()
    assert (before.ended, before.metadata["a"]) == (False, 1)
    assert collector.tree() == "mine [tool] (not ended)"
    client.update_run(key, outputs={"out": 2}, extra={"metadata": {"b": 2}}, error="bad")
    (run,) = collector.collect()
    assert (run.name, run.run_type, run.inputs, run.outputs, run.error) == ("mine", "tool", {"q": 1}, {"out": 2}, "bad")
    assert (run.metadata["a"], run.metadata["b"]) == (1, 2)


def send(collector: LangSmithCollector, method: str, path: str, content: Any, **headers: str) -> int:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    request = urllib.request.Request(collector.url + path, body, headers, method=method)
    try:
        with urllib.request.urlopen(request) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_patch_may_overtake_its_post(collector: LangSmithCollector) -> None:
    send(collector, "PATCH", "/runs/1", {"outputs": {"o": 1}, "end_time": "now", "name": None})
    assert collector.tree() == "? [?]"
    send(collector, "POST", "/runs", {"id": "1", "name": "mine", "run_type": "tool", "outputs": {}, "end_time": None})
    (run,) = collector.wait(1)
    assert (run.name, run.outputs, run.ended) == ("mine", {"o": 1}, True)


def test_orphans(collector: LangSmithCollector) -> None:
    send(collector, "POST", "/runs", {"id": "2", "name": "b", "run_type": "tool", "parent_run_id": "1"})
    send(collector, "POST", "/runs", {"id": "3", "name": "c", "run_type": "tool", "parent_run_id": "2"})
    assert [run.name for run in collector.orphans()] == ["b"]
    assert collector.tree().splitlines() == [
        "b [tool] (not ended) (orphan: its parent was never received)",
        "└── c [tool] (not ended)",
    ]
    send(collector, "POST", "/runs", {"id": "1", "name": "a", "run_type": "tool"})
    assert collector.orphans() == []
    assert [line.strip("└─ ")[0] for line in collector.tree().splitlines()] == ["a", "b", "c"]


MULTIPART = (
    b'--x\r\nContent-Disposition: form-data; name="post.7"\r\nContent-Type: application/json\r\n\r\n'
    b'{"name": "m", "run_type": "llm"}\r\n'
    b'--x\r\nContent-Disposition: form-data; name="attachment.7.image"\r\n\r\n\x00\r\n\xff\r\n'
    b'--x\r\nContent-Disposition: form-data; name="patch.7.outputs"\r\n\r\n{"o": "--x"}\r\n--x--\r\n'
)


@pytest.mark.parametrize("packed", [True, False])
def test_a_chunked_body(collector: LangSmithCollector, packed: bool) -> None:
    body = zstandard.compress(MULTIPART) if packed else MULTIPART
    connection = HTTPConnection(collector.url.removeprefix("http://"))
    headers = {"Content-Type": "multipart/form-data; boundary=x", **({"Content-Encoding": "zstd"} if packed else {})}
    for _ in range(2):  # the second one shows that the first was read to its end
        connection.request(
            "POST", "/runs/multipart", iter([body[:50], body[50:]]), headers=headers, encode_chunked=True
        )
        with connection.getresponse() as reply:
            reply.read()
            assert reply.status == 202
    connection.close()
    (run,) = collector.runs()
    assert (run.name, run.run_type, run.outputs) == ("m", "llm", {"o": "--x"})


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/runs", b"{", 400),
        ("POST", "/runs", b"{}", 400),
        ("POST", "/runs/multipart", b"", 202),
        ("POST", "/runs/query", b"{}", 404),
        ("GET", "/runs/1", None, 404),
        ("GET", "/sessions?name=a", None, 200),
    ],
)
def test_odd_requests(collector: LangSmithCollector, method: str, path: str, body: bytes | None, status: int) -> None:
    if body is None:
        assert send_get(collector, path) == status
    else:
        assert send(collector, method, path, body) == status
    assert collector.runs() == []


def send_get(collector: LangSmithCollector, path: str) -> int:
    connection = HTTPConnection(collector.url.removeprefix("http://"))
    connection.request("GET", path)
    with connection.getresponse() as reply:
        reply.read()
        status = reply.status
    connection.close()
    return status


def test_waiting_has_an_end(collector: LangSmithCollector) -> None:
    send(collector, "POST", "/runs", {"id": "1", "name": "a", "run_type": "tool"})
    with pytest.raises(TimeoutError, match=r"0 of 1 runs had ended after 0\.05 s; 1 had started"):
        collector.wait(1, timeout=0.05)


def test_it_runs_inside_with_once() -> None:
    collector = LangSmithCollector()
    with pytest.raises(RuntimeError, match="with LangSmithCollector"):
        _ = collector.url
    with collector:
        send(collector, "POST", "/runs", {"id": "1", "name": "a", "run_type": "tool"})
    assert [run.name for run in collector.runs()] == ["a"]
    with pytest.raises(RuntimeError, match="make a new one"), collector:
        pass


def test_nothing_stays_behind() -> None:
    before = set(threading.enumerate())
    with LangSmithCollector() as collector:
        idle = HTTPConnection(collector.url.removeprefix("http://"))
        idle.connect()
        chain().invoke("hello", {"callbacks": [LangChainTracer(client=collector.client())]})
    assert len(collector.runs()) == 6
    assert [
        t.name for t in set(threading.enumerate()) - before if "process_request" in t.name or t.name == "langsmith"
    ] == []
    idle.close()
