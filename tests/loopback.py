"""A real HTTP server on 127.0.0.1 that speaks, and misspeaks, OpenAI's chat completions and embeddings.

    with Loopback("429", "ok", reply=lambda question, index: "Koror") as server:
        client = openai.OpenAI(base_url=server.base_url, api_key="x", max_retries=0)

Each request takes the next behaviour of the script; the last one stays. `Behaviour` lists them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import struct
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self, get_args

Behaviour = Literal[
    "ok",
    "ignores_n",  # one choice, whatever n is
    "rejects_n",  # 400 that names n, if n > 1
    "rejects_n_vaguely",  # 422 that does not say why, if n > 1
    "400",
    "401",
    "403",
    "404",
    "unknown_model",  # 400
    "no_quota",  # 429
    "429",
    "500",
    "truncated",  # fewer bytes than Content-Length
    "garbage",  # application/json that is no JSON
    "html",  # 200 with a web page
    "wrong_shape",  # JSON of another kind
    "empty",  # choices without text; no embeddings
    "one_empty",  # the first of the choices without text
    "hang",  # answers nothing until the server closes, at most `longest` seconds
]

_ERRORS: dict[str, tuple[int, dict[str, Any]]] = {
    "400": (400, {"message": "temperature out of range", "type": "invalid_request_error", "code": None}),
    "401": (401, {"message": "Incorrect API key provided: {key}", "code": "invalid_api_key"}),
    "403": (403, {"message": "not allowed", "code": None}),
    "404": (404, {"message": "no such page", "code": None}),
    "unknown_model": (400, {"message": "The model `x` does not exist", "code": None}),
    "no_quota": (429, {"message": "You exceeded your current quota", "code": "insufficient_quota"}),
    "429": (429, {"message": "slow down: {prompt}", "code": "rate_limit_exceeded"}),
    "500": (500, {"message": "oops: {prompt}", "code": None}),
    "rejects_n": (400, {"message": "'n' : number must be at most 1", "code": None}),
    "rejects_n_vaguely": (422, {"message": "unprocessable", "code": None}),
}


class Loopback:
    """The server, as a context manager.

    Args:
        script: Behaviours of successive requests; the last one stays. Default: all "ok".
        reply: Makes the text of a choice from (last user message, index of the choice).
        embed: Makes the vector of a text; by default 8 numbers from its hash.
        delay: Seconds before each reply.
        retry_after: Seconds named by the Retry-After header of a 429.
        longest: Most seconds for which "hang" holds a request.
    """

    def __init__(
        self,
        *script: Behaviour,
        reply: Callable[[str, int], str] = lambda question, index: f"answer {index} to {question}",
        embed: Callable[[str], list[float]] | None = None,
        delay: float = 0.0,
        retry_after: float = 0.05,
        longest: float = 5.0,
    ) -> None:
        for behaviour in script:
            assert behaviour in get_args(Behaviour), behaviour
        self._script = list(script or ("ok",))
        self.reply, self.embed = reply, embed or _hashed
        self.delay, self.retry_after, self.longest = delay, retry_after, longest
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.max_concurrent = 0
        self.closing = threading.Event()
        self._now = 0
        self._lock = threading.Lock()

    @property
    def requests(self) -> int:
        """Requests received so far."""
        return len(self.bodies)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def questions(self) -> list[str]:
        """The last message of each chat request, in the order of arrival."""
        return [body["messages"][-1]["content"] for body in self.bodies if "messages" in body]

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.loopback = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()  # joins the threads of the requests
        self._thread.join()

    def enter(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> Behaviour:
        with self._lock:
            self.paths.append(path)
            self.headers.append(headers)
            self.bodies.append(body)
            self._now += 1
            self.max_concurrent = max(self.max_concurrent, self._now)
            return self._script.pop(0) if len(self._script) > 1 else self._script[0]

    def leave(self) -> None:
        with self._lock:
            self._now -= 1


def closed_port_url() -> str:
    """Return a base URL on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128
    loopback: Loopback

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may hang up."""


class _Handler(BaseHTTPRequestHandler):
    timeout = 5.0
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_POST(self) -> None:
        loopback = self.server.loopback
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        behaviour = loopback.enter(self.path, dict(self.headers.items()), body)
        try:
            loopback.closing.wait(loopback.longest if behaviour == "hang" else loopback.delay)
            if behaviour != "hang":
                self._answer(loopback, behaviour, body)
        finally:
            loopback.leave()

    def _answer(self, loopback: Loopback, behaviour: Behaviour, body: dict[str, Any]) -> None:
        if behaviour in _ERRORS and not (behaviour.startswith("rejects_n") and body.get("n", 1) == 1):
            status, error = _ERRORS[behaviour]
            prompt = json.dumps(body.get("messages", body.get("input")))
            key = self.headers.get("Authorization", "")
            message = error["message"].replace("{prompt}", prompt).replace("{key}", key)
            return self._send(status, {"error": {"param": None, "type": "error", **error, "message": message}})
        if behaviour == "garbage":
            return self._send(200, b"{not json")
        if behaviour == "html":
            return self._send(200, b"<html>It works!</html>", kind="text/html")
        if behaviour == "wrong_shape":
            return self._send(200, {"result": [1, 2]})
        if self.path.endswith("/chat/completions"):
            content = _chat(loopback, behaviour, body)
        elif self.path.endswith("/embeddings"):
            content = _embeddings(loopback, behaviour, body)
        else:
            return self._send(404, {"error": {"message": f"no {self.path}", "code": None}})
        return self._send(200, content, cut=behaviour == "truncated")

    def _send(self, status: int, content: Any, *, kind: str = "application/json", cut: bool = False) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if status == 429:
            self.send_header("Retry-After", str(self.server.loopback.retry_after))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)


def _chat(loopback: Loopback, behaviour: Behaviour, body: dict[str, Any]) -> dict[str, Any]:
    n = 1 if behaviour == "ignores_n" else body.get("n", 1)
    question = body["messages"][-1]["content"]
    blank = {"empty": range(n), "one_empty": range(1)}.get(behaviour, range(0))
    choices = [
        {
            "index": i,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": None if i in blank else loopback.reply(question, i)},
        }
        for i in range(n)
    ]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": choices,
        "usage": {"prompt_tokens": 10, "completion_tokens": 3 * n, "total_tokens": 10 + 3 * n},
    }


def _embeddings(loopback: Loopback, behaviour: Behaviour, body: dict[str, Any]) -> dict[str, Any]:
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    vectors: list[Any] = [] if behaviour == "empty" else [loopback.embed(text) for text in texts]
    if body.get("encoding_format") == "base64":
        vectors = [base64.b64encode(struct.pack(f"<{len(v)}f", *v)).decode() for v in vectors]
    return {
        "object": "list",
        "model": body["model"],
        "data": [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)],
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
    }


def _hashed(text: str) -> list[float]:
    return [byte / 255 for byte in hashlib.sha256(text.encode()).digest()[:8]]
