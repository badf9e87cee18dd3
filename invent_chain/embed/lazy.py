"""A model that is loaded at first use, used by one thread at a time, and left as it was."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from invent_chain.errors import ConfigurationError, EmbeddingError, InventError, MissingExtraError

_ORGANISATION = "sentence-transformers/"


class LazyModel:
    """A model by name or folder, or one that the user has loaded.

    Args:
        source: Name on the model hub, local folder, or the model itself.
        load: Loads it from its name or folder.

    Raises:
        ConfigurationError: An empty name, or a class where an instance is needed.
    """

    def __init__(self, source: Any, load: Callable[[str], Any]) -> None:
        if isinstance(source, str | Path) and not str(source).strip():
            raise ConfigurationError("the model's name is empty: pass a name on the model hub, a folder or a model")
        if isinstance(source, type) or source is None:
            raise ConfigurationError(f"model={source!r}: pass a name on the model hub, a folder or a loaded model")
        self._by_name = isinstance(source, str | Path)
        self._source, self._load = source, load
        self._model: Any = None if self._by_name else source
        self._lock = threading.Lock()
        self.name = _name_of_path(str(source)) if self._by_name else _name_of_model(source)

    @contextmanager
    def in_use(self) -> Iterator[Any]:
        """Hold the model, loading it first if need be.

        sentence-transformers switches a model to evaluation mode and leaves it there; a model of the user's that is
        being trained is put back into training mode.

        Raises:
            EmbeddingError: It could not be loaded.
        """
        with self._lock:
            if self._model is None:
                self._model = self._loaded()
            modes = [] if self._by_name else _training_modes(self._model)
            try:
                yield self._model
            finally:
                for module, training in modes:
                    module.training = training

    def _loaded(self) -> Any:
        try:
            return self._load(str(self._source))
        except InventError:
            raise
        except Exception as error:
            raise EmbeddingError(
                f"the model {str(self._source)!r} could not be loaded ({type(error).__name__}): "
                "check its name on the model hub or its folder, and the network"
            ) from error


def require_sentence_transformers(feature: str) -> None:
    """Check that sentence-transformers is installed, without importing it.

    Raises:
        MissingExtraError: It is not.
    """
    if find_spec("sentence_transformers") is None:
        raise MissingExtraError(feature, "sbert")


def is_a(thing: object, name: str) -> bool:
    """Whether a class of this name is among the thing's classes: asks without importing the library."""
    return any(base.__name__ == name for base in type(thing).__mro__)


def _training_modes(model: Any) -> list[tuple[Any, bool]]:
    """Return the modules that are in training mode; a model without modules has none."""
    modules = getattr(model, "modules", None)
    if not callable(modules) or not isinstance(getattr(model, "training", None), bool):
        return []
    return [(module, True) for module in modules() if module.training]


def _name_of_path(path: str) -> str:
    """Name a model without the machine's folders; a name on the hub keeps its organisation, as it tells models apart.

    The hub resolves a bare name to the organisation sentence-transformers, so that one is left out.
    """
    if Path(path).exists():
        return Path(path).resolve().name
    return path.removeprefix(_ORGANISATION)


def _name_of_model(model: Any) -> str:
    """Name a loaded model by what it was loaded from, where it says so, else by its class."""
    known = getattr(getattr(model, "model_card_data", None), "base_model", None)
    if not isinstance(known, str) or not known:
        known = getattr(getattr(model, "config", None), "_name_or_path", None)
    return _name_of_path(known) if isinstance(known, str) and known else type(model).__name__
