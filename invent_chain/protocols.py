"""The seams: each boundary is one method, so that a ten-line class fits.

Plain callables fit too; `sample.as_ask`, `perturb.as_perturber` and `embed.as_similarity` adapt them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from invent_chain.types import Perturbed, Replies, Sampling, UncertaintyReport

FloatArray = NDArray[np.float64]


@runtime_checkable
class Ask(Protocol):
    """Ask the model one question.

    An implementation may carry optional attributes: `name: str`, which goes into the fingerprint (default: the class
    name), as does `prompt: str`, a digest of the prompt around the question (default: "", not known); `identity: str`,
    which stands for everything that an answer depends on besides the question and the `Sampling`, so that answers may
    be cached (default: "", never cached); `max_n: int`, the most answers it can return for one request (default 1);
    `filled`, a method from a question to the whole text that is sent, for estimates; and `bare: Ask`, the same model
    without template or context, for perturbers that ask it to paraphrase (default: itself).
    """

    async def ask(self, question: str, *, n: int, sampling: Sampling) -> Replies:
        """Send one request for `n` independent answers to `question`; fewer may come back.

        Raises:
            AskError: No usable answer. `AskRefusedError` stops the whole batch, since asking again is useless.
        """
        ...


@runtime_checkable
class BatchAsk(Ask, Protocol):
    """A model that answers many questions best in one go, such as a local one on a GPU."""

    async def ask_many(self, wanted: Sequence[tuple[str, int]], *, sampling: Sampling) -> Sequence[Replies]:
        """Answer (question, n) pairs: one `Replies` for each, in their order.

        Raises:
            AskError: No usable answers.
        """
        ...


@runtime_checkable
class Cache(Protocol):
    """Keep bytes under keys; safe under several threads.

    May carry `blocks: bool`: whether it waits for a disk or a network, and so runs in a worker thread (default True).
    """

    def get_many(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """Return what is kept of these.

        Raises:
            CacheError: It cannot be read; scoring goes on without it.
        """
        ...

    def set_many(self, values: Mapping[str, bytes]) -> None:
        """Keep these, or some of them.

        Raises:
            CacheError: It cannot be written; scoring goes on without it.
        """
        ...


@runtime_checkable
class Encoder(Protocol):
    """Embed texts.

    May carry `name: str` for the fingerprint (default: the class name), and `identity: str`, which tells it from every
    other encoder, so that embeddings may be cached (default: the name, if it carries one; "" is never cached).
    """

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return one finite row for each text, shape (len(texts), d). May block: it runs in a worker thread."""
        ...


@runtime_checkable
class Similarity(Protocol):
    """Compare texts by meaning.

    May carry `name: str` for the fingerprint, and `floor: float`, the value that two unrelated texts get
    (default 0.0; 0.5 for `(1 + cos) / 2`), so that agreement can be read on an absolute scale.
    """

    def compare(self, *groups: Sequence[str]) -> tuple[FloatArray, ...]:
        """Return for each group of m texts its matrix a(., .): (m, m), symmetric, in [0, 1], ones on the diagonal.

        All groups come in one call so that every distinct text is encoded once, in one batch. May block: it runs in
        a worker thread.

        Raises:
            EmbeddingError: NaN, inf or a wrong shape came back.
        """
        ...


@dataclass(frozen=True, slots=True)
class PerturbContext:
    """What a perturber may use.

    Attributes:
        rng: Source of all randomness.
        similarity: The scorer's similarity (its `compare` blocks: call it in a worker thread).
        ask: The model, for perturbers that paraphrase with it.
    """

    rng: np.random.Generator
    similarity: Similarity
    ask: Ask


@runtime_checkable
class Perturber(Protocol):
    """Make siblings of a question. May carry `name: str` for the fingerprint (default: the class name)."""

    async def perturb(self, question: str, n: int, context: PerturbContext) -> Perturbed:
        """Return at most `n` distinct, non-empty siblings, none equal to `question`; notes say why there are fewer.

        Raises:
            PerturbationError: Nothing usable could be made.
        """
        ...


@runtime_checkable
class Sink(Protocol):
    """Log reports. What it raises is logged and goes no further: observation never breaks the call."""

    def emit(self, report: UncertaintyReport) -> None:
        """Log one report. Called in the thread or task that scored it, so it must not block for long."""
        ...
