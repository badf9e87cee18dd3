"""A LangSmith server on loopback, to test what an application traces: no account, no key, no network.

    with LangSmithCollector() as langsmith:
        chain.invoke("Hello", config={"callbacks": [LangChainTracer(client=langsmith.client())]})
        langsmith.collect()
        print(langsmith.tree())

It takes what the LangSmith SDK sends (runs and feedback, compressed or plain) and keeps it in memory. It serves no
queries: reading runs back through the SDK is answered with 404, use `runs`, `tree` and `feedback` instead.
"""

from __future__ import annotations

from typing import Self

from langchain_core.tracers.langchain import wait_for_all_tracers
from langsmith import Client

from langchain_invent.langsmith_server import PATIENCE, Server, started
from langchain_invent.traced import Store, TracedFeedback, TracedRun

__all__ = ["LangSmithCollector", "TracedFeedback", "TracedRun"]

_KEY = "loopback"  # the SDK wants one; the collector takes any
_TRACEBACK = "Traceback (most recent call last)"  # LangChain appends it without a line break
_SHOWN = ("score", "decision")


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
        self._store = Store()
        self._server: Server | None = None
        self._clients: list[Client] = []

    def __enter__(self) -> Self:
        if self._server is not None:
            raise RuntimeError("this collector was entered before: make a new one for each `with`")
        self._server = started(self._store, self._info)
        return self

    def __exit__(self, *exc: object) -> None:
        for client in self._clients:
            client.close(timeout=PATIENCE)
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
            each.flush(timeout=PATIENCE)
        return self.runs()

    def wait(self, count: int, timeout: float = PATIENCE) -> list[TracedRun]:
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
