"""Drop the question's words from an answer, so that the echo does not drown the difference in meaning."""

from __future__ import annotations

import re
from itertools import pairwise

from invent_chain.embed.words import folded, word_spans

_APOSTROPHES = "'’"  # noqa: RUF001 - typographic apostrophe
_NEGATIONS = frozenset(
    {
        *("no", "not", "never", "none", "nothing", "nobody", "nowhere", "neither", "nor", "without", "cannot"),
        *("non", "nein", "nicht", "nie", "kein", "keine", "keinen", "pas", "jamais", "nunca", "não", "nem", "ne"),
        *("niet", "geen", "ikke", "inte", "нет", "не", "никогда"),
    }
)
_OR = frozenset({"or", "vs", "versus", "oder", "ou", "или"})
_FUNCTION_WORDS = frozenset(
    {
        *("a", "an", "the", "is", "are", "was", "were", "be", "been", "being", "am", "do", "does", "did", "done"),
        *("has", "have", "had", "will", "would", "can", "could", "shall", "should", "may", "might", "must"),
        *("it", "its", "he", "she", "they", "i", "we", "you", "him", "her", "them", "me", "us", "his", "their", "my"),
        *("of", "in", "on", "at", "to", "for", "by", "with", "as", "from", "into", "than", "about", "and", "or", "but"),
        *("so", "if", "because", "that", "this", "these", "those", "there", "here", "which", "who", "what", "also"),
        # What frames an answer and says nothing about it.
        *("answer", "think", "believe", "say", "guess", "course", "actually", "definitely", "certainly", "probably"),
        *("likely", "sure", "correct", "i'm", "i'd"),
    }
)
_EDGE_MARKS = ",;:!?…–—"  # noqa: RUF001 - dashes
_PAIRS = (('"', '"'), ("“", "”"), ("«", "»"), ("(", ")"), ("[", "]"))


def drop_echo(answer: str, *questions: str) -> str:
    """Return the answer without the words that the questions hold.

    Case, punctuation and a possessive 's do not matter. Negations, words with digits, and the alternatives that a
    question offers ("red or blue") are never dropped. Where nothing but function words would be left (the answer *is*
    a word of the question), the answer is returned unchanged. Text without spaces (Chinese, Japanese, Thai) has no
    words to match and stays as it is.

    Who did what to whom is lost where every word is the question's: "A beat B" and "B beat A" are both unchanged, but
    with a further word in each they become equal.

    >>> drop_echo("The capital of Palau is Koror.", "What is the capital of Palau?")
    'Koror'
    """
    asked: set[str] = set()
    for question in questions:
        asked |= _droppable(question)
    parts: list[str] = []
    left: list[str] = []
    end = 0
    text = answer.replace("\0", " ")
    for start, stop in _spans(text):
        word = _level(text[start:stop])
        parts.append(text[end:start])
        if word in asked and not _is_kept(word):
            parts.append("\0")
        else:
            left.append(word)
            parts.append(text[start:stop])
        end = stop
    parts.append(text[end:])
    if all(word in _FUNCTION_WORDS for word in left):
        return answer
    return _tidy("".join(parts))


def _droppable(question: str) -> set[str]:
    words = [_level(question[start:stop]) for start, stop in _spans(question)]
    telling = [word for word in words if word not in _FUNCTION_WORDS or word in _OR]
    alternatives = {a for a, b in pairwise(telling) if b in _OR} | {b for a, b in pairwise(telling) if a in _OR}
    return set(words) - alternatives


def _spans(text: str) -> list[tuple[int, int]]:
    """Return the spans of words, an apostrophe inside a word being part of it."""
    spans: list[tuple[int, int]] = []
    for start, stop in word_spans(text):
        if spans and spans[-1][1] == start - 1 and text[start - 1] in _APOSTROPHES:
            spans[-1] = (spans[-1][0], stop)
        else:
            spans.append((start, stop))
    return spans


def _level(word: str) -> str:
    return folded(word).replace("’", "'").removesuffix("'s")  # noqa: RUF001


def _is_kept(word: str) -> bool:
    return word in _NEGATIONS or word.endswith("n't") or any(character.isnumeric() for character in word)


def _tidy(text: str) -> str:
    """Collapse white space, and strip the punctuation that stood with dropped words (each of them a NUL here)."""
    chunks: list[str] = []
    for chunk in text.split():
        if "\0" not in chunk:
            chunks.append(chunk)
        elif any(character.isalnum() for character in chunk):
            chunks.append(re.sub(r"[-–—/'’]*\0[-–—/'’]*", "", chunk))  # noqa: RUF001
        elif chunks and chunk[-1] in ",;:.!?":
            chunks[-1] = chunks[-1].rstrip(",;:.!?") + chunk[-1]  # the mark now ends the words before it
    while chunks and not _says_something(chunks[0]):
        del chunks[0]
    while chunks and not _says_something(chunks[-1]):
        del chunks[-1]
    tidy = _strip_edges(" ".join(chunks))
    for opening, closing in _PAIRS:
        inside = tidy.removeprefix(opening).removesuffix(closing)
        lone = tidy.count(opening) % 2 if opening == closing else tidy.count(opening) != tidy.count(closing)
        whole = len(inside) == len(tidy) - 2 and opening not in inside and closing not in inside
        if lone or whole:
            tidy = _strip_edges(inside)
    return tidy


def _strip_edges(text: str) -> str:
    text = text.lstrip(_EDGE_MARKS + " ").rstrip(_EDGE_MARKS + ". ")
    return text if re.match(r"\.\d", text) else text.lstrip(". ")


def _says_something(chunk: str) -> bool:
    return any(character not in _EDGE_MARKS + ".-'\"’" for character in chunk)  # noqa: RUF001
