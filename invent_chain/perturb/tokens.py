"""Cut a question into tokens, and tell which of them must stay as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from invent_chain.perturb.inflect import Reading, readings
from invent_chain.perturb.lexicon import Lexicon

_TOKEN = re.compile(r"\w+(?:[-'’]\w+)*|[^\w\s]|\s+", re.UNICODE)  # noqa: RUF001 - typographic apostrophe
_WORD = re.compile(r"\w+(?:[-'’]\w+)*")  # noqa: RUF001
_QUOTED = re.compile(
    r'"[^"\n]+"|“[^”\n]+”|«[^»\n]+»|„[^“”\n]+[“”]|‘[^’\n]+’|`[^`]+`'  # noqa: RUF001 - quotation marks of many languages
    r"|(?:(?<=\s)|^)'[^'\n]+'(?=[\s.,;:!?]|$)"
)
_CODE = re.compile(r"\S*[\d_@/\\=<>{}\[\]|]\S*|\S+\(\S*")

_GROUPS = (
    "who whom whose what which when where why how whether",
    "no not never none nothing nobody nowhere neither nor without cannot hardly barely except",
    "a an the this that these those some any each every all both either such other another same own",
    "i me my mine myself you your yours yourself he him his himself she her hers herself it its itself we us our ours",
    "they them their theirs themselves one ones",
    "am is are was were be been being do does did done doing have has had having will would shall should can could",
    "may might must ought let",
    "of in on at to from for with by about into onto over under between among through during before after above below",
    "up down out off as well than if and or but so because while until since against within per via across along",
    "around then behind beside near toward towards upon there here too very just also still yet again ever please",
    "many much few more most less least first last next only best worst",
    "zero two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen",
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion trillion",
    "second third fourth fifth sixth seventh eighth ninth tenth half quarter double triple once twice dozen",
)
FUNCTION_WORDS = frozenset(" ".join(_GROUPS).split())
"""Question words, negations, determiners, pronouns, auxiliaries, prepositions, numbers: what shapes a question."""

_QUANTITIES = frozenset(
    " ".join(
        (
            "seconds minute minutes hour hours day days week weeks weekend month months year years decade century",
            "centuries date age inch inches feet yard yards mile miles meter meters metre metres kilometer kilometers",
            "pound pounds ounce ounces gram grams kilogram kilograms gallon gallons cup cups liter liters litre litres",
            "cent cents dollar dollars euro euros percent degree degrees times total average each apiece per",
            "eleventh twelfth thirteenth fourteenth fifteenth twentieth hundredth thousandth latest former current",
            "people person thing things kind type sort way name names same different following called named",
        )
    ).split()
)
"""Units, and words too general to have a substitute: the paper's method may change them, the product does not."""

_IN_OTHER_LANGUAGES = frozenset(
    {
        *("a", "an", "as", "am", "at", "do", "die", "done", "had"),
        *("he", "her", "his", "i", "in", "is", "it", "me", "mine"),
        *("no", "of", "on", "one", "once", "or", "out", "over", "per"),
        *("so", "to", "was", "we", "will"),
    }
)
_LEAST_SHARE = 0.25
"""English questions have about half; text with less is another language, code or a list of key words."""


@dataclass(frozen=True, slots=True)
class Token:
    """A word, a mark or white space.

    Attributes:
        text: As written; joining all texts gives the question back.
        is_word: Whether it is a word.
        is_kept: Whether it must stay: a function word, negation, number, superlative, quotation, name or code.
    """

    text: str
    is_word: bool
    is_kept: bool


def tokenise(question: str, lexicon: Lexicon) -> list[Token]:
    """Cut a question into tokens that join back to it, byte for byte."""
    spans = [match.span() for pattern in (_QUOTED, _CODE) for match in pattern.finditer(question)]
    spans += _collocations(question, lexicon)
    only_capitals = question.isupper() and " " in question.strip()
    tokens: list[Token] = []
    for match in _TOKEN.finditer(question):
        text = match.group()
        is_word = text[0].isalnum() or text[0] == "_"
        kept = not is_word or any(start < match.end() and match.start() < end for start, end in spans)
        if is_word and not kept:
            kept = _must_stay(text.casefold() if only_capitals else text, lexicon)
        tokens.append(Token(text, is_word, kept))
    return _with_whole_names(tokens, lexicon) if question == question.lower() else tokens


def is_english(tokens: list[Token]) -> bool:
    """Whether enough of the words are English function words for English substitutes to make sense.

    Names do not count, and at least one word must be one that other languages do not have.
    """
    words = [token.text.casefold() for token in tokens if token.is_word and not _is_name(token.text)]
    words = words or [token.text.casefold() for token in tokens if token.is_word]
    known = [word for word in words if word in FUNCTION_WORDS or "'" in word]
    return any(word not in _IN_OTHER_LANGUAGES for word in known) and len(known) / len(words) >= _LEAST_SHARE


def _is_name(text: str) -> bool:
    return text[:1].isupper() and text[1:].islower() and text.casefold() not in FUNCTION_WORDS


def _collocations(question: str, lexicon: Lexicon) -> Iterator[tuple[int, int]]:
    """Yield the spans of two or three words that are one entry of the lexicon ("law and order", "pen pal")."""
    words = list(_WORD.finditer(question))
    for size in (2, 3):
        for first, last in zip(words, words[size - 1 :], strict=False):
            phrase = question[first.start() : last.end()].casefold()
            if phrase.count(" ") == size - 1 and lexicon.entries(phrase.removesuffix("s")) + lexicon.entries(phrase):
                yield first.start(), last.end()


def _with_whole_names(tokens: list[Token], lexicon: Lexicon) -> list[Token]:
    """Keep the words beside those that may be a name, in a question without capitals ("ben stone")."""
    names = {i for i, token in enumerate(tokens) if _may_be_name(token, lexicon)}

    def is_beside_name(i: int) -> bool:
        spaced = {j for j in (i - 2, i + 2) if 0 <= j < len(tokens) and tokens[(i + j) // 2].text == " "}
        return not names.isdisjoint(spaced)

    return [replace(token, is_kept=True) if is_beside_name(i) else token for i, token in enumerate(tokens)]


def _may_be_name(token: Token, lexicon: Lexicon) -> bool:
    """Whether a word of a question without capitals may be part of a name ("ben stone")."""
    low = token.text.casefold()
    if not token.is_word or not low.isalpha() or low in FUNCTION_WORDS or low in _QUANTITIES:
        return False
    found = readings(low, lexicon)
    return not found or _is_specific(found) or lexicon.is_proper_only(low)


def _must_stay(word: str, lexicon: Lexicon) -> bool:
    low = word.casefold()
    if low in FUNCTION_WORDS or low in _QUANTITIES or "'" in low or "’" in low or len(low) < 3 or not low.isascii():  # noqa: RUF001
        return True
    if "-" in low and not FUNCTION_WORDS.isdisjoint(low.split("-")):  # "twenty-one"
        return True
    if word != low:  # names, acronyms, camel case; a name may also start the sentence
        return True
    found = readings(low, lexicon)
    return not found or found[0].form == "est" or _is_specific(found) or lexicon.is_proper_only(low)


def _is_specific(found: list[Reading]) -> bool:
    """Whether a word is a rare noun with one meaning ("nobelium"): most likely what is asked about."""
    entry = found[0].entry
    return len(found) == 1 and entry.pos == "n" and entry.count == 0 and len(entry.senses) == 1
