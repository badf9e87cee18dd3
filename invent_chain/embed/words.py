"""Words of a text, in any script."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

_CHUNK = re.compile(r"\S+")
_ASCII_WORD = re.compile(r"[A-Za-z0-9_]+")
_JOINERS = "\u200c\u200d"


def word_spans(text: str) -> list[tuple[int, int]]:
    r"""Return start and end of every word: letters, digits, "_" and the marks that belong to them.

    `\w` alone would cut words of Indic and Thai script at their vowel signs, so that "की" and "कि" became equal.
    Text without spaces (Chinese, Japanese, Thai) is one word up to the next punctuation.
    """
    if text.isascii():
        return [match.span() for match in _ASCII_WORD.finditer(text)]
    spans: list[tuple[int, int]] = []
    for chunk in _CHUNK.finditer(text):
        inside = [_in_word(character) for character in chunk.group()]
        edges = [i for i, (a, b) in enumerate(pairwise([False, *inside, False])) if a != b]
        spans += [(chunk.start() + a, chunk.start() + b) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return [(a, b) for a, b in spans if any(c.isalnum() or c == "_" for c in text[a:b])]  # marks also occur in emoji


def folded(text: str) -> str:
    """Return the text with case and compatibility forms (full width, ligatures) levelled out."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _in_word(character: str) -> bool:
    return (
        character.isalnum()
        or character == "_"
        or character in _JOINERS
        or unicodedata.category(character).startswith("M")
    )
