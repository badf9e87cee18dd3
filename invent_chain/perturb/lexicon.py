"""What may stand for a word: synonyms, hypernyms and hyponyms from WordNet, in sense order."""

from __future__ import annotations

import gzip
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal, Self

Pos = Literal["n", "v", "a", "r"]
"""Noun, verb, adjective, adverb."""


@dataclass(frozen=True, slots=True)
class Synset:
    """Words with one meaning.

    Attributes:
        lemmas: Its words as WordNet spells them, with underscores between the words of a phrase. Words that insult
            are left out, so it may be empty.
        hypernyms: Numbers of the more general synsets.
        hyponyms: Numbers of the more special ones.
        is_instance: Whether it names one thing (a proper name).
    """

    lemmas: tuple[str, ...]
    hypernyms: tuple[int, ...]
    hyponyms: tuple[int, ...]
    is_instance: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """A lemma as one part of speech.

    Attributes:
        lemma: The lower-case lemma.
        pos: Its part of speech.
        count: How often WordNet's corpora use it so; 0 where they do not say.
        senses: Numbers of its synsets, most frequent sense first.
    """

    lemma: str
    pos: Pos
    count: int
    senses: tuple[int, ...]


class Lexicon:
    """WordNet 3.0, read from the package at first use and shared from then on: `Lexicon.load()`."""

    def __init__(self, text: str) -> None:
        synsets, lemmas, exceptions = text.split("\n\n")
        self._synsets = synsets.split("\n")
        self._lemmas = lemmas.split("\n")
        self._exceptions: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._irregular: dict[tuple[str, str], list[str]] = defaultdict(list)
        for line in exceptions.split("\n"):
            pos, inflected, lemma = line.split("\t")
            self._exceptions[pos, inflected].append(lemma)
            self._irregular[pos, lemma].append(inflected)

    @classmethod
    @cache
    def load(cls) -> Self:
        """Return the shipped lexicon.

        Raises:
            OSError: The file is missing or damaged.
        """
        return cls(gzip.decompress(files(__package__).joinpath("data/lexicon.txt.gz").read_bytes()).decode("ascii"))

    def entries(self, lemma: str) -> list[Entry]:
        """Return the parts of speech of a lower-case lemma; empty if it is unknown."""
        key = f"{lemma.replace(' ', '_')}\t"
        at = bisect_left(self._lemmas, key)
        if at == len(self._lemmas) or not self._lemmas[at].startswith(key):
            return []
        found = []
        for field in self._lemmas[at][len(key) :].split(" "):
            pos, count, senses = field.split(":")
            found.append(Entry(lemma, pos, int(count), _numbers(senses)))  # type: ignore[arg-type]
        return found

    def synset(self, number: int) -> Synset:
        """Return one synset by its number."""
        lemmas, hypernyms, hyponyms = self._synsets[number].split("|")
        return Synset(
            lemmas=tuple(filter(None, lemmas.removeprefix("*").split(","))),
            hypernyms=_numbers(hypernyms),
            hyponyms=_numbers(hyponyms),
            is_instance=lemmas.startswith("*"),
        )

    def substitutes(self, entry: Entry, *, senses: int | None = None) -> Iterator[str]:
        """Yield synonyms, hypernyms and hyponyms, one sense after the other (METHOD, GAAP step 2, without deletion).

        Args:
            entry: The word and its part of speech.
            senses: How many of its senses are followed; None for all.

        Yields:
            Distinct lemmas as WordNet spells them, never the entry's own.
        """
        seen = {entry.lemma.replace(" ", "_")}
        for number in entry.senses[:senses]:
            sense = self.synset(number)
            for group in ((number,), sense.hypernyms, sense.hyponyms):
                for lemma in (lemma for other in group for lemma in self.synset(other).lemmas):
                    if lemma.casefold() not in seen:
                        seen.add(lemma.casefold())
                        yield lemma

    def is_proper_only(self, word: str) -> bool:
        """Whether a lower-case word is known, and only as a proper name ("france")."""
        entries = self.entries(word)
        return bool(entries) and not any(
            not synset.is_instance and word in synset.lemmas
            for entry in entries
            for synset in map(self.synset, entry.senses)
        )

    def irregular_lemmas(self, inflected: str, pos: Pos) -> list[str]:
        """Return the lemmas of an irregular form ("wrote" -> ["write"])."""
        return self._exceptions.get((pos, inflected), [])

    def irregular_forms(self, lemma: str, pos: Pos) -> list[str]:
        """Return the irregular forms of a lemma ("write" -> ["writing", "written", "wrote"])."""
        return self._irregular.get((pos, lemma), [])


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(","))) if text else ()
