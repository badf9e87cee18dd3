"""A question as a genome: which words may be substituted, by what, and the text that a choice of genes gives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from invent_chain.perturb.inflect import Reading, article, inflect, match_case, readings
from invent_chain.perturb.lexicon import Lexicon
from invent_chain.perturb.tokens import FUNCTION_WORDS, Token, is_english, tokenise

Genome = tuple[str, ...]
"""One gene a token; an empty gene is a deleted token. All genomes of a question have the same length."""

_DETERMINERS = frozenset(
    "a an the this that these those which what whose its his her their our my your some any".split()
)
_SPACES = re.compile(r"\s{2,}")
_SPACE_BEFORE_MARK = re.compile(r"\s+([?!.,;:])")


@dataclass(frozen=True, slots=True)
class Blueprint:
    """What GAAP may do to one question.

    Attributes:
        original: The genome of the question itself.
        substitutions: For each locus (index of a token) that may change, its SUB set in order; "" deletes.
        tidy: Whether spacing and articles are mended after a change.
    """

    original: Genome
    substitutions: dict[int, tuple[str, ...]]
    tidy: bool

    def text(self, genome: Genome) -> str:
        """Return the text that a genome spells."""
        if genome == self.original or not self.tidy:
            return "".join(genome)
        genes = list(genome)
        words = [i for i, gene in enumerate(genes) if gene and not gene.isspace()]
        for i, after in zip(words, words[1:], strict=False):
            if genes[i].casefold() in ("a", "an") and genes[after] != self.original[after]:
                genes[i] = match_case(article(genes[after]), genes[i])
        return _SPACE_BEFORE_MARK.sub(r"\1", _SPACES.sub(" ", "".join(genes))).strip()


def safeguarded(question: str, lexicon: Lexicon, *, senses: int, most: int) -> Blueprint:
    """Plan substitutions that a person could have written.

    Function words, negations, numbers, quotations, names and superlatives stay; substitutes take the inflection and
    the capitals of the word they stand for; nothing is deleted, since what is deleted is often what is asked about.

    Args:
        question: The question.
        lexicon: Where substitutes come from.
        senses: Senses of a word that are followed, most frequent first.
        most: Substitutes of a word that are kept, in sense order.
    """
    tokens = tokenise(question, lexicon)
    substitutions: dict[int, tuple[str, ...]] = {}
    if is_english(tokens):
        for i, token in enumerate(tokens):
            if token.is_kept:
                continue
            reading = _read(token.text, _word_before(tokens, i), lexicon)
            found = _bent(reading, token.text, lexicon, senses)[:most]
            if found:
                substitutions[i] = tuple(found)
    return Blueprint(tuple(token.text for token in tokens), substitutions, tidy=True)


def as_published(question: str, lexicon: Lexicon) -> Blueprint:
    """Plan substitutions as the paper does: every content word, all senses, bare lemmas, deletion included."""
    tokens = tokenise(question, lexicon)
    substitutions: dict[int, tuple[str, ...]] = {}
    for i, token in enumerate(tokens):
        low = token.text.casefold()
        if token.is_word and low not in FUNCTION_WORDS:
            lemmas = (lemma for reading in readings(low, lexicon) for lemma in lexicon.substitutes(reading.entry))
            substitutions[i] = (*dict.fromkeys(lemma for lemma in lemmas if lemma.casefold() != low), "")
    return Blueprint(tuple(token.text for token in tokens), substitutions, tidy=False)


def _word_before(tokens: Sequence[Token], i: int) -> str:
    return next((token.text.casefold() for token in reversed(tokens[:i]) if token.is_word), "")


def _read(word: str, before: str, lexicon: Lexicon) -> Reading:
    """Read a word as the part of speech that its neighbour suggests, else as the most frequent one."""
    found = readings(word, lexicon)
    if before == "to":
        return next((reading for reading in found if reading.entry.pos == "v" and reading.form == "base"), found[0])
    if before in _DETERMINERS:
        return next((reading for reading in found if reading.entry.pos in "na"), found[0])
    return found[0]


def _bent(reading: Reading, word: str, lexicon: Lexicon, senses: int) -> list[str]:
    pos, form = reading.entry.pos, reading.form
    found = []
    for lemma in lexicon.substitutes(reading.entry, senses=senses):
        plain = lemma.replace("_", " ")
        if plain.isascii() and plain == plain.lower() and plain.replace(" ", "").isalpha() and plain.count(" ") < 2:
            bent = match_case(inflect(plain, pos, form, lexicon, like=word), word)
            if bent.casefold() != word.casefold():
                found.append(bent)
    return list(dict.fromkeys(found))
