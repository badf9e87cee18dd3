"""Speed and cost against `inventropy` 0.1.0, side by side in one run. Prints ratios of medians.

make bench
"""

from __future__ import annotations

import contextlib
import io
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))  # for the loopback server of the tests

from invent_chain import InvEntropy, OpenAIAsk
from invent_chain.assess import assess
from invent_chain.embed import CosineSimilarity, bundled_minilm

N, R, B = 9, 5, 30
TOPICS = ("river", "capital", "element", "painter", "novel", "planet", "language", "mountain", "inventor", "king")
QUESTIONS = [f"What is the name of the {topic} that we spoke about?" for topic in TOPICS]
ANSWERS = [[f"It is the {topic} number {j} of our list" for j in range(R)] for topic in TOPICS]


def medians(runs: int, *works: Callable[[], object]) -> list[float]:
    """Return the median seconds of each, run in turn so that other load meets all of them."""
    seconds: list[list[float]] = [[] for _ in works]
    for _ in range(runs):
        for work, took in zip(works, seconds, strict=True):
            started = time.perf_counter()
            work()
            took.append(time.perf_counter() - started)
    return [statistics.median(took) for took in seconds]


class Known:
    """Embeddings made beforehand, so that only scoring is timed."""

    name = "known"

    def __init__(self, vectors: dict[str, np.ndarray]) -> None:
        self._rows = np.stack(list(vectors.values()))
        self._place = {text: i for i, text in enumerate(vectors)}

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return self._rows[[self._place[text] for text in texts]]


def scoring() -> str:
    """Similarity, walk, bootstrap and measures of 10 x 5 answers."""
    try:
        import torch
        from inventropy import core
    except ImportError as error:
        return f"scoring: skipped, {error}; pip install --no-deps inventropy==0.1.0, and invent-chain[openai,sbert]"
    texts = [*QUESTIONS, *(answer for group in ANSWERS for answer in group)]
    vectors = dict(zip(texts, bundled_minilm().encode(texts), strict=True))
    tensors = {text: torch.tensor(row) for text, row in vectors.items()}
    similarity = CosineSimilarity(Known(vectors), kind="absolute")
    repeated = [question for question in QUESTIONS for _ in range(R)]
    flat = [answer for group in ANSWERS for answer in group]

    def ours() -> object:
        return assess(QUESTIONS, ANSWERS, similarity=similarity, draws=B, drop_echo=False)

    def theirs() -> object:
        sim_x = core.compute_similarity_matrix_sbert(tensors, repeated)
        sim_y = core.compute_similarity_matrix_sbert(tensors, flat)
        with contextlib.redirect_stdout(io.StringIO()):
            return core.compute_inv_entropy_with_sampling(sim_x, sim_y, N, R, num_bootstrap=B)

    repeats = 20  # as in use, where one answer is scored after the other; theirs is long enough alone
    fast, slow = medians(21, lambda: [ours() for _ in range(repeats)], theirs)
    fast /= repeats
    return f"scoring 10 x 5 answers, B = {B}: {slow / fast:.0f} times faster ({fast * 1e3:.2f} ms, {slow * 1e3:.1f} ms)"


def embedding() -> str:
    """60 texts in one batch against one by one, same encoder."""
    encoder = bundled_minilm()
    texts = [*QUESTIONS, *(answer for group in ANSWERS for answer in group)]
    encoder.encode(texts[:1])
    batch, single = medians(7, lambda: encoder.encode(texts), lambda: [encoder.encode([text]) for text in texts])
    return f"embedding {len(texts)} texts in one batch: {single / batch:.1f} times faster than one by one"


def requests() -> str:
    """HTTP requests for one question, counted at a server on loopback."""
    from openai import OpenAI

    from tests.loopback import Loopback

    counts = []
    for answer in ("Koror", None):
        with (
            Loopback() as server,
            OpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client,
            InvEntropy(OpenAIAsk(client, model="m"), n=N, r=R) as scorer,
        ):
            report = scorer.score("Which river flows through the old town of Prague?", answer=answer)
            assert report.status == "ok", report.problems
            counts.append(server.requests)
    return (
        f"requests for a question, n = {N}, r = {R}: {counts[0]} to score an answer, {counts[1]} with asking for it; "
        f"inventropy {_requests_of_inventropy()}"
    )


def _requests_of_inventropy() -> str:
    try:
        from inventropy import core
    except ImportError:
        return "skipped: not installed"
    calls = 0

    class Completion:
        """Stands for `openai.ChatCompletion` of openai 0.28, which it calls, and counts."""

        @staticmethod
        def create(**_: Any) -> dict[str, Any]:
            nonlocal calls
            calls += 1
            lines = "\n".join(f"paraphrase {i}" for i in range(N))
            return {"choices": [{"message": {"content": lines}}]}

    class Module:
        ChatCompletion = Completion

    core.openai = Module
    paraphrases = core.default_paraphrase_func("question", num_perturb=N)
    for question in ["question", *paraphrases]:
        core.default_answer_func(question, num_replication=R)
    return str(calls)


if __name__ == "__main__":
    print(f"measured on {os.cpu_count()} cores")
    for part in (scoring, embedding, requests):
        print(part())
