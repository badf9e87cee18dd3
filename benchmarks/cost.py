"""What a score adds to a call, and how its cost grows with n, r, the length of the context and the size of a data set.

python benchmarks/cost.py [--plot FILE.svg]

The model is a callable that answers after a fixed time, with as many requests in flight as wanted; embeddings are left
out (an encoder that looks vectors up), since they are the encoder's cost.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import time
from pathlib import Path
from typing import Any

import anyio
import numpy as np

from invent_chain import InvEntropy
from invent_chain.evaluate import SampledSibling, Samples, score_samples
from invent_chain.types import Replies

LATENCY = 0.5
QUESTION = "Which river flows through the old town of Prague?"


class Vectors:
    """An encoder that costs nothing."""

    name = "vectors"

    def __init__(self) -> None:
        self._known: dict[str, np.ndarray] = {}

    def encode(self, texts: list[str]) -> np.ndarray:
        for text in texts:
            if text not in self._known:
                seed = int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)
                self._known[text] = np.random.default_rng(seed).normal(size=384)
        return np.array([self._known[text] for text in texts])


class Model:
    """Answers after a fixed time; notes when."""

    def __init__(self, latency: float, max_n: int) -> None:
        self.latency, self.max_n, self.slowest, self.last = latency, max_n, 0.0, 0.0

    async def ask(self, question: str, *, n: int, sampling: Any) -> Replies:  # noqa: ARG002
        started = time.perf_counter()
        await anyio.sleep(self.latency)
        self.last = time.perf_counter()
        self.slowest = max(self.slowest, self.last - started)
        return Replies(tuple(f"river {k % 3}" for k in range(n)), len(question) // 4, 2 * n)


async def scored(model: Model, **settings: Any) -> tuple[float, float]:
    scorer = InvEntropy(
        model, perturber=lambda q, n: [f"{q} ({k})" for k in range(n)], similarity=Vectors(), concurrency=64, **settings
    )
    await scorer.ascore(QUESTION, answer="river 1")  # loads what is loaded once
    model.slowest = 0.0
    started = time.perf_counter()
    await scorer.ascore(QUESTION, answer="river 1")
    return time.perf_counter() - started, time.perf_counter() - model.last


def growth(plot: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    def after(**settings: Any) -> float:
        return 1e3 * float(np.median([asyncio.run(scored(Model(0.0, 128), **settings))[1] for _ in range(5)]))

    figure, axes = plt.subplots(1, 4, figsize=(15, 3.4), layout="constrained")
    for axis, (name, values, make) in zip(
        axes,
        (
            ("siblings n (r = 5)", [3, 9, 18, 36], lambda v: {"n": v, "r": 5}),
            ("answers r (n = 9)", [1, 5, 10, 20], lambda v: {"n": 9, "r": v}),
        ),
        strict=False,
    ):
        axis.plot(values, [after(**make(v)) for v in values], "o-")
        axis.set(xlabel=name, ylabel="ms from the last answer to the score", ylim=(0, None))
    lengths = [100, 1000, 10000]
    costs = []
    for length in lengths:
        context = "word " * length
        ask = InvEntropy(Model(0.0, 128), max_question_chars=10**6)
        costs.append(ask.estimate(QUESTION + context, answer="x").prompt_tokens)
    axes[2].loglog(lengths, costs, "o-")
    axes[2].set(xlabel="words of context", ylabel="tokens read (n = 9, at a server that takes n)")
    sizes, seconds = [50, 100, 200, 400], []
    for size in sizes:
        siblings = tuple(SampledSibling(f"{QUESTION} ({k})", "custom", None, ("a", "b", "a")) for k in range(9))
        everything = [
            Samples(str(k), QUESTION, ("a",), False, "m", "", 0.7, "a", ("a", "b") * 11, siblings) for k in range(size)
        ]
        started = time.perf_counter()
        score_samples(everything, InvEntropy(similarity=Vectors()))
        seconds.append(time.perf_counter() - started)
    axes[3].plot(sizes, seconds, "o-")
    axes[3].set(xlabel="stored questions", ylabel="seconds to score them", ylim=(0, None))
    figure.savefig(plot)
    print(f"written {plot}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plot", type=Path, help="also draw how cost grows (needs matplotlib)")
    options = parser.parse_args()
    for name, max_n in (("a server that takes n", 128), ("one answer a request", 1)):
        found = []
        for _ in range(9):
            model = Model(LATENCY, max_n)
            wall, rest = asyncio.run(scored(model))
            found.append((wall / model.slowest, 1e3 * rest))
        ratios, rests = np.array(found).T
        print(
            f"{name:24} wall time over the slowest call {np.median(ratios):.2f} (most {ratios.max():.2f}); "
            f"from the last answer to the score {np.median(rests):.0f} ms, 95 % {np.quantile(rests, 0.95):.0f} ms"
        )
    if options.plot is not None:
        growth(options.plot)


if __name__ == "__main__":
    main()
