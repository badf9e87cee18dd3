"""Substitutes that a person could have written: which words may stand for one of a question, in which form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from invent_chain.perturb.inflect import Reading, inflect, match_case, readings
from invent_chain.perturb.lexicon import Lexicon, Synset
from invent_chain.perturb.tokens import FUNCTION_WORDS, Token

_DETERMINERS = frozenset(
    {
        *("a", "an", "the", "this", "that", "these", "those", "which", "what", "whose", "some", "any"),
        *("my", "your", "his", "her", "its", "our", "their"),
    }
)
_BEFORE_PARTICIPLES = frozenset(
    {
        *("am", "is", "are", "was", "were", "be", "been", "being", "has"),
        *("have", "had", "having", "get", "gets", "got"),
    }
)
_SUBJECTS = frozenset({"who", "which", "that", "what", "i", "he", "she", "it", "we", "they", "you"})
_PREPOSITIONS = frozenset(
    {
        *("by", "in", "on", "at", "to", "from", "for", "with", "as"),
        *("into",),
    }
)
_SENSES_TRIED = {"n": 4, "v": 3, "a": 2, "r": 2}
"""Senses of a word among which the fitting ones are looked for; later ones are rare."""

_MOST_SENSES_OF_A_VERB = 12
"""A verb with more ("go", "make", "play") means what its neighbours make of it: no other verb fits."""

_JUDGES = 3
"""Related words by which a sense is judged."""

_TOO_GENERAL = frozenset(
    {
        *("abstraction", "act", "action", "artifact", "attribute", "be", "cause", "change", "do", "entity", "event"),
        *("fact", "get", "group", "grouping", "have", "individual", "make", "matter", "move", "object", "part"),
        *("physical object", "relation", "state", "stuff", "thing", "whole", "mortal", "soul", "somebody", "someone"),
        *(
            "act upon",
            "textual matter",
            "causal agent",
            "male sibling",
            "body",
            "unit",
            "instance",
            "case",
            "item",
            "content",
            "message",
            "form",
            "substance",
        ),
    }
)
"""Hypernyms of nearly everything: in a question they leave nothing to ask about."""


def read(tokens: Sequence[Token], lexicon: Lexicon) -> dict[int, Reading]:
    """Read the words that may change as the part of speech and form that their neighbours suggest.

    Words that occur twice are left out, since a sibling that changes one of them speaks of two things; so are words
    that could be a noun or a verb ("which costs").

    Args:
        tokens: The question.
        lexicon: Where words are looked up.

    Returns:
        For each locus its reading, in text order.
    """
    words = [i for i, token in enumerate(tokens) if token.is_word]
    texts = [tokens[i].text.casefold() for i in words]
    found = {
        i: reading
        for at, i in enumerate(words)
        if not tokens[i].is_kept
        and (reading := _read(texts, at, readings(texts[at], lexicon), is_last=_is_last(tokens, i)))
    }
    lemmas = Counter(reading.entry.lemma for reading in found.values())
    return {i: reading for i, reading in found.items() if lemmas[reading.entry.lemma] == 1}


def _is_last(tokens: Sequence[Token], i: int) -> bool:
    """Whether a word ends its phrase: a mark or a function word follows, or nothing."""
    after = next((token for token in tokens[i + 1 :] if not token.text.isspace()), None)
    return after is None or not after.is_word or after.text.casefold() in FUNCTION_WORDS


def _read(words: Sequence[str], at: int, found: Sequence[Reading], *, is_last: bool) -> Reading | None:
    if not found:
        return None
    before, last = set(words[max(0, at - 2) : at]), words[at - 1] if at else ""
    reading = found[0]
    if last in ("which", "what", "that", "who") and {"n", "v"} <= {r.entry.pos for r in found if r.entry.count}:
        return None
    if last in ("to", "not", "did", "does", "do", "will", "would", "can", "could", "should", "may", "might", "must"):
        reading = next((r for r in found if r.entry.pos == "v" and r.form == "base"), reading)
    elif last in _DETERMINERS:
        reading = next((r for r in found if r.entry.pos in ("n" if is_last else "na")), reading)
    if reading.form == "ed" and reading.entry.pos == "v":
        told = bool(_BEFORE_PARTICIPLES & before)
        reduced = at + 1 < len(words) and words[at + 1] in _PREPOSITIONS and last not in _SUBJECTS
        if told or reduced:  # "the money used in Peru"
            return replace(reading, form="en")
    return reading


@dataclass(frozen=True, slots=True)
class Sense:
    """One meaning of a word in a question.

    Attributes:
        judged_by: Words by which it is told whether this is the meaning, inflected; not all of them fit the question.
        genes: Its substitutes, inflected; empty if none fits.
    """

    judged_by: tuple[str, ...]
    genes: tuple[str, ...]


def by_sense(reading: Reading, word: str, lexicon: Lexicon, most: int, *, hyponyms: bool = False) -> list[Sense]:
    """Return the first senses of a word with their substitutes.

    Of METHOD's SUB(t) these stay: lemmas in use (tagged in WordNet's corpora, or nouns with no other meaning), in one
    of their own first meanings; no phrasal verbs; no hypernyms of verbs ("communicate" for "write") and none that fit
    nearly everything. Synonyms come first, then hypernyms, then hyponyms.

    Args:
        reading: How the word is read.
        word: The word as written.
        lexicon: Where substitutes come from.
        most: Substitutes of a sense that are kept.
        hyponyms: Whether narrower words count ("bull" for "cattle"); never those that only add to the word
            ("half brother" for "brother").
    """
    entry = reading.entry
    if entry.pos == "v" and len(entry.senses) > _MOST_SENSES_OF_A_VERB:
        return []

    def bent(lemmas: Iterable[str]) -> tuple[str, ...]:
        forms = (inflect(lemma.replace("_", " "), entry.pos, reading.form, lexicon) for lemma in lemmas)
        return tuple(gene for gene in dict.fromkeys(match_case(f, word) for f in forms) if gene.casefold() != low)

    low = word.casefold()
    senses = []
    for rank, number in enumerate(entry.senses[: _SENSES_TRIED[entry.pos]]):
        sense = lexicon.synset(number)
        fitting = [lemma for lemma in sense.lemmas if _fits(lemma, number, reading, lexicon, ranks=3, rare=rank == 0)]
        wider = sense.hypernyms if entry.pos != "v" else ()
        narrower = sense.hyponyms if hyponyms else ()
        for group, ranks in ((wider, 2), (narrower, 1)):
            fitting += [
                lemma
                for other in group
                for lemma in _names_of_kinds(lexicon.synset(other))
                if _fits(lemma, other, reading, lexicon, ranks=ranks, rare=ranks == 2)
                and not _adds_to(lemma, entry.lemma)
            ]
        related = (lemma for lemma in lexicon.substitutes(replace(entry, senses=(number,))) if _is_plain(lemma))
        senses.append(Sense(judged_by=bent(islice(related, _JUDGES)), genes=bent(fitting)[:most]))
    return senses


def _names_of_kinds(synset: Synset) -> tuple[str, ...]:
    """Return its lemmas unless it is a proper name."""
    return () if synset.is_instance else synset.lemmas


def _fits(lemma: str, synset: int, reading: Reading, lexicon: Lexicon, *, ranks: int = 2, rare: bool) -> bool:
    spaced = lemma.replace("_", " ")
    if not _is_plain(lemma) or spaced in _TOO_GENERAL or spaced.count(" ") > (0 if reading.entry.pos == "v" else 1):
        return False
    entries = lexicon.entries(lemma)
    entry = next(entry for entry in entries if entry.pos == reading.entry.pos)
    if synset not in entry.senses[:ranks] or any(other.count > entry.count for other in entries):
        return False
    return entry.count > 0 or (rare and entry.pos == "n" and len(entries) == len(entry.senses) == 1)


def _is_plain(lemma: str) -> bool:
    """Whether a lemma is of lower-case letters, which names and abbreviations are not."""
    return lemma.isascii() and lemma == lemma.lower() and lemma.replace("_", "").isalpha() and len(lemma) > 2


def _adds_to(lemma: str, word: str) -> bool:
    return word in lemma.split("_") or lemma.endswith(word)
