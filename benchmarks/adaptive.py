"""Adaptive sampling against the fixed plan, on samples that were drawn once: calls, AUROC, decisions.

python benchmarks/adaptive.py SAMPLES.jsonl [--orders 3]

Nothing is asked of a model: stored answers are handed out round by round. Each policy is one that users have: the
default one (four actions) and one threshold (as `calibration.policy()` gives). Means over several random orders.
"""

from __future__ import annotations

import argparse
from itertools import product

import numpy as np

from invent_chain import InvEntropy, Thresholds
from invent_chain.cache import CachedEncoder, MemoryCache
from invent_chain.embed import CosineSimilarity, bundled_minilm
from invent_chain.evaluate import SampleStore, score_samples
from invent_chain.evaluate import metrics as m

POLICIES = {
    "default, four actions": Thresholds(),
    "answer up to 0.3": Thresholds(answer=0.3, retrieve_more=None, fallback=None),
    "answer up to 0.5": Thresholds(answer=0.5, retrieve_more=None, fallback=None),
}
MODES = {
    "adaptive, each, 0.05": {"mode": "adaptive", "error": 0.05, "guarantee": "each"},
    "adaptive, average, 0.05": {"mode": "adaptive", "error": 0.05, "guarantee": "average"},
    "adaptive, average, 0.10": {"mode": "adaptive", "error": 0.10, "guarantee": "average"},
    "adaptive, average, 0.20": {"mode": "adaptive", "error": 0.20, "guarantee": "average"},
    "screen": {"mode": "screen"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("samples", help="a file that invent_chain.evaluate.Collector wrote")
    parser.add_argument("--orders", type=int, default=3, help="random orders to average over")
    options = parser.parse_args()
    everything = list(SampleStore(options.samples))
    similarity = CosineSimilarity(CachedEncoder(bundled_minilm(), MemoryCache(max_bytes=None)))
    fixed = score_samples(everything, InvEntropy(similarity=similarity))
    auroc = m.auroc(fixed.uncertainty, fixed.right)
    print(f"{len(everything)} questions; fixed: {int(np.median(fixed.asked)) + 1} calls, AUROC {auroc:.3f}\n")
    print(
        f"{'policy':24}{'mode':26}{'median calls':>13}{'mean calls':>12}{'AUROC':>9}{'change':>9}{'same decision':>15}"
    )
    for (policy_name, policy), (mode_name, mode) in product(POLICIES.items(), MODES.items()):
        rows = []
        for seed in range(options.orders):
            found = score_samples(everything, InvEntropy(similarity=similarity, policy=policy, seed=seed, **mode))
            pairs = zip(fixed.uncertainty, found.uncertainty, strict=True)
            same = np.mean([policy(a, "ok").action == policy(b, "ok").action for a, b in pairs])
            calls = (found.asked + 1) / 50  # the primary answer is a call too
            rows.append((np.median(calls), calls.mean(), m.auroc(found.uncertainty, found.right), same))
        median, mean, score, same = np.mean(rows, axis=0)
        print(
            f"{policy_name:24}{mode_name:26}{median:12.0%} {mean:11.0%} "
            f"{score:8.3f} {score - auroc:+8.3f} {same:14.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
