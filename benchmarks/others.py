"""Score stored samples with uqlm or lm-polygraph, whichever is installed, for `quality.py --others`.

python benchmarks/others.py SAMPLES.jsonl -o others.json [--encoder FOLDER]

Each has an environment of its own, since their pins conflict (benchmarks/README.md has the commands). Their scorers by
entailment need a model of a hub and are not run.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from invent_chain.evaluate import Samples, SampleStore
from invent_chain.evaluate.others import polygraph_uncertainty, uqlm_uncertainty

BUDGETS = (10, 50)


def uqlm(everything: list[Samples], budget: int, encoder: str) -> Iterator[tuple[str, np.ndarray]]:
    from uqlm.black_box import CosineScorer, MatchScorer

    yield "uqlm exact_match", uqlm_uncertainty(everything, MatchScorer(), answers=budget)
    yield "uqlm cosine_sim", uqlm_uncertainty(everything, CosineScorer(transformer=encoder), answers=budget)


def polygraph(everything: list[Samples], budget: int) -> Iterator[tuple[str, np.ndarray]]:
    from lm_polygraph.estimators import DegMat, Eccentricity, EigValLaplacian, LexicalSimilarity

    estimators = [LexicalSimilarity(metric) for metric in ("rougeL", "BLEU")]
    estimators += [kind(similarity_score="Jaccard_score") for kind in (DegMat, EigValLaplacian, Eccentricity)]
    for estimator in estimators:
        yield f"lm-polygraph {estimator}", polygraph_uncertainty(everything, estimator, answers=budget)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("samples")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--encoder", default="sentence-transformers/all-MiniLM-L6-v2", help="for uqlm: name or folder")
    options = parser.parse_args()
    everything = list(SampleStore(options.samples))
    found: dict[str, dict[str, dict[str, float]]] = {}
    for budget in BUDGETS:
        rows: list[tuple[str, np.ndarray]] = []
        if importlib.util.find_spec("uqlm"):
            rows += uqlm(everything, budget, options.encoder)
        if importlib.util.find_spec("lm_polygraph"):
            rows += polygraph(everything, budget)
        if not rows:
            raise SystemExit("neither uqlm nor lm_polygraph is installed here: benchmarks/README.md has the commands")
        ids = [samples.id for samples in everything]
        found[str(budget)] = {name: dict(zip(ids, values.tolist(), strict=True)) for name, values in rows}
    Path(options.output).write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
