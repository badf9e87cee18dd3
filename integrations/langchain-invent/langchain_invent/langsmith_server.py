"""The loopback server behind `testing.LangSmithCollector`: it speaks what the LangSmith SDK speaks."""

from __future__ import annotations

import io
import json
import re
import socket
import threading
import time
import uuid
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from langchain_invent.traced import Store

PATIENCE = 10.0
"""Longest wait for what is in flight, in seconds."""

_NAME = re.compile(rb'name="([^"]*)"')


class Server(ThreadingHTTPServer):
    """Knows its connections: the SDK keeps them open, and their threads must end with the server."""

    daemon_threads = True
    request_queue_size = 128
    store: Store
    info: dict[str, Any]

    def __init__(self, *args: Any) -> None:
        self._open: set[Any] = set()
        self._changed = threading.Condition()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection while it is open."""
        with self._changed:
            self._open.add(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Forget the connection at its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._changed:
                self._open.discard(request)
                self._changed.notify_all()

    def stop(self) -> None:
        """Stop serving; connections that are still open are cut."""
        self.shutdown()
        self.server_close()
        with self._changed:
            for request in self._open:
                try:
                    request.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # the other side was faster
            self._changed.wait_for(lambda: not self._open, timeout=PATIENCE)


def started(store: Store, info: dict[str, Any]) -> Server:
    """Return a server on a free loopback port that keeps what it is sent in `store` and announces `info`."""
    server = Server(("127.0.0.1", 0), _Handler)
    server.store, server.info = store, info
    threading.Thread(target=server.serve_forever, args=(0.02,), name="langsmith", daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: Server

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
