"""Encoders and similarities: how alike two texts are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from invent_chain.embed.cosine import CosineSimilarity, Kind
from invent_chain.embed.echo import drop_echo
from invent_chain.embed.function import CallableEncoder
from invent_chain.embed.lazy import is_a
from invent_chain.embed.lexical import LexicalEncoder
from invent_chain.embed.nli import NLISimilarity
from invent_chain.embed.openai import OpenAIEncoder
from invent_chain.embed.sentence_transformer import SentenceTransformerEncoder, bundled_minilm
from invent_chain.errors import ConfigurationError
from invent_chain.protocols import Encoder, Similarity

__all__ = [
    "CallableEncoder",
    "CosineSimilarity",
    "LexicalEncoder",
    "NLISimilarity",
    "OpenAIEncoder",
    "SentenceTransformerEncoder",
    "as_similarity",
    "bundled_minilm",
    "drop_echo",
]


def as_similarity(what: Any, *, kind: Kind = "shifted") -> Similarity:
    """Make a similarity of what the user passed.

    Args:
        what: A `Similarity`; an encoder; a loaded `SentenceTransformer`; the name or folder of one; a function
            `texts -> array`; or None for the lexical default.
        kind: Kind of cosine where an encoder is wrapped.

    Raises:
        ConfigurationError: None of these.
    """
    if what is None:
        return CosineSimilarity(LexicalEncoder(), kind=kind)
    if isinstance(what, str | Path):
        return CosineSimilarity(SentenceTransformerEncoder(what), kind=kind)
    if isinstance(what, type):
        raise ConfigurationError(f"similarity={what.__name__}: pass an instance, {what.__name__}(...)")
    if isinstance(what, Similarity):
        return what
    if _is_sentence_transformer(what):  # before Encoder: it has `encode` too, but prints a progress bar
        return CosineSimilarity(SentenceTransformerEncoder(what), kind=kind)
    if isinstance(what, Encoder):
        return CosineSimilarity(what, kind=kind)
    if callable(what):
        return CosineSimilarity(CallableEncoder(what), kind=kind)
    raise ConfigurationError(
        f"similarity is a {type(what).__name__}: pass a Similarity (a method compare), an encoder (a method encode), "
        "a loaded SentenceTransformer, the name or folder of one, a function texts -> array, "
        "or None for the lexical default"
    )


def _is_sentence_transformer(what: Any) -> bool:
    return is_a(what, "SentenceTransformer") or (
        callable(getattr(what, "encode", None)) and hasattr(what, "get_sentence_embedding_dimension")
    )
