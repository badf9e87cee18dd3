"""A thousand scored calls at once in one process: does the event loop stay free, memory bounded, the order fair?

python benchmarks/throughput.py [--calls 100 300 1000] [--latency 0.05] [--freeze] [--plot FILE.svg]

The model is a server in a process of its own that answers every request after the same time. Embedding is left out (the
lexical encoder), since it is the encoder's cost and not the middleware's.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import resource
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import openai

from invent_chain import InvEntropy, OpenAIAsk

QUESTION = "Which river flows through the old town of the capital of country {}?"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, latency: float) -> None:
    """Speak just enough HTTP/1.1: one reply for each request of a connection that stays open."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            n = json.loads(await reader.readexactly(length)).get("n", 1)
            await asyncio.sleep(latency)
            messages = [{"role": "assistant", "content": f"river {k % 3}"} for k in range(n)]
            choices = [{"index": k, "finish_reason": "stop", "message": m} for k, m in enumerate(messages)]
            reply = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": choices}
            body = json.dumps(reply).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
            writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def serve(pipe: Connection, latency: float) -> None:
    async def run() -> None:
        server = await asyncio.start_server(lambda r, w: answer(r, w, latency), "127.0.0.1", 0, backlog=4096)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


async def heartbeat(gaps: list[float]) -> None:
    """Note how much later than asked the event loop comes back: for so long it was blocked."""
    while True:
        before = time.perf_counter()
        await asyncio.sleep(0.005)
        gaps.append(time.perf_counter() - before - 0.005)


def megabytes() -> float:
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


async def measure(url: str, calls: int, *, freeze: bool) -> dict[str, float]:
    async with openai.AsyncOpenAI(base_url=url, api_key="x", timeout=600) as client:
        scorer = InvEntropy(OpenAIAsk(client, model="m"), timeout=600)
        await scorer.ascore(QUESTION.format("zero"), answer="river 1")  # loads the lexicon and the connections
        if freeze:
            gc.collect()
            gc.freeze()
        gaps: list[float] = []
        peak = before = megabytes()
        ended: list[tuple[int, float]] = []
        beat = asyncio.create_task(heartbeat(gaps))
        started = time.perf_counter()

        async def call(k: int) -> None:
            nonlocal peak
            report = await scorer.ascore(QUESTION.format(k), answer="river 1")
            assert report.status in ("ok", "degraded"), report.problems
            ended.append((k, time.perf_counter() - started))
            peak = max(peak, megabytes())

        await asyncio.gather(*(call(k) for k in range(calls)))
        seconds = time.perf_counter() - started
        beat.cancel()
    order = np.array([k for k, _ in ended])
    times = np.array([at for _, at in ended])
    return {
        "calls": calls,
        "calls a second": calls / seconds,
        **blocked(gaps),
        "memory grown, MB": peak - before,
        "memory a call, kB": 1e3 * (peak - before) / calls,
        "first call done after s": float(times[0]),
        "last call done after s": float(times[-1]),
        "order of arrival kept (rank correlation)": float(np.corrcoef(order, np.arange(len(order)))[0, 1]),
    }


async def client_alone(url: str, requests: int, *, freeze: bool) -> dict[str, float]:
    """Measure what the client does to the event loop by itself, with as many requests in flight."""
    async with openai.AsyncOpenAI(base_url=url, api_key="x", timeout=600) as client:
        messages = [{"role": "user", "content": QUESTION}]
        await client.chat.completions.create(model="m", messages=messages, n=3)  # type: ignore[arg-type, call-overload]
        if freeze:
            gc.collect()
            gc.freeze()
        gaps: list[float] = []
        window = asyncio.Semaphore(64)

        async def call() -> None:
            async with window:
                await client.chat.completions.create(model="m", messages=messages, n=3)  # type: ignore[arg-type, call-overload]

        beat = asyncio.create_task(heartbeat(gaps))
        await asyncio.gather(*(call() for _ in range(requests)))
        beat.cancel()
    return {"the client alone: " + name: value for name, value in blocked(gaps).items()}


def blocked(gaps: list[float]) -> dict[str, float]:
    late = 1e3 * np.sort(gaps)
    return {
        "loop blocked, median ms": float(np.median(late)),
        "loop blocked, 99 % ms": float(np.quantile(late, 0.99)),
        "loop blocked, most ms": float(late[-1]),
    }


def run(measuring: Callable[..., Coroutine[Any, Any, dict[str, float]]], url: str, count: int, freeze: bool) -> Any:
    """Measure in a process of its own, which has not kept memory of another run."""
    return asyncio.run(measuring(url, count, freeze=freeze))


def draw(runs: list[dict[str, float]], file: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    calls = [run["calls"] for run in runs]
    figure, (memory, blocking) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    memory.plot(calls, [run["memory grown, MB"] for run in runs], "o-")
    memory.set(xlabel="overlapping calls", ylabel="memory grown, MB", ylim=(0, None))
    for name in ("most", "99 %", "median"):
        blocking.plot(calls, [run[f"loop blocked, {name} ms"] for run in runs], "o-", label=name)
    blocking.set(xlabel="overlapping calls", ylabel="event loop blocked, ms", ylim=(0, None))
    blocking.legend()
    figure.savefig(file)
    print(f"written {file}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, nargs="*", default=[100, 300, 1000])
    parser.add_argument("--latency", type=float, default=0.05, help="seconds before each answer of the server")
    parser.add_argument("--freeze", action="store_true", help="gc.freeze() after loading, as servers do")
    parser.add_argument("--plot", type=Path, help="also draw memory and blocking (needs matplotlib)")
    options = parser.parse_args()
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there, options.latency), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{here.recv()}/v1"
    try:
        found = []
        for measuring, calls in [(client_alone, 1000), *((measure, calls) for calls in options.calls)]:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
                found.append(fresh.submit(run, measuring, url, calls, options.freeze).result())
            print("\n".join(f"{name:42} {value:10.3f}" for name, value in found[-1].items()), end="\n\n", flush=True)
        if options.plot is not None:
            draw(found[1:], options.plot)
    finally:
        server.terminate()


if __name__ == "__main__":
    main()
