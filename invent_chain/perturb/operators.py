"""The genetic operators of GAAP (METHOD, GAAP steps 3 and 4; arXiv 2506.09684, App. C): small seeded functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from invent_chain.perturb.genome import Genome
from invent_chain.protocols import FloatArray

Substitutions = Mapping[int, Sequence[str]]


def initial_population(original: Genome, substitutions: Substitutions) -> list[Genome]:
    """Return every genome that differs from the original in exactly one locus, over all of its substitutions."""
    return [_with_gene(original, locus, gene) for locus, genes in substitutions.items() for gene in genes]


def select(fitness: FloatArray, count: int, rng: np.random.Generator) -> list[int]:
    """Draw parents by roulette wheel: with replacement, with probability in proportion to fitness.

    Args:
        fitness: Similarity to the original, shape (population,), >= 0; closer texts are likelier parents. If all are
            0 the draw is uniform.
        count: Parents wanted.
        rng: Source of randomness.
    """
    total = fitness.sum()
    chances = fitness / total if total > 0 else None
    return [int(i) for i in rng.choice(len(fitness), size=count, p=chances)]


def crossover(one: Genome, other: Genome, rng: np.random.Generator) -> tuple[Genome, Genome]:
    """Cut both parents at one point h, uniform in 1..p-1, and swap the tails; p is the shorter one's length."""
    p = min(len(one), len(other))
    if p < 2:
        return one, other
    h = int(rng.integers(1, p))
    return one[:h] + other[h:], other[:h] + one[h:]


def mutate(genome: Genome, substitutions: Substitutions, rng: np.random.Generator) -> Genome:
    """Replace one token, drawn uniformly from those that may change, by a uniform draw from its substitutions."""
    if not substitutions:
        return genome
    loci = list(substitutions)
    locus = loci[int(rng.integers(len(loci)))]
    genes = substitutions[locus]
    return _with_gene(genome, locus, genes[int(rng.integers(len(genes)))])


def _with_gene(genome: Genome, locus: int, gene: str) -> Genome:
    return (*genome[:locus], gene, *genome[locus + 1 :])
