"""Similarity by entailment: two texts are alike when each follows from the other."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax

from invent_chain.embed.lazy import LazyModel, is_a, require_sentence_transformers
from invent_chain.embed.rows import checked_rows
from invent_chain.errors import ConfigurationError, EmbeddingError, InputError
from invent_chain.protocols import FloatArray

_NEGATED = re.compile(r"(not?|non|un|anti)[\W_]*entail")


class NLISimilarity:
    """Mean of both directions' entailment probability (METHOD, `a` for NLI); extra: `sbert`.

    Safe to share between threads: they compare one after the other.

    Args:
        model: Name on the model hub, local folder, or a loaded `CrossEncoder`, which is not changed. Anything with
            `predict(pairs) -> (k, labels)` logits fits too.
        device: Torch device; None lets torch choose. Not for a loaded model.
        batch_size: Pairs in one forward pass, >= 1. An object that is no `CrossEncoder` batches for itself.
        entailment: Index of the entailment label, >= 0; None reads it from the model's configuration.

    Raises:
        ConfigurationError: No model, a number out of range, or a device for a model that is loaded already.
        MissingExtraError: sentence-transformers is not installed; raised before anything is asked or loaded.
    """

    floor = 0.0
    """What two unrelated texts get."""

    def __init__(
        self, model: Any, *, device: str | None = None, batch_size: int = 32, entailment: int | None = None
    ) -> None:
        if batch_size < 1:
            raise ConfigurationError(f"batch_size={batch_size}: must be at least 1")
        if entailment is not None and entailment < 0:
            raise ConfigurationError(f"entailment={entailment}: must be at least 0")
        if device is not None and not isinstance(model, str | Path):
            raise ConfigurationError(f"device={device!r}: a loaded model stays where it is; load it there instead")
        if not isinstance(model, str | Path) and not callable(getattr(model, "predict", None)):
            raise ConfigurationError(f"model is a {type(model).__name__}: needs a method predict(pairs)")
        if isinstance(model, str | Path):
            require_sentence_transformers("NLISimilarity")
        self._device, self._batch_size, self._entailment = device, batch_size, entailment
        self._model = LazyModel(model, self._load)
        self.name = f"nli({self._model.name})"

    def compare(self, *groups: Sequence[str]) -> tuple[FloatArray, ...]:
        """Return the similarity matrix of each group: (m, m), symmetric, in [0, 1], ones on the diagonal.

        Each ordered pair of distinct texts is scored once, all of them in one call.

        Raises:
            InputError: A text where a group of texts is expected.
            EmbeddingError: The model could not be loaded or returned NaN, inf or a wrong shape.
            ConfigurationError: The model's configuration names no entailment label and `entailment` was not given.
        """
        if any(isinstance(group, str) for group in groups):
            raise InputError("a group is a list of texts, not a text: pass [text]")
        pairs = list(dict.fromkeys(pair for group in groups for pair in permutations(dict.fromkeys(group), 2)))
        entailed = dict(zip(pairs, self._probabilities(pairs), strict=True)) if pairs else {}
        return tuple(_matrix(group, entailed) for group in groups)

    def _probabilities(self, pairs: list[tuple[str, str]]) -> list[float]:
        with self._model.in_use() as model:
            label = _entailment_label(model) if self._entailment is None else self._entailment
            returned = model.predict(pairs, **self._settings(model))
        logits = checked_rows(returned, len(pairs), f"the NLI model {self._model.name}")
        if label >= logits.shape[1] or logits.shape[1] < 2:
            raise EmbeddingError(
                f"the NLI model {self._model.name} returned shape {logits.shape}, so it has {logits.shape[1]} labels; "
                f"expected at least 2, and entailment={label} to be one of them"
            )
        probabilities: list[float] = softmax(logits, axis=1)[:, label].tolist()
        return probabilities

    def _settings(self, model: Any) -> dict[str, Any]:
        """Return what a `CrossEncoder` has to be told to return plain logits in silence; other objects get nothing."""
        if not is_a(model, "CrossEncoder"):
            return {}
        from torch.nn import Identity

        known = inspect.signature(model.predict).parameters
        activation = "activation_fct" if "activation_fct" in known else "activation_fn"  # its name before 4.0
        return {"batch_size": self._batch_size, "show_progress_bar": False, activation: Identity()}

    def _load(self, source: str) -> Any:
        from sentence_transformers import CrossEncoder

        return CrossEncoder(source, device=self._device)


def _matrix(group: Sequence[str], entailed: Mapping[tuple[str, str], float]) -> FloatArray:
    return np.array(
        [[1.0 if s == t else (entailed[s, t] + entailed[t, s]) / 2 for t in group] for s in group], dtype=np.float64
    ).reshape(len(group), len(group))


def _entailment_label(model: Any) -> int:
    config = getattr(model, "config", None) or getattr(getattr(model, "model", None), "config", None)
    by_index = getattr(config, "id2label", None) or {}
    by_label = getattr(config, "label2id", None) or {}
    labels = {(int(index), str(label).casefold()) for index, label in by_index.items()}
    labels |= {(int(index), str(label).casefold()) for label, index in by_label.items()}
    found = {index for index, label in labels if "entail" in label and not _NEGATED.search(label)}
    if len(found) != 1:
        names = sorted({label for _, label in labels})
        raise ConfigurationError(f"no single entailment label among {names}: pass entailment=<its index>")
    return found.pop()
