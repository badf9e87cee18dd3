"""A LangSmith server on loopback, to test what an application traces: no account, no key, no network.

    with LangSmithCollector() as langsmith:
        chain.invoke("Hello", config={"callbacks": [LangChainTracer(client=langsmith.client())]})
        langsmith.collect()
        print(langsmith.tree())

It takes what the LangSmith SDK sends (runs and feedback, compressed or plain) and keeps it in memory. It serves no
queries: reading runs back through the SDK is answered with 404, use `runs`, `tree` and `feedback` instead.
"""

from __future__ import annotations

import io
import json
import re
import socket
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from langchain_core.tracers.langchain import wait_for_all_tracers
from langsmith import Client

_PATIENCE = 10.0
_KEY = "loopback"  # the SDK wants one; the collector takes any
_TRACEBACK = "Traceback (most recent call last)"  # LangChain appends it without a line break
_NAME = re.compile(rb'name="([^"]*)"')
_SHOWN = ("score", "decision")


@dataclass(frozen=True, slots=True)
class TracedRun:
    """A run as LangSmith would store it: what was sent at its start, completed by what was sent later.

    Attributes:
        id: Its UUID.
        name: Its name; "" if only the end of the run was received.
        run_type: "chain", "llm", "tool", "retriever", ...
        parent_id: UUID of the run it is part of; None for the root of a trace.
        trace_id: UUID of the root of its trace.
        project: The project it was sent to.
        tags: Its tags.
        metadata: Its metadata.
        inputs: What went in.
        outputs: What came out; empty while it runs or if it failed.
        error: Why it failed, else None.
        ended: Whether the end of the run was received.
        children: The runs that name it as their parent, in the order of their start.
    """

    id: str
    name: str
    run_type: str
    parent_id: str | None
    trace_id: str
    project: str
    tags: tuple[str, ...]
    metadata: Mapping[str, Any]
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    error: str | None
    ended: bool
    children: tuple[TracedRun, ...] = ()


@dataclass(frozen=True, slots=True)
class TracedFeedback:
    """One feedback on a run.

    Attributes:
        id: Its UUID.
        key: What was judged.
        score: The judgement as a number or bool, if it is one.
        value: The judgement in another form, if it has one.
        comment: Why, if someone said.
        run_id: UUID of the run; None for feedback on a project.
        trace_id: UUID of the root of its trace, if it was sent along.
    """

    id: str
    key: str
    score: float | bool | None
    value: Any
    comment: str | None
    run_id: str | None
    trace_id: str | None


class LangSmithCollector:
    """A LangSmith server, as a context manager. What it received stays readable after the end.

    Point the application at it in one of three ways; it never changes the environment itself:

    - `LangChainTracer(client=collector.client())` as a callback;
    - `with langsmith.tracing_context(enabled=True, client=collector.client()):` around the calls;
    - the variables of `environment`, best in a fresh process. The SDK remembers both the variables and its client:
      inside a process that traced before, also call `langsmith.utils.get_env_var.cache_clear()`.

    The SDK sends in the background: call `collect` before looking.

    Args:
        project: Project named in `environment`.
        multipart: Whether `GET /info` announces `POST /runs/multipart`; else the SDK sends `POST /runs/batch`.
        compression: Whether it announces zstd; the SDK logs a warning where a server does not.
    """

    def __init__(self, *, project: str = "default", multipart: bool = True, compression: bool = True) -> None:
        self._project = project
        self._info = {
            "version": "0.13.0",
            "batch_ingest_config": {
                "use_multipart_endpoint": multipart,
                "size_limit": 100,
                "size_limit_bytes": 20_971_520,
                "scale_up_qsize_trigger": 1000,
                "scale_up_nthreads_limit": 16,
                "scale_down_nempty_trigger": 4,
            },
            "instance_flags": {"zstd_compression_enabled": compression},
        }
        self._store = _Store()
        self._server: _Server | None = None
        self._clients: list[Client] = []

    def __enter__(self) -> Self:
        if self._server is not None:
            raise RuntimeError("this collector was entered before: make a new one for each `with`")
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.store, self._server.info = self._store, self._info
        serve = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="langsmith", daemon=True)
        serve.start()
        return self

    def __exit__(self, *exc: object) -> None:
        for client in self._clients:
            client.close(timeout=_PATIENCE)
        if self._server is not None:
            self._server.stop()

    @property
    def url(self) -> str:
        """Address of the server.

        Raises:
            RuntimeError: The collector was not entered.
        """
        if self._server is None:
            raise RuntimeError("the collector does not run yet: use it as `with LangSmithCollector() as collector:`")
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make an application trace to this server."""
        return {
            "LANGSMITH_TRACING": "true",
            "LANGSMITH_ENDPOINT": self.url,
            "LANGSMITH_API_KEY": _KEY,
            "LANGSMITH_PROJECT": self._project,
        }

    def client(self) -> Client:
        """Return a new client of this server; leaving the collector closes it."""
        client = Client(self.url, api_key=_KEY, tracing_sampling_rate=1.0)
        self._clients.append(client)
        return client

    def collect(self, client: Client | None = None) -> list[TracedRun]:
        """Make everyone send what they hold back, then return `runs`.

        That is: LangChain's own client, those made by `client`, and the one given.
        """
        wait_for_all_tracers()
        for each in [*self._clients, *([] if client is None else [client])]:
            each.flush(timeout=_PATIENCE)
        return self.runs()

    def wait(self, count: int, timeout: float = _PATIENCE) -> list[TracedRun]:
        """Wait until that many runs have ended, then return `runs`; for applications in another process.

        Args:
            count: Runs that have ended, >= 1.
            timeout: Longest wait in seconds.

        Raises:
            TimeoutError: There were fewer by then.
        """

        def ended() -> int:
            return sum(run.ended for run in self.runs())

        if not self._store.wait(lambda: ended() >= count, timeout):
            raise TimeoutError(
                f"{ended()} of {count} runs had ended after {timeout:g} s; {len(self.runs())} had started"
            )
        return self.runs()

    def runs(self) -> list[TracedRun]:
        """Return the runs received, in the order of their start; a run comes before its children."""
        return self._store.runs()

    def feedback(self) -> list[TracedFeedback]:
        """Return the feedback received, in the order of arrival."""
        return self._store.feedback()

    def orphans(self) -> list[TracedRun]:
        """Return the runs whose parent was never received: what happened to it is lost, or it went elsewhere."""
        runs = self.runs()
        known = {run.id for run in runs}
        return [run for run in runs if run.parent_id is not None and run.parent_id not in known]

    def tree(self) -> str:
        """Draw the runs, one a line: name, type, and what is there of score, decision and error."""
        lost = {run.id for run in self.orphans()}
        lines: list[str] = []
        for run in self.runs():
            if run.parent_id is None or run.id in lost:
                lines += _draw(run, "", "", " (orphan: its parent was never received)" if run.id in lost else "")
        return "\n".join(lines)


def _draw(run: TracedRun, lead: str, below: str, remark: str = "") -> list[str]:
    shown = [f"{name}={_short(run.metadata[f'invent.{name}'])}" for name in _SHOWN if f"invent.{name}" in run.metadata]
    if run.error:
        shown.append(f"error: {_short(run.error.partition(_TRACEBACK)[0])}")
    elif not run.ended:
        shown.append("(not ended)")
    lines = [" ".join([f"{lead}{run.name or '?'} [{run.run_type or '?'}]", *shown]) + remark]
    for child in run.children:
        last = child is run.children[-1]
        lines += _draw(child, below + ("└── " if last else "├── "), below + ("    " if last else "│   "))
    return lines


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    line = str(value).partition("\n")[0]
    return line if len(line) <= 80 else f"{line[:79]}…"


class _Store:
    """What was received, guarded by one lock."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._posts: dict[str, dict[str, Any]] = {}
        self._patches: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        self._feedback: dict[str, dict[str, Any]] = {}

    def add(self, parts: Iterable[tuple[str, str, dict[str, Any]]]) -> None:
        """Take (operation, id, fields); later fields complete or replace earlier ones."""
        with self._changed:
            for operation, key, fields in parts:
                kept = {"post": self._posts, "patch": self._patches, "feedback": self._feedback}[operation]
                kept[key] = _merged(kept.get(key, {}), fields)
            self._changed.notify_all()

    def wait(self, done: Callable[[], bool], timeout: float) -> bool:
        with self._changed:
            return self._changed.wait_for(done, timeout)

    def runs(self) -> list[TracedRun]:
        with self._changed:  # a patch may overtake its post, so they are merged only here
            merged = {
                key: _merged(self._posts.get(key, {}), self._patches.get(key, {}))
                for key in {**self._posts, **self._patches}
            }
        order = sorted(merged, key=lambda key: str(merged[key].get("dotted_order") or "~"))  # "~": unknown, last
        flat = {key: _run(key, merged[key]) for key in order}
        children: defaultdict[str, list[str]] = defaultdict(list)
        for run in flat.values():
            if run.parent_id is not None:
                children[run.parent_id].append(run.id)
        whole: dict[str, TracedRun] = {}

        def completed(key: str) -> TracedRun:
            if key not in whole:
                whole[key] = replace(flat[key], children=tuple(map(completed, children[key])))
            return whole[key]

        return [completed(key) for key in order]

    def feedback(self) -> list[TracedFeedback]:
        with self._changed:
            return [
                TracedFeedback(
                    id=key,
                    key=str(fields.get("key") or ""),
                    score=fields.get("score"),
                    value=fields.get("value"),
                    comment=fields.get("comment"),
                    run_id=fields.get("run_id"),
                    trace_id=fields.get("trace_id"),
                )
                for key, fields in self._feedback.items()
            ]


def _merged(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**before, **{name: value for name, value in after.items() if value is not None}}
    old, new = before.get("extra") or {}, after.get("extra") or {}
    if old and new:
        metadata = {**(old.get("metadata") or {}), **(new.get("metadata") or {})}
        merged["extra"] = {**old, **new, "metadata": metadata}
    return merged


def _run(key: str, fields: Mapping[str, Any]) -> TracedRun:
    return TracedRun(
        id=key,
        name=str(fields.get("name") or ""),
        run_type=str(fields.get("run_type") or ""),
        parent_id=fields.get("parent_run_id"),
        trace_id=str(fields.get("trace_id") or key),
        project=str(fields.get("session_name") or ""),
        tags=tuple(fields.get("tags") or ()),
        metadata=(fields.get("extra") or {}).get("metadata") or {},
        inputs=fields.get("inputs") or {},
        outputs=fields.get("outputs") or {},
        error=fields.get("error"),
        ended=fields.get("end_time") is not None,
    )


class _Server(ThreadingHTTPServer):
    """Knows its connections: the SDK keeps them open, and their threads must end with the server."""

    daemon_threads = True
    request_queue_size = 128
    store: _Store
    info: dict[str, Any]

    def __init__(self, *args: Any) -> None:
        self._open: set[Any] = set()
        self._changed = threading.Condition()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._open.add(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._changed:
                self._open.discard(request)
                self._changed.notify_all()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        with self._changed:
            for request in self._open:
                try:
                    request.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # the other side was faster
            self._changed.wait_for(lambda: not self._open, timeout=_PATIENCE)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path, query = parts.path.rstrip("/"), parse_qs(parts.query)
        if path == "/info":
            self._reply(200, self.server.info)
        elif path == "/settings":
            self._reply(200, {"id": str(_uuid("tenant")), "display_name": "loopback", "created_at": _now()})
        elif path == "/sessions":
            self._reply(200, [_session(name) for name in query.get("name", ["default"])])
        elif path.startswith("/sessions/"):
            self._reply(200, _session("default") | {"id": path.split("/")[2]})
        else:
            self._reply(404, {"detail": "LangSmithCollector answers no queries: use its runs() and feedback()"})

    def do_POST(self) -> None:
        self._take("post")

    def do_PATCH(self) -> None:
        self._take("patch")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep quiet."""

    def _take(self, operation: str) -> None:
        path = urlsplit(self.path).path.rstrip("/")
        try:
            body = self._body()
            self.server.store.add(_parsed(operation, path, self.headers, body))
        except _UnknownPathError:
            self._reply(404, {"detail": f"LangSmithCollector takes runs and feedback, not {path}"})
        except Exception as error:  # noqa: BLE001 - the SDK logs the reason, which beats a closed connection
            self.close_connection = True
            self._reply(400, {"detail": f"{type(error).__name__}: {error}"})
        else:
            self._reply(202 if path.startswith("/runs") else 200, {})

    def _body(self) -> bytes:
        if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower():
            body = self._chunks()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if (self.headers.get("Content-Encoding") or "").lower() == "zstd":
            import zstandard

            with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(body), read_across_frames=True) as reader:
                return reader.read()
        return body

    def _chunks(self) -> bytes:
        body = bytearray()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return bytes(body)

    def _reply(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _UnknownPathError(Exception):
    pass


def _parsed(operation: str, path: str, headers: Message, body: bytes) -> list[tuple[str, str, dict[str, Any]]]:
    """Return (operation, id, fields) of a request.

    Raises:
        _UnknownPathError: It is no request about runs or feedback.
    """
    match operation, path.split("/")[1:]:
        case "post", ["runs", "multipart"]:
            return _multipart(str(headers.get_param("boundary")), body)
        case "post", ["runs", "batch"]:
            batch = json.loads(body)
            return [(kind, run["id"], run) for kind in ("post", "patch") for run in batch.get(kind) or ()]
        case "post", ["runs"]:
            run = json.loads(body)
            return [("post", run["id"], run)]
        case "patch", ["runs", key]:
            return [("patch", key, json.loads(body))]
        case "post", ["feedback"]:
            feedback = json.loads(body)
            return [("feedback", feedback.get("id") or str(uuid.uuid4()), feedback)]
        case "patch", ["feedback", key]:
            return [("feedback", key, json.loads(body))]
    raise _UnknownPathError(path)


def _multipart(boundary: str, body: bytes) -> list[tuple[str, str, dict[str, Any]]]:
    found: list[tuple[str, str, dict[str, Any]]] = []
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary.encode())[1:]:
        head, _, content = part.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if name is None:
            continue  # what follows the last boundary
        operation, key, *field = name[1].decode().split(".", 2)
        if operation != "attachment":
            value = json.loads(content)
            found.append((operation, key, {field[0]: value} if field else value))
    return found


def _session(name: str) -> dict[str, Any]:
    return {
        "id": str(_uuid(name)),
        "name": name,
        "tenant_id": str(_uuid("tenant")),
        "reference_dataset_id": None,
        "start_time": _now(),
    }


def _uuid(name: str) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_URL, f"langsmith-collector/{name}")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
