"""GAAP: genetic algorithm-based adversarial perturbation (arXiv 2506.09684, Sec. 2.6 and App. C; METHOD)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from invent_chain.errors import ConfigurationError, InputError
from invent_chain.offload import off_loop
from invent_chain.perturb.genome import Blueprint, Genome, as_published, safeguarded
from invent_chain.perturb.lexicon import Lexicon
from invent_chain.perturb.operators import crossover, initial_population, mutate, select
from invent_chain.perturb.surface import surface
from invent_chain.perturb.tokens import is_english, tokenise
from invent_chain.protocols import FloatArray, PerturbContext, Similarity
from invent_chain.types import Perturbation, Perturbed

_MOST_AT_ONCE = 100
"""Texts in one group of a comparison, whose matrix is square."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GAAP:
    """Perturb a question by substituting its key words, generation by generation.

    The defaults add to the paper what a product needs: names, numbers, quotations, question words and negations stay,
    substitutes are inflected, and no sibling is farther from the question than `floor`. `GAAP.paper()` is the method
    as published.

    Attributes:
        ratio: Share of the tokens that become key words, in (0, 1]; at least one does.
        generations: Most generations after the initial population, >= 0.
        population: Size of a generation, >= 6.
        tau: Siblings are sampled from the populations at t = 0, tau, 2 tau, ...; >= 1.
        delta: Stop once no text of a population has at least this similarity to the question, in [0, 1].
        floor: Least similarity of a sibling to the question, in [0, 1]. The default is the paper's delta: farther out
            the paper itself stops searching. On another scale of similarity choose another floor.
        senses: Senses of a word that are followed, >= 1: those whose words are nearest to the question.
        safeguards: Whether the product's additions are on.

    Raises:
        ConfigurationError: A setting is out of range.
    """

    ratio: float = 0.5
    generations: int = 5
    population: int = 48
    tau: int = 1
    delta: float = 0.7
    floor: float = 0.7
    senses: int = 1
    safeguards: bool = True

    def __post_init__(self) -> None:
        for name, low, high in (("ratio", 0.0, 1.0), ("delta", 0.0, 1.0), ("floor", 0.0, 1.0)):
            value = getattr(self, name)
            if not low <= value <= high or (name == "ratio" and value == 0):
                raise ConfigurationError(f"{name}={value!r}: must lie between {low:g} and {high:g}")
        for name, least in (("generations", 0), ("population", 6), ("tau", 1), ("senses", 1)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ConfigurationError(f"{name}={value!r}: must be a whole number of at least {least}")

    @classmethod
    def paper(cls) -> Self:
        """Return GAAP as published: any content word, all senses, bare lemmas, deletion, no floor, and padding.

        Fewer than n siblings are padded by repeating some, as the paper does; its number of generations is not given,
        so the default stays.
        """
        return cls(floor=0.0, safeguards=False)

    @property
    def name(self) -> str:
        """Name and settings, for fingerprints."""
        if not self.safeguards:
            return f"gaap-paper(ratio={self.ratio:g}, generations={self.generations}, delta={self.delta:g})"
        return (
            f"gaap(ratio={self.ratio:g}, generations={self.generations}, population={self.population}, "
            f"tau={self.tau}, delta={self.delta:g}, floor={self.floor:g}, senses={self.senses})"
        )

    async def perturb(self, question: str, n: int, context: PerturbContext) -> Perturbed:
        """Return at most `n` siblings; the notes say what they are when words could not be substituted.

        Raises:
            InputError: The question is empty.
            EmbeddingError: The similarity failed.
        """
        if not question.strip():
            raise InputError("the question is empty: there is nothing to perturb")
        return await off_loop(lambda: self._perturb(question, n, context.similarity, context.rng))

    def _perturb(self, question: str, n: int, similarity: Similarity, rng: np.random.Generator) -> Perturbed:
        lexicon = Lexicon.load()
        closeness = _Closeness(question, similarity)
        if self.safeguards:
            blueprint = safeguarded(
                question, lexicon, senses=self.senses, most=self.population // 4, closeness=closeness
            )
        else:
            blueprint = as_published(question, lexicon)
        search = _Search(self, blueprint, closeness, rng)
        siblings = search.siblings(n)
        if not self.safeguards:
            return _padded(siblings, n, rng)
        found = len(siblings)
        if found < n:
            english = is_english(tokenise(question, lexicon))
            siblings += _framed(question, n - found, closeness, english=english)
        return Perturbed(tuple(siblings), _notes(found, len(siblings), n))


class _Closeness:
    """Similarity to the question, each text compared once, each generation in one call."""

    def __init__(self, question: str, similarity: Similarity) -> None:
        self._question, self._similarity = question, similarity
        self._known = {question: 1.0}

    def __call__(self, texts: Sequence[str]) -> FloatArray:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            groups = [new[start : start + _MOST_AT_ONCE] for start in range(0, len(new), _MOST_AT_ONCE)]
            matrices = self._similarity.compare(*([self._question, *group] for group in groups))
            for group, matrix in zip(groups, matrices, strict=True):
                self._known.update(zip(group, map(float, matrix[0, 1:]), strict=True))
        return np.array([self._known[text] for text in texts])


class _Search:
    """One run of the genetic algorithm."""

    def __init__(self, settings: GAAP, blueprint: Blueprint, closeness: _Closeness, rng: np.random.Generator) -> None:
        self._settings, self._blueprint, self._closeness, self._rng = settings, blueprint, closeness, rng
        self._operators: dict[Genome, str] = {}
        self._loci = {locus: blueprint.substitutions[locus] for locus in self._key_words()}

    def siblings(self, n: int) -> list[Perturbation]:
        """Sample across generations, in turn, so that the siblings span near to far (METHOD, GAAP step 6)."""
        snapshots = self._snapshots()
        pools = [list(self._rng.permutation(len(snapshot))) for snapshot in snapshots]
        chosen: dict[str, Perturbation] = {}
        seen = {_folded(self._blueprint.text(self._blueprint.original))}
        while len(chosen) < n and any(pools):
            for generation, (pool, snapshot) in enumerate(zip(pools, snapshots, strict=True)):
                while pool and len(chosen) < n:
                    genome = snapshot[int(pool.pop())]
                    text = self._blueprint.text(genome)
                    near = float(self._closeness([text])[0]) if text.strip() else 0.0
                    if not text.strip() or _folded(text) in seen or near < self._settings.floor:
                        continue
                    seen.add(_folded(text))
                    chosen[text] = Perturbation(text, near, self._operators[genome], generation * self._settings.tau)
                    break
        return list(chosen.values())

    def _key_words(self) -> list[int]:
        """Return the q = int(ratio * p) loci whose word alone is most similar to the question (METHOD, GAAP step 1)."""
        candidates = list(self._blueprint.substitutions)
        if not candidates:
            return []
        words = sum(gene[0].isalnum() for gene in self._blueprint.original)
        near = self._closeness([self._blueprint.original[locus] for locus in candidates])
        best = np.argsort(-near, kind="stable")[: max(1, int(self._settings.ratio * words))]
        return sorted(candidates[i] for i in best)

    def _snapshots(self) -> list[list[Genome]]:
        """Return the populations at t = 0, tau, 2 tau, ..."""
        population = self._record(initial_population(self._blueprint.original, self._loci), "substitution")
        if self._settings.safeguards and len(population) > self._settings.population:
            kept = self._rng.choice(len(population), size=self._settings.population, replace=False)
            population = [population[i] for i in sorted(kept)]
        snapshots = [population] if population else []
        for t in range(1, self._settings.generations + 1):
            fitness = self._fitness(population)
            if not population or fitness.max() < self._settings.delta:
                break
            population = self._next_generation(population, fitness)
            if t % self._settings.tau == 0:
                snapshots.append(population)
        if snapshots:
            self._fitness([genome for snapshot in snapshots for genome in snapshot])
        return snapshots

    def _next_generation(self, population: list[Genome], fitness: FloatArray) -> list[Genome]:
        pairs = self._settings.population // 6
        parents = [population[i] for i in select(fitness, 2 * pairs, self._rng)]
        offspring = [
            child
            for one, other in zip(parents[::2], parents[1::2], strict=True)
            for child in crossover(one, other, self._rng)
        ]
        mutants = [mutate(child, self._loci, self._rng) for child in offspring]
        self._record(offspring, "crossover")
        self._record(mutants, "mutation")
        return list(dict.fromkeys([*parents, *offspring, *mutants]))

    def _fitness(self, population: list[Genome]) -> FloatArray:
        texts = [self._blueprint.text(genome) for genome in population]
        solid = iter(self._closeness([text for text in texts if text.strip()]))
        return np.array([next(solid) if text.strip() else 0.0 for text in texts])

    def _record(self, genomes: list[Genome], operator: str) -> list[Genome]:
        for genome in genomes:
            self._operators.setdefault(genome, operator)
        return list(dict.fromkeys(genomes))


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _framed(question: str, wanted: int, closeness: _Closeness, *, english: bool) -> list[Perturbation]:
    texts = surface(question, english=english)[:wanted]
    return [Perturbation(text, float(near), "surface") for text, near in zip(texts, closeness(texts), strict=True)]


def _padded(siblings: list[Perturbation], n: int, rng: np.random.Generator) -> Perturbed:
    if not siblings or len(siblings) >= n:
        return Perturbed(tuple(siblings))
    repeats = [siblings[i] for i in rng.integers(len(siblings), size=n - len(siblings))]
    note = f"{len(siblings)} of {n} siblings were found and some are repeated, as in the paper"
    return Perturbed((*siblings, *repeats), (note,))


def _notes(found: int, made: int, n: int) -> tuple[str, ...]:
    if found >= n:
        return ()
    if found == 0:
        return (f"no word could be substituted safely: {made} siblings ask the question in another frame",)
    return (f"only {found} siblings by substitution were near enough: {made - found} ask it in another frame",)
