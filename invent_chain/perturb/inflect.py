"""Inflection: which lemma a word is a form of, and the same form of another lemma."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from invent_chain.perturb.lexicon import Entry, Lexicon, Pos

Form = Literal["base", "s", "ed", "ing", "er", "est"]
"""Plural and third person are "s", past and past participle "ed", comparative and superlative "er" and "est"."""

_VOWELS = "aeiou"
_ENDINGS: tuple[tuple[Pos, Form, str, str], ...] = (
    ("n", "s", "ies", "y"),
    ("n", "s", "men", "man"),
    ("n", "s", "es", ""),
    ("n", "s", "s", ""),
    ("v", "s", "ies", "y"),
    ("v", "s", "es", ""),
    ("v", "s", "s", ""),
    ("v", "ed", "ied", "y"),
    ("v", "ed", "ed", "e"),
    ("v", "ed", "ed", ""),
    ("v", "ing", "ing", "e"),
    ("v", "ing", "ing", ""),
    ("a", "er", "ier", "y"),
    ("a", "er", "er", "e"),
    ("a", "er", "er", ""),
    ("a", "est", "iest", "y"),
    ("a", "est", "est", "e"),
    ("a", "est", "est", ""),
)
"""(part of speech, form, ending of the word, ending of the lemma): WordNet's own detachment rules, spelling first."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a word.

    Attributes:
        entry: Its lemma and part of speech.
        form: Which form of the lemma it is.
    """

    entry: Entry
    form: Form


def readings(word: str, lexicon: Lexicon) -> list[Reading]:
    """Return every way to read a word, the most frequent first.

    Args:
        word: A word in any case.
        lexicon: Where lemmas are looked up.
    """
    low = word.casefold()
    found: dict[tuple[str, Pos], Reading] = {}
    for lemma, pos, form in _candidates(low, lexicon):
        for entry in lexicon.entries(lemma):
            if entry.pos == pos:
                found.setdefault((lemma, pos), Reading(entry, form))
    return sorted(found.values(), key=lambda reading: -reading.entry.count)


def inflect(lemma: str, pos: Pos, form: Form, lexicon: Lexicon, *, like: str = "") -> str:
    """Return a form of a lemma.

    Of a phrase, the first word of a verb ("carries out") and the last word of anything else ("capital cities") bends.

    Args:
        lemma: The lemma; words of a phrase are separated by spaces.
        pos: Its part of speech.
        form: The form wanted.
        lexicon: Where irregular forms are looked up.
        like: A word in the same form, to choose between an irregular past and its participle ("wrote", "written").
    """
    words = lemma.split(" ")
    at = 0 if pos == "v" else -1
    words[at] = _inflect_word(words[at], pos, form, lexicon, like)
    return " ".join(words)


def match_case(word: str, like: str) -> str:
    """Give a word the capitals of another: ALL CAPS, Initial, or as it is."""
    if like.isupper() and len(like) > 1:
        return word.upper()
    if like[:1].isupper():
        return word[:1].upper() + word[1:]
    return word


def article(word: str) -> str:
    """Return "a" or "an", whichever goes before the word."""
    low = word.casefold()
    silent = low.startswith(("hour", "honest", "honour", "honor", "heir"))
    consonant_sound = low.startswith(("uni", "use", "usu", "eu", "one", "once"))
    return "an" if silent or (low[:1] in _VOWELS and not consonant_sound) else "a"


def _candidates(word: str, lexicon: Lexicon) -> Iterator[tuple[str, Pos, Form]]:
    for pos in ("n", "v", "a", "r"):
        yield word, pos, "base"
        for lemma in lexicon.irregular_lemmas(word, pos):
            yield lemma, pos, _irregular_form(word, pos)
    for pos, form, ending, base in _ENDINGS:
        if word.endswith(ending) and len(word) > len(ending) + 1 and not word.endswith("ss"):
            yield word.removesuffix(ending) + base, pos, form


def _irregular_form(word: str, pos: Pos) -> Form:
    if pos == "n":
        return "s"
    if pos == "v":
        return "ing" if word.endswith("ing") else "s" if word.endswith("s") else "ed"
    return "est" if word.endswith("st") else "er"


def _inflect_word(word: str, pos: Pos, form: Form, lexicon: Lexicon, like: str) -> str:
    if form == "base" or pos == "r":
        return word
    irregular = [other for other in lexicon.irregular_forms(word, pos) if _irregular_form(other, pos) == form]
    if irregular:
        participle = like.casefold().endswith("n")
        return next((other for other in irregular if other.endswith("n") == participle), irregular[0])
    if form == "s":
        return _with_s(word)
    if form in ("er", "est") and len(word) > 7:
        return f"{'more' if form == 'er' else 'most'} {word}"
    return _with_suffix(word, form)


def _with_s(word: str) -> str:
    if word.endswith("y") and word[-2:-1] not in _VOWELS:
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "x", "z", "ch", "sh")) else "s")


def _with_suffix(word: str, suffix: str) -> str:
    if suffix == "ing":
        if word.endswith("ie"):
            return word[:-2] + "ying"
        if word.endswith("e") and not word.endswith(("ee", "oe", "ye")):
            return word[:-1] + suffix
    elif word.endswith("e"):
        return word + suffix[1:]
    elif word.endswith("y") and word[-2:-1] not in _VOWELS:
        return word[:-1] + "i" + suffix
    return _doubled(word) + suffix


def _doubled(word: str) -> str:
    """Double the last consonant of a short word with one vowel before it ("stop" -> "stopp")."""
    short = len(word) >= 3 and sum(c in _VOWELS for c in word) == 1
    if short and word[-1] not in _VOWELS + "wxy" and word[-2] in _VOWELS and word[-3] not in _VOWELS:
        return word + word[-1]
    return word
