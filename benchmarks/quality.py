"""How well each uncertainty tells wrong answers from right ones, on samples that were drawn once.

python benchmarks/quality.py SAMPLES.jsonl [--draws 1000] [--tsu COLD.jsonl HOT.jsonl ...] [--others OTHERS.json ...]

Every method gets the same number of answers (10, and 50). Nothing is asked of a model; the bundled sentence encoder
embeds each text once. The held-out half is what no choice of the library was made on.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from invent_chain.assess import assess
from invent_chain.calibrate.maps import cross_fitted
from invent_chain.embed import CosineSimilarity, bundled_minilm, drop_echo
from invent_chain.evaluate import Samples, SampleStore
from invent_chain.evaluate import baselines as b
from invent_chain.evaluate import metrics as m
from invent_chain.evaluate.scored import contains_accepted

DEFAULT = "consensus, half siblings (the default)"
PUBLISHED = ("lexical entropy", "semantic entropy", "degree matrix")
PLANS = {10: (5, 5, 1), 50: (23, 9, 3)}
"""Answers in all: answers to the question itself (the primary one included), siblings, answers to each of these."""


class Cached:
    """Encodes each distinct text once."""

    def __init__(self) -> None:
        self._encoder, self._rows = bundled_minilm(), {}

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in self._rows]
        if new:
            self._rows.update(zip(new, self._encoder.encode(new), strict=True))
        return np.array([self._rows[text] for text in texts])


def texts_of(samples: Samples) -> list[str]:
    question = samples.question
    plain = [samples.answer, *samples.replications]
    asked = [(question, plain), *((s.text, s.answers) for s in samples.siblings)]
    answers = [text for _, group in asked for text in group]
    bare = [drop_echo(text, other, question) for other, group in asked for text in group]
    return [*answers, *bare, *(drop_echo(text, question) for text in plain), *(other for other, _ in asked)]


def scores(samples: Samples, budget: int, similarity: CosineSimilarity) -> dict[str, float]:
    """Every method on `budget` answers, the primary one included."""
    question, plain = samples.question, [samples.answer, *samples.replications[: budget - 1]]
    found: dict[str, float] = {}
    for echo, texts in (("", plain), (", echo dropped", [drop_echo(text, question) for text in plain])):
        cosine = np.clip(2 * similarity.compare(texts)[0] - 1, 0.0, 1.0)
        found[f"lexical entropy{echo}"] = b.lexical_entropy(texts)
        found[f"semantic entropy{echo}"] = b.semantic_entropy(cosine)
        found[f"degree matrix{echo}"] = b.degree_matrix(cosine)
        found[f"mean dissimilarity{echo}"] = b.mean_dissimilarity(cosine)
        found[f"support, replications{echo}"] = b.primary_dissimilarity(cosine)

    def measures(replications: int, siblings: int, r: int, *, drop: bool = True) -> dict[str, float]:
        groups = [(question, plain[:replications])]
        groups += [(s.text, list(s.answers[:r])) for s in samples.siblings[:siblings]]
        questions, answers = zip(*groups, strict=True)
        return assess(questions, answers, similarity=similarity, drop_echo=drop).measures

    paper = measures(budget // 10, 9, budget // 10, drop=False)
    found["Inv-Entropy (the paper's)"] = paper["inv_entropy"]
    found["Inv-Entropy normalised"] = paper["normalised"]
    found["support, siblings (like SPUQ)"] = 1.0 - paper["support"]
    half, alone, rewordings = measures(*PLANS[budget]), measures(budget, 0, 0), measures(budget // 10, 9, budget // 10)
    found[DEFAULT] = 1.0 - half["consensus"]
    found["consensus, replications"] = 1.0 - alone["consensus"]
    found["consensus, siblings"] = 1.0 - rewordings["consensus"]
    found["support, half siblings, echo dropped"] = 1.0 - half["support"]
    found["support, siblings, echo dropped"] = 1.0 - rewordings["support"]
    return found


def auroc_gain(ours: np.ndarray, theirs: np.ndarray, right: np.ndarray) -> float:
    return m.auroc(ours, right) - m.auroc(theirs, right)


def requests(method: str, budget: int) -> int:
    """Requests for one question at a server that takes `n`, the primary answer's included."""
    siblings = PLANS[budget][1] if "half" in method else 9 if "sibling" in method or "Inv" in method else 0
    replications = 1 if "half" in method or not siblings or budget > 10 else 0
    return 1 + replications + siblings


def table(everything: Sequence[Samples], budget: int, similarity: CosineSimilarity) -> dict[str, np.ndarray]:
    rows = [scores(samples, budget, similarity) for samples in everything]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("samples", help="a file that invent_chain.evaluate.Collector wrote")
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap resamples")
    parser.add_argument("--tsu", nargs="*", default=[], help="samples of the same questions at rising temperatures")
    parser.add_argument("--others", nargs="*", default=[], help="what others.py wrote about SAMPLES")
    options = parser.parse_args()
    others = [json.loads(Path(path).read_text(encoding="utf-8")) for path in options.others]

    everything = list(SampleStore(options.samples))
    right = np.array([contains_accepted(s) for s in everything])
    held = np.array([zlib.crc32(s.id.encode()) % 2 == 1 for s in everything])
    by_temperature = [{s.id: s for s in SampleStore(path)} for path in options.tsu]
    cached = Cached()
    similarity = CosineSimilarity(cached)
    cached.encode(
        [t for group in (everything, *(f.values() for f in by_temperature)) for s in group for t in texts_of(s)]
    )
    fold = np.random.default_rng(0).permutation(len(right)) % 5

    print(f"{len(everything)} questions ({held.sum()} held out), {right.mean():.0%} right, {everything[0].model}")
    for budget in PLANS:
        values_of = table(everything, budget, similarity)
        published = list(PUBLISHED)
        for found in others:
            for name, by_id in found[str(budget)].items():
                values_of[name] = np.array([by_id[s.id] for s in everything])
                published.append(name)
        print(f"\n{budget} answers{'':33}AUROC [95 %]              held out   PRR   AURC  Brier  requests")
        for name, values in sorted(values_of.items(), key=lambda item: -m.auroc(item[1], right)):
            interval = m.bootstrap(m.auroc, values, right, rng=np.random.default_rng(0), draws=options.draws)
            brier = m.brier(cross_fitted(values, right.astype(float), fold, "isotonic"), right)
            print(
                f"{name:42} {interval!s:24} {m.auroc(values[held], right[held]):8.3f} {m.prr(values, right):6.3f} "
                f"{m.aurc(values, right):6.3f} {brier:6.3f} {requests(name, budget):6}"
            )
        best = max(published, key=lambda name: m.auroc(values_of[name], right))
        pair = (values_of[DEFAULT], values_of[best], right)
        gain = m.bootstrap(auroc_gain, *pair, rng=np.random.default_rng(0), draws=options.draws)
        print(f"the default score above the best published ({best}): {gain}, paired")

    if by_temperature:
        shared = sorted(set.intersection(*(set(file) for file in by_temperature)))
        for budget in PLANS:
            columns = [table([file[id_] for id_ in shared], budget, similarity) for file in by_temperature]
            print(f"\nTSU over {len(shared)} questions, {budget} answers")
            rows = {name: m.tsu(np.stack([column[name] for column in columns])) for name in columns[0]}
            for name, value in sorted(rows.items(), key=lambda item: -item[1]):
                print(f"{name:42} {value:.3f}")


if __name__ == "__main__":
    main()
