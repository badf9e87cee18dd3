"""Encoders and similarities: how alike two texts are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from invent_chain.embed.cosine import CosineSimilarity, Kind, cosine_matrix
from invent_chain.embed.echo import drop_echo
from invent_chain.embed.encoders import (
    CallableEncoder,
    LexicalEncoder,
    OpenAIEncoder,
    SentenceTransformerEncoder,
    bundled_minilm,
)
from invent_chain.embed.nli import NLISimilarity
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
    "cosine_matrix",
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
    if any(base.__name__ == "SentenceTransformer" for base in type(what).__mro__):
        return CosineSimilarity(SentenceTransformerEncoder(what), kind=kind)
    if isinstance(what, Similarity):
        return what
    if isinstance(what, Encoder):
        return CosineSimilarity(what, kind=kind)
    if callable(what):
        return CosineSimilarity(CallableEncoder(what), kind=kind)
    raise ConfigurationError(
        f"similarity={what!r}: pass a Similarity, an encoder, a function texts -> array, "
        "the name of a sentence-transformers model, or None"
    )
