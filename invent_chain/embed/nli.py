"""Similarity by entailment: two texts are alike when each follows from the other."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from invent_chain.errors import ConfigurationError, EmbeddingError, MissingExtraError
from invent_chain.protocols import FloatArray


class NLISimilarity:
    """Mean of both directions' entailment probability (METHOD, `a` for NLI); extra: `sbert`.

    Args:
        model: Name on the model hub, local folder, or a loaded `CrossEncoder` (anything with
            `predict(pairs) -> (k, labels)` logits), which is not changed.
        device: Torch device; None lets torch choose. Not for a loaded model.
        batch_size: Pairs in one forward pass, >= 1.
        entailment: Index of the entailment label; None reads it from the model's configuration.

    Raises:
        ConfigurationError: batch_size below 1.
    """

    floor = 0.0
    """What two unrelated texts get."""

    def __init__(
        self, model: Any, *, device: str | None = None, batch_size: int = 32, entailment: int | None = None
    ) -> None:
        if batch_size < 1:
            raise ConfigurationError(f"batch_size={batch_size}: must be at least 1")
        self._source, self._device, self._batch_size, self._entailment = model, device, batch_size, entailment
        self._model: Any = None if isinstance(model, str | Path) else model
        self._lock = threading.Lock()
        self.name = f"nli({Path(model).name if isinstance(model, str | Path) else type(model).__name__})"

    def compare(self, *groups: Sequence[str]) -> tuple[FloatArray, ...]:
        """Return the similarity matrix of each group: (m, m), symmetric, in [0, 1], ones on the diagonal.

        Each ordered pair of distinct texts is scored once, all of them in one call.

        Raises:
            EmbeddingError: The model could not be loaded or returned NaN, inf or a wrong shape.
            ConfigurationError: The model's configuration names no entailment label and `entailment` was not given.
        """
        pairs = list(dict.fromkeys(pair for group in groups for pair in permutations(dict.fromkeys(group), 2)))
        entailed = dict(zip(pairs, self._probabilities(pairs), strict=True)) if pairs else {}
        return tuple(_matrix(group, entailed) for group in groups)

    def _probabilities(self, pairs: list[tuple[str, str]]) -> list[float]:
        with self._lock:
            if self._model is None:
                self._model = _load(self._source, self._device)
            label = self._entailment if self._entailment is not None else _entailment_label(self._model)
            logits = np.asarray(
                self._model.predict(pairs, batch_size=self._batch_size, show_progress_bar=False), dtype=np.float64
            )
        if logits.ndim != 2 or len(logits) != len(pairs) or logits.shape[1] <= label:
            raise EmbeddingError(
                f"the NLI model returned shape {logits.shape} for {len(pairs)} pairs and entailment label {label}; "
                "expected one row of logits each"
            )
        if not np.isfinite(logits).all():
            raise EmbeddingError("the NLI model returned NaN or inf")
        probabilities: list[float] = softmax(logits, axis=1)[:, label].tolist()
        return probabilities


def _matrix(group: Sequence[str], entailed: dict[tuple[str, str], float]) -> FloatArray:
    return np.array(
        [[1.0 if s == t else (entailed[s, t] + entailed[t, s]) / 2 for t in group] for s in group], dtype=np.float64
    ).reshape(len(group), len(group))


def _entailment_label(model: Any) -> int:
    labels = getattr(getattr(model, "config", None), "id2label", None) or {}
    found = [int(k) for k, label in labels.items() if str(label).casefold() in {"entailment", "entail", "entails"}]
    if len(found) != 1:
        raise ConfigurationError(f"no single entailment label among {dict(labels)}: pass entailment=<its index>")
    return found[0]


def _load(source: str | Path, device: str | None) -> Any:
    try:
        from sentence_transformers import CrossEncoder
        from torch.nn import Identity
    except ImportError as error:
        raise MissingExtraError("NLISimilarity", "sbert") from error
    try:
        return CrossEncoder(str(source), device=device, activation_fn=Identity())
    except (OSError, ValueError) as error:
        raise EmbeddingError(f"the NLI model {str(source)!r} could not be loaded: {error}") from error
