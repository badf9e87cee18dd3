"""A question as a genome: which words may be substituted, by what, and the text that a choice of genes gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from invent_chain.perturb.inflect import Reading, article, inflect, match_case, readings
from invent_chain.perturb.lexicon import Lexicon
from invent_chain.perturb.tokens import FUNCTION_WORDS, Token, is_english, tokenise
from invent_chain.protocols import FloatArray

Genome = tuple[str, ...]
"""One gene a token; an empty gene is a deleted token. All genomes of a question have the same length."""

_DETERMINERS = frozenset(
    {
        *("a", "an", "the", "this", "that", "these", "those", "which", "what", "whose", "some", "any"),
        *("my", "your", "his", "her", "its", "our", "their"),
    }
)
_SENSES_TRIED = 5
"""Senses of a word among which the fitting ones are looked for; later ones are rare."""


@dataclass(frozen=True, slots=True)
class Blueprint:
    """What GAAP may do to one question.

    Attributes:
        original: The genome of the question itself.
        substitutions: For each locus (index of a token) that may change, its SUB set in order; "" deletes.
        tidy: Whether articles are mended after a change.
    """

    original: Genome
    substitutions: dict[int, tuple[str, ...]]
    tidy: bool

    def with_gene(self, locus: int, gene: str) -> Genome:
        """Return the genome that differs from the original in one locus."""
        return (*self.original[:locus], gene, *self.original[locus + 1 :])

    def text(self, genome: Genome) -> str:
        """Return the text that a genome spells."""
        if genome == self.original or not self.tidy:
            return "".join(genome)
        genes = list(genome)
        words = [i for i, gene in enumerate(genes) if gene and not gene.isspace()]
        for i, after in pairwise(words):
            if genes[i].casefold() in ("a", "an") and genes[after] != self.original[after]:
                genes[i] = match_case(article(genes[after]), genes[i])
        return "".join(genes)


def safeguarded(
    question: str, lexicon: Lexicon, *, senses: int, most: int, closeness: Callable[[list[str]], FloatArray]
) -> Blueprint:
    """Plan substitutions that a person could have written.

    Function words, negations, numbers, quotations, names and superlatives stay; substitutes take the inflection and
    the capitals of the word they stand for; nothing is deleted, since what is deleted is often what is asked about.
    Of an ambiguous word ("capital": money or city) the senses are followed whose substitutes change the question least.

    Args:
        question: The question.
        lexicon: Where substitutes come from.
        senses: Senses of a word that are followed.
        most: Substitutes of a word that are kept: words in use before rare ones, else in sense order.
        closeness: Similarity of texts to the question, shape (len(texts),).
    """
    tokens = tokenise(question, lexicon)
    words = [i for i, token in enumerate(tokens) if not token.is_kept] if is_english(tokens) else []
    choices = {i: _by_sense(_read(tokens, i, lexicon), tokens[i].text, lexicon, most) for i in words}
    plain = Blueprint(tuple(token.text for token in tokens), {}, tidy=True)
    near = iter(
        closeness([plain.text(plain.with_gene(i, gene)) for i in words for sense in choices[i] for gene in sense])
    )
    substitutions: dict[int, tuple[str, ...]] = {}
    for i, by_sense in choices.items():
        fitness = [sum(next(near) for _ in genes) / len(genes) for genes in by_sense]
        best = sorted(range(len(by_sense)), key=lambda k: -fitness[k])[:senses]
        genes = dict.fromkeys(gene for k in best for gene in by_sense[k])
        if genes:
            substitutions[i] = tuple(genes)[:most]
    return replace(plain, substitutions=substitutions)


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


def _read(tokens: Sequence[Token], i: int, lexicon: Lexicon) -> Reading:
    """Read a word as the part of speech that its neighbour suggests, else as the most frequent one."""
    before = next((token.text.casefold() for token in reversed(tokens[:i]) if token.is_word), "")
    found = readings(tokens[i].text, lexicon)
    if before == "to":
        return next((reading for reading in found if reading.entry.pos == "v" and reading.form == "base"), found[0])
    if before in _DETERMINERS:
        return next((reading for reading in found if reading.entry.pos in "na"), found[0])
    return found[0]


def _by_sense(reading: Reading, word: str, lexicon: Lexicon, most: int) -> list[list[str]]:
    """Return the inflected substitutes of each sense that has any, at most `most` each, words in use first."""
    senses = []
    for sense in reading.entry.senses[:_SENSES_TRIED]:
        used: list[str] = []
        rare: list[str] = []
        for lemma in lexicon.substitutes(replace(reading.entry, senses=(sense,))):
            spaced = lemma.replace("_", " ")
            if not _is_plain(spaced):
                continue
            bent = match_case(inflect(spaced, reading.entry.pos, reading.form, lexicon), word)
            if bent.casefold() != word.casefold():
                in_use = any(entry.pos == reading.entry.pos and entry.count for entry in lexicon.entries(lemma))
                (used if in_use else rare).append(bent)
        if used or rare:
            senses.append(list(dict.fromkeys(used + rare))[:most])
    return senses


def _is_plain(phrase: str) -> bool:
    """Whether it is one or two lower-case words."""
    return phrase.isascii() and phrase == phrase.lower() and phrase.replace(" ", "").isalpha() and phrase.count(" ") < 2
