"""Embeddings from any OpenAI-compatible server (extra: `openai`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from invent_chain.embed.lazy import is_a
from invent_chain.embed.rows import checked_rows
from invent_chain.errors import ConfigurationError, EmbeddingError, MissingExtraError
from invent_chain.protocols import FloatArray
from invent_chain.sample.openai_errors import safe_url

_FIXES = {
    401: "check the API key of the client",
    403: "check what the API key may use",
    404: "check base_url (it usually ends in /v1) and the model's name",
    413: "lower batch_size",
    429: "raise max_retries of the client, or its rate limit",
}


class OpenAIEncoder:
    """Embed with the embeddings endpoint of any OpenAI-compatible server (extra: `openai`).

    Args:
        client: An `openai.OpenAI`; it runs in a worker thread, so an async client does not fit.
        model: Name of the embedding model.
        batch_size: Texts in one request, >= 1.
        name: Name in fingerprints; None takes `model`.

    Raises:
        ConfigurationError: Not a sync client, no model, or batch_size below 1.
    """

    def __init__(self, client: Any, *, model: str, batch_size: int = 256, name: str | None = None) -> None:
        if is_a(client, "AsyncOpenAI"):
            raise ConfigurationError(
                "OpenAIEncoder runs in a worker thread: pass a sync client (openai.OpenAI), not AsyncOpenAI"
            )
        if not callable(getattr(getattr(client, "embeddings", None), "create", None)):
            raise ConfigurationError(f"client is a {type(client).__name__}: pass a sync client (openai.OpenAI)")
        if not model:
            raise ConfigurationError("model is empty: pass the name of the embedding model")
        if batch_size < 1:
            raise ConfigurationError(f"batch_size={batch_size}: must be at least 1")
        self._client, self._model, self._batch_size = client, model, batch_size
        self.name = name or model
        self.identity = f"{model} of {self._where()}"

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return embeddings, shape (len(texts), d); (0, 0) for no texts.

        Raises:
            MissingExtraError: openai is not installed.
            EmbeddingError: The server is down, refused, or returned something else than one row a text. The message
                names the server and the fix, never a text or the key.
        """
        rows: list[Any] = []
        for start in range(0, len(texts), self._batch_size):
            rows += self._request(list(texts[start : start + self._batch_size]))
        return checked_rows(rows, len(texts), self._where()) if rows else np.empty((0, 0))

    def _request(self, batch: list[str]) -> list[Any]:
        try:
            import openai
        except ImportError as error:
            raise MissingExtraError("OpenAIEncoder", "openai") from error
        try:
            # Servers refuse the empty string, and an empty answer must not cost the whole score.
            reply = self._client.embeddings.create(
                model=self._model, input=[text or " " for text in batch], encoding_format="float"
            )
            items = sorted(reply.data, key=lambda item: item.index)
            rows, order = [item.embedding for item in items], [item.index for item in items]
        except openai.APIStatusError as error:
            fix = _FIXES.get(error.status_code, "check the server's log, base_url and the model's name")
            raise EmbeddingError(
                f"{self._where()} answered {error.status_code} for model {self._model!r}: {fix}"
            ) from error
        except openai.APIConnectionError as error:
            raise EmbeddingError(
                f"no complete reply from {self._where()} ({type(error).__name__}): "
                "check that the server runs and that base_url is right"
            ) from error
        except (openai.OpenAIError, AttributeError, TypeError, ValueError) as error:
            raise EmbeddingError(
                f"{self._where()} returned something that is not a list of embeddings ({type(error).__name__}): "
                "check that base_url leads to an OpenAI-compatible server (it usually ends in /v1)"
            ) from error
        if order != list(range(len(batch))):
            raise EmbeddingError(
                f"{self._where()} returned {len(rows)} embeddings for {len(batch)} texts"
                f"{'' if len(rows) != len(batch) else ', some with the same index'}; "
                "expected one each: lower batch_size, or check that the server takes lists"
            )
        return rows

    def _where(self) -> str:
        return f"the embeddings endpoint at {safe_url(self._client)}" if hasattr(self._client, "base_url") else "openai"
