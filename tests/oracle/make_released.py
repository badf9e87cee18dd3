"""Recompute `released.json` with the functions of `inventropy` 0.1.0, the package of the paper's authors.

    pip install --no-deps inventropy==0.1.0
    python -m tests.oracle.make_released

Its functions are fed embeddings drawn from a seeded generator, so that no encoder is needed. Its own bootstrap draws
from the global `random` module; the index tuples it kept are stored beside its mean.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
from pathlib import Path
from unittest.mock import patch

import numpy as np

CASES = ((0, 4, 3), (1, 10, 5), (2, 2, 2))
"""(seed, questions, replications)."""

OUT = Path(__file__).with_name("released.json")


def embeddings(seed: int, questions: int, replications: int) -> tuple[np.ndarray, np.ndarray]:
    """Return question embeddings (questions, 16) and answer embeddings (questions * replications, 16)."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(questions, 16)), rng.normal(size=(questions * replications, 16))


def main() -> None:
    import torch
    from inventropy import core

    cases = []
    for seed, n, r in CASES:
        x, y = embeddings(seed, n, r)
        questions = [f"q{i}" for i in range(n) for _ in range(r)]
        answers = [f"a{i}" for i in range(n * r)]
        vectors = {f"q{i}": torch.tensor(row) for i, row in enumerate(x)}
        vectors |= {f"a{i}": torch.tensor(row) for i, row in enumerate(y)}
        sim_x = core.compute_similarity_matrix_sbert(vectors, questions)
        sim_y = core.compute_similarity_matrix_sbert(vectors, answers)
        drawn: list[int] = []

        def randint(low: int, high: int, drawn: list[int] = drawn) -> int:
            drawn.append(random.Random(len(drawn)).randint(low, high))
            return drawn[-1]

        with patch.object(core.random, "randint", randint), contextlib.redirect_stdout(io.StringIO()):
            mean = core.compute_inv_entropy_with_sampling(sim_x, sim_y, n - 1, r, num_bootstrap=4)
        tuples = list(dict.fromkeys(tuple(drawn[i : i + n]) for i in range(0, len(drawn), n)))
        first = [i * r for i in range(n)]
        sim = {"x": sim_x[np.ix_(first, first)], "y": sim_y[np.ix_(first, first)]}

        def looked_up(texts: list[str], _: str, sim: dict[str, np.ndarray] = sim) -> np.ndarray:
            return sim[texts[0]]

        with patch.object(core, "compute_embeddings_and_similarity", looked_up):
            one, _, _ = core.compute_inv_entropy_single(["x"], ["y"])
        cases.append(
            {
                "seed": seed,
                "questions": n,
                "replications": r,
                "draws": [[int(k) for k in draw] for draw in tuples],
                "inv_entropy": float(mean),
                "nr_inv_entropy": float(one),
            }
        )
    OUT.write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
