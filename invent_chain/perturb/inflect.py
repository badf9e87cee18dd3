"""Inflection: which lemma a word is a form of, and the same form of another lemma."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from invent_chain.perturb.lexicon import Entry, Lexicon, Pos

Form = Literal["base", "s", "ed", "en", "ing", "er", "est"]
"""Plural and third person are "s", past "ed", past participle "en", comparative and superlative "er" and "est".

Where past and participle are spelled alike ("made", "used") a word reads as "ed", and its neighbours must tell.
"""

_VOWELS = "aeiou"
_VERBS_WITHOUT_OWN_PARTICIPLE = ("come", "become", "overcome", "run", "outrun", "overrun")
_VERBS_THAT_STAY = frozenset(
    {
        *("bet", "broadcast", "burst", "cast", "cost", "cut", "forecast", "hit", "hurt"),
        *("let", "put", "quit", "read", "rid", "set", "shed", "shut", "split"),
        *("spread", "thrust", "upset"),
    }
)
_NOUNS_THAT_STAY = frozenset(
    {
        *("sheep", "deer", "fish", "series", "species", "aircraft", "spacecraft", "offspring", "moose"),
        *("swine", "cattle"),
    }
)
_NOUNS_IN_MANS = ("human", "german", "roman", "shaman", "ottoman", "talisman", "caiman")
_NOUNS_IN_OES = frozenset(
    {
        *("potato", "tomato", "hero", "echo", "veto", "torpedo", "embargo", "volcano", "mosquito"),
        *("tornado", "buffalo", "domino"),
    }
)
_NOUNS_IN_CHS = frozenset(
    {
        *("monarch", "patriarch", "matriarch", "oligarch", "stomach", "epoch", "loch", "eunuch"),
    }
)
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


def inflect(lemma: str, pos: Pos, form: Form, lexicon: Lexicon) -> str:
    """Return a form of a lemma.

    Of a phrase, the first word of a verb ("carries out") and the last word of anything else ("capital cities") bends.

    Args:
        lemma: The lemma; words of a phrase are separated by spaces.
        pos: Its part of speech.
        form: The form wanted.
        lexicon: Where irregular forms are looked up.
    """
    words = lemma.split(" ")
    at = 0 if pos == "v" else -1
    words[at] = _inflect_word(words[at], pos, form, lexicon)
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
    consonant_sound = low.startswith(("uni", "use", "usu", "uti", "eu", "one", "once")) and not low.startswith(
        ("unid", "unim", "unin")
    )
    return "an" if silent or (low[:1] in _VOWELS and not consonant_sound) else "a"


def _candidates(word: str, lexicon: Lexicon) -> Iterator[tuple[str, Pos, Form]]:
    for pos in ("n", "v", "a", "r"):
        yield word, pos, "base"
        for lemma in lexicon.irregular_lemmas(word, pos):
            yield lemma, pos, _irregular_form(word, lemma, pos, lexicon)
    for pos, form, ending, base in _ENDINGS:
        if word.endswith(ending) and len(word) > len(ending) + 1 and not word.endswith("ss"):
            yield word.removesuffix(ending) + base, pos, form


def _irregular_form(word: str, lemma: str, pos: Pos, lexicon: Lexicon) -> Form:
    if pos == "n":
        return "s"
    if pos != "v":
        return "est" if word.endswith("st") else "er"
    if word.endswith("ing"):
        return "ing"
    past, participle = _past(lemma, lexicon)
    if word == participle != past:
        return "en"
    return "s" if word.endswith("s") and word != past else "ed"


def _past(lemma: str, lexicon: Lexicon) -> tuple[str, str]:
    """Return the past and the past participle of a verb: ("wrote", "written"), ("sang", "sung"), ("made", "made")."""
    if lemma == "be":
        return "was", "been"
    if lemma in _VERBS_THAT_STAY:
        return lemma, lemma
    if lemma == "beat":
        return lemma, "beaten"
    forms = [form for form in lexicon.irregular_forms(lemma, "v") if not form.endswith(("ing", "s"))]
    regular = _with_suffix(lemma, "ed")
    if not forms:
        return regular, regular
    if lemma in _VERBS_WITHOUT_OWN_PARTICIPLE:
        return forms[0], lemma
    participles = [
        form for form in forms if form in (lemma + "n", lemma + "en") or form.endswith(("en", "in", "rn", "wn", "ne"))
    ]
    if len(forms) == 1:
        shown = forms[0] == lemma + "n"
        return (regular if shown else forms[0]), forms[0]
    participles = participles or [form for form in forms if "u" in form and "i" in lemma and form[-1] != "e"]
    pasts = [form for form in forms if form not in participles]
    return (pasts or participles)[0], (participles or pasts)[0]


def _inflect_word(word: str, pos: Pos, form: Form, lexicon: Lexicon) -> str:
    if form == "base" or pos == "r":
        return word
    if pos == "v" and form in ("ed", "en"):
        return _past(word, lexicon)[form == "en"]
    irregular = [
        other for other in lexicon.irregular_forms(word, pos) if _irregular_form(other, word, pos, lexicon) == form
    ]
    if irregular:
        return irregular[0]
    if form == "s":
        is_plural = pos == "n" and any(r.form == "s" and r.entry.pos == "n" for r in readings(word, lexicon))
        return word if is_plural else _with_s(word, pos)
    if form in ("er", "est") and len(word) > 7:
        return f"{'more' if form == 'er' else 'most'} {word}"
    return _with_suffix(word, form)


def _with_s(word: str, pos: Pos) -> str:
    if word.endswith("y") and word[-2:-1] not in _VOWELS:
        return word[:-1] + "ies"
    if pos == "n" and (word in _NOUNS_THAT_STAY):
        return word
    if pos == "n" and word.endswith("man") and not word.endswith(_NOUNS_IN_MANS):
        return word[:-2] + "en"
    if pos == "n" and word in _NOUNS_IN_CHS:
        return word + "s"
    verb_in_o = pos == "v" and word.endswith("o") and word[-2:-1] not in _VOWELS
    if verb_in_o or word in _NOUNS_IN_OES or word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    return word + "s"


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
