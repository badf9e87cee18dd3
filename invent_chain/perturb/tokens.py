"""Cut a question into tokens, and tell which of them must stay as they are."""

from __future__ import annotations

import re
from dataclasses import dataclass

from invent_chain.perturb.inflect import Reading, readings
from invent_chain.perturb.lexicon import Lexicon

_TOKEN = re.compile(r"\w+(?:[-'’]\w+)*|[^\w\s]|\s+", re.UNICODE)  # noqa: RUF001 - typographic apostrophe
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
    "many much few more most less least first last next only",
    "zero two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen",
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion trillion",
    "second third fourth fifth sixth seventh eighth ninth tenth half quarter double triple once twice dozen",
)
FUNCTION_WORDS = frozenset(" ".join(_GROUPS).split())
"""Question words, negations, determiners, pronouns, auxiliaries, prepositions, numbers: what shapes a question."""

_LEAST_SHARE_OF_FUNCTION_WORDS = 0.25
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
    tokens = []
    for match in _TOKEN.finditer(question):
        text = match.group()
        is_word = text[0].isalnum() or text[0] == "_"
        kept = not is_word or any(start < match.end() and match.start() < end for start, end in spans)
        if is_word and not kept:
            kept = _must_stay(text, lexicon)
        tokens.append(Token(text, is_word, kept))
    return tokens


def is_english(tokens: list[Token]) -> bool:
    """Whether enough of the words are English function words for English substitutes to make sense."""
    words = [token.text.casefold() for token in tokens if token.is_word]
    known = sum(word in FUNCTION_WORDS or "'" in word for word in words)
    return bool(words) and known / len(words) >= _LEAST_SHARE_OF_FUNCTION_WORDS


def _must_stay(word: str, lexicon: Lexicon) -> bool:
    low = word.casefold()
    if low in FUNCTION_WORDS or "'" in low or "’" in low or len(low) < 3 or not low.isascii():  # noqa: RUF001
        return True
    if word != low:  # names, acronyms, camel case; a name may also start the sentence
        return True
    found = readings(low, lexicon)
    return not found or found[0].form == "est" or _is_specific(found) or lexicon.is_proper_only(low)


def _is_specific(found: list[Reading]) -> bool:
    """Whether a word is a rare noun with one meaning ("nobelium"): most likely what is asked about."""
    entry = found[0].entry
    return len(found) == 1 and entry.pos == "n" and entry.count == 0 and len(entry.senses) == 1
