"""A question as a genome: which words may be substituted, by what, and the text that a choice of genes gives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from invent_chain.perturb.inflect import article, match_case, readings
from invent_chain.perturb.keywords import Closeness, key_words
from invent_chain.perturb.lexicon import Lexicon
from invent_chain.perturb.substitutes import by_sense, read
from invent_chain.perturb.tokens import FUNCTION_WORDS, is_english, tokenise

Genome = tuple[str, ...]
"""One gene a token; an empty gene is a deleted token. All genomes of a question have the same length."""

_MOST_KEY_WORDS = 10
"""Bounds the work on long questions: each sibling changes one or a few words anyway."""

_COST_OF_A_RANK = 0.01
"""Similarity that a sense must gain to be preferred to a more frequent one."""


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
        """Return the text that a genome spells; what is not substituted stays, byte for byte."""
        if genome == self.original or not self.tidy:
            return "".join(genome)
        genes = list(genome)
        words = [i for i, gene in enumerate(genes) if gene and not gene.isspace()]
        for i, after in pairwise(words):
            if genes[i].casefold() in ("a", "an") and genes[after] != self.original[after]:
                genes[i] = match_case(article(genes[after]), genes[i])
        return "".join(genes)


def safeguarded(
    question: str,
    lexicon: Lexicon,
    *,
    closeness: Closeness,
    senses: int = 1,
    most: int = 12,
    ratio: float = 1.0,
    hyponyms: bool = False,
) -> Blueprint:
    """Plan substitutions that a person could have written.

    Function words, negations, numbers, quotations, names and superlatives stay; substitutes take the inflection and
    the capitals of the word they stand for; nothing is deleted, since what is deleted is often what is asked about.
    Of an ambiguous word ("capital": money or city) the senses are followed whose substitutes change the question
    least, frequent senses first where they differ little.

    Args:
        question: The question.
        lexicon: Where substitutes come from.
        closeness: Similarity of texts to the question, shape (len(texts),).
        senses: Senses of a word that are followed.
        most: Substitutes of a word that are kept.
        ratio: Share of the words that become key words, in (0, 1].
        hyponyms: Whether narrower words may stand for a word.
    """
    tokens = tokenise(question, lexicon)
    plain = Blueprint(tuple(token.text for token in tokens), {}, tidy=True)
    if not is_english(tokens):
        return plain
    found = {
        i: by_sense(reading, tokens[i].text, lexicon, most, hyponyms=hyponyms)
        for i, reading in read(tokens, lexicon).items()
    }
    candidates = [i for i, by_rank in found.items() if any(sense.genes for sense in by_rank)]
    loci = key_words(plain.original, candidates, ratio, closeness)[:_MOST_KEY_WORDS]
    trials = {
        (i, k): [plain.text(plain.with_gene(i, word)) for word in sense.judged_by]
        for i in loci
        for k, sense in enumerate(found[i])
        if len(found[i]) > senses
    }
    near = iter(closeness([text for texts in trials.values() for text in texts]))
    fitness = {key: sum(next(near) for _ in texts) / max(1, len(texts)) for key, texts in trials.items()}
    substitutions: dict[int, tuple[str, ...]] = {}
    for i in loci:
        ranks = sorted(range(len(found[i])), key=lambda k: k * _COST_OF_A_RANK - fitness.get((i, k), 0.0))
        genes = dict.fromkeys(gene for k in ranks[:senses] for gene in found[i][k].genes)
        if genes:
            substitutions[i] = tuple(genes)[:most]
    return replace(plain, substitutions=substitutions)


def as_published(
    question: str, lexicon: Lexicon, *, closeness: Closeness | None = None, ratio: float = 1.0
) -> Blueprint:
    """Plan substitutions as the paper does: every content word, all senses, bare lemmas, deletion included.

    Args:
        question: The question.
        lexicon: Where substitutes come from.
        closeness: Similarity of texts to the question, shape (len(texts),); None makes every content word a key word.
        ratio: Share of the words that become key words, in (0, 1].
    """
    tokens = tokenise(question, lexicon)
    genome = tuple(token.text for token in tokens)
    loci = [i for i, t in enumerate(tokens) if t.is_word and t.text.casefold() not in FUNCTION_WORDS]
    if closeness is not None:
        loci = key_words(genome, loci, ratio, closeness)
    substitutions: dict[int, tuple[str, ...]] = {}
    for i in loci:
        low = genome[i].casefold()
        lemmas = (lemma for reading in readings(low, lexicon) for lemma in lexicon.substitutes(reading.entry))
        substitutions[i] = (*dict.fromkeys(lemma for lemma in lemmas if lemma.casefold() != low), "")
    return Blueprint(genome, substitutions, tidy=False)
