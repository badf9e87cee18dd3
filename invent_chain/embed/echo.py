"""Drop the question's words from an answer, so that the echo does not drown the difference in meaning."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"\w+(?:['’]\w+)*", re.UNICODE)  # noqa: RUF001 - typographic apostrophe
_SPACE = re.compile(r"\s+")
_STRAY = re.compile(r"\s+([.,;:!?])")
_KEPT = frozenset({"no", "not", "never", "none", "nothing", "nobody", "nowhere", "neither", "nor", "without", "cannot"})
_FUNCTION_WORDS = frozenset(
    {
        *("a", "an", "the", "is", "are", "was", "were", "be", "been", "it", "its", "of", "in", "on", "at"),
        *("to", "for", "and", "or", "by", "with", "as", "that", "this", "there"),
    }
)


def drop_echo(answer: str, *questions: str) -> str:
    """Return the answer without the words that the questions hold.

    Case, punctuation and a possessive 's do not matter. Negations and words with digits are never dropped. Where
    nothing but function words would be left (the answer *is* a word of the question), the answer is returned unchanged.

    >>> drop_echo("The capital of Palau is Koror.", "What is the capital of Palau?")
    'Koror'
    """
    asked = {_folded(word) for question in questions for word in _WORD.findall(question)}
    left: list[str] = []

    def keep(match: re.Match[str]) -> str:
        word = match.group()
        if _folded(word) in asked and not _is_kept(word):
            return ""
        left.append(_folded(word))
        return word

    shorter = _WORD.sub(keep, answer)
    if all(word in _FUNCTION_WORDS for word in left):
        return answer
    return _STRAY.sub(r"\1", _SPACE.sub(" ", shorter)).strip(" \t\n.,;:!?-–—")  # noqa: RUF001 - dashes


def _folded(word: str) -> str:
    plain = unicodedata.normalize("NFKC", word).casefold().replace("’", "'")  # noqa: RUF001
    return plain.removesuffix("'s")


def _is_kept(word: str) -> bool:
    folded = _folded(word)
    return folded in _KEPT or folded.endswith("n't") or any(c.isdigit() for c in folded)
