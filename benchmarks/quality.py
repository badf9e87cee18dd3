"""How well each uncertainty tells wrong answers from right ones, on samples that were drawn once.

python benchmarks/quality.py SAMPLES.jsonl [--draws 1000]

Every method gets the same number of answers (10, and 50): plain replications, or perturbed siblings, or half of each.
Nothing is asked of a model; the bundled sentence encoder embeds each text once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from invent_chain.assess import assess
from invent_chain.embed import CosineSimilarity, bundled_minilm, drop_echo
from invent_chain.evaluate import Samples, SampleStore
from invent_chain.evaluate import baselines as b
from invent_chain.evaluate import metrics as m
from invent_chain.evaluate.judges import contains


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
    r = budget // 10
    siblings = [(question, [samples.answer, *samples.replications[: r - 1]])]
    siblings += [(s.text, list(s.answers[:r])) for s in samples.siblings[:9]]
    half = budget // 2
    mixed = [(question, [samples.answer, *samples.replications[:half]])]
    mixed += [(s.text, list(s.answers[:r])) for s in samples.siblings[: (half - 1) // r]]
    for name, asked, dropped in (
        ("siblings", siblings, False),
        ("siblings, echo dropped", siblings, True),
        ("half and half, echo dropped", mixed, True),
    ):
        questions, answers = zip(*asked, strict=True)
        measures = assess(questions, answers, similarity=similarity, drop_echo=dropped).measures
        found[f"support, {name}"] = 1.0 - measures["support"]
        if asked is siblings:
            found[f"Inv-Entropy, {name}"] = measures["inv_entropy"]
            found[f"Inv-Entropy normalised, {name}"] = measures["normalised"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("samples", help="a file that invent_chain.evaluate.Collector wrote")
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap resamples")
    options = parser.parse_args()

    everything = list(SampleStore(options.samples))
    right = np.array([contains(s.answer, s.gold, exact_case=s.exact_case) for s in everything])
    cached = Cached()
    similarity = CosineSimilarity(cached)
    cached.encode([text for samples in everything for text in texts_of(samples)])
    print(f"{len(everything)} questions, {right.mean():.0%} right, {everything[0].model}")
    for budget in (10, 50):
        rows = [scores(samples, budget, similarity) for samples in everything]
        table = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        print(f"\n{budget} answers{'':39}AUROC [95 %]               PRR   AURC")
        for name, values in sorted(table.items(), key=lambda item: -m.auroc(item[1], right)):
            interval = m.bootstrap(m.auroc, values, right, rng=np.random.default_rng(0), draws=options.draws)
            print(f"{name:48} {interval!s:24} {m.prr(values, right):6.3f} {m.aurc(values, right):6.3f}")


if __name__ == "__main__":
    main()
