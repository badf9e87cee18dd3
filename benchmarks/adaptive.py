"""Adaptive sampling against the fixed plan, on samples that were drawn once: calls, AUROC, decisions.

python benchmarks/adaptive.py SAMPLES.jsonl [--orders 3]

Nothing is asked of a model: stored answers are handed out round by round. Each policy is one that users have: the
default one (four actions) and one threshold (as `calibration.policy()` gives), the last one fitted to make the fewest
errors on the development half. Means over several random orders.
"""

from __future__ import annotations

import argparse
import zlib
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
    "adaptive, average, 0.01, 19 first": {
        "mode": "adaptive",
        "error": 0.01,
        "guarantee": "average",
        "min_answers": 19,
    },
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
    held_out = np.array([zlib.crc32(samples.id.encode()) % 2 == 1 for samples in everything])
    held_out_auroc = m.auroc(fixed.uncertainty[held_out], fixed.right[held_out])
    fitted = fewest_errors(fixed.uncertainty[~held_out], fixed.right[~held_out])
    policies = {**POLICIES, f"answer up to {fitted:.2f}": Thresholds(answer=fitted, retrieve_more=None, fallback=None)}
    print(
        f"{'policy':24}{'mode':35}{'median calls':>13}{'mean calls':>12}{'AUROC':>9}{'change':>9}"
        f"{'held out':>10}{'same decision':>15}"
    )
    for (policy_name, policy), (mode_name, mode) in product(policies.items(), MODES.items()):
        rows = []
        for seed in range(options.orders):
            found = score_samples(everything, InvEntropy(similarity=similarity, policy=policy, seed=seed, **mode))
            pairs = zip(fixed.uncertainty, found.uncertainty, strict=True)
            same = np.mean([policy(a, "ok").action == policy(b, "ok").action for a, b in pairs])
            calls = (found.asked + 1) / 50  # the primary answer is a call too
            new = m.auroc(found.uncertainty[held_out], found.right[held_out]) - held_out_auroc
            rows.append((np.median(calls), calls.mean(), m.auroc(found.uncertainty, found.right), new, same))
        median, mean, score, new, same = np.mean(rows, axis=0)
        print(
            f"{policy_name:24}{mode_name:35}{median:12.0%} {mean:11.0%} "
            f"{score:8.3f} {score - auroc:+8.3f} {new:+9.3f} {same:14.1%}",
            flush=True,
        )


def fewest_errors(uncertainty: np.ndarray, right: np.ndarray) -> float:
    """Return the threshold that answers fewest wrong questions and withholds fewest right answers, in sum."""
    errors = [np.sum((uncertainty <= limit) & ~right) + np.sum((uncertainty > limit) & right) for limit in uncertainty]
    return float(uncertainty[np.argmin(errors)])


if __name__ == "__main__":
    main()
