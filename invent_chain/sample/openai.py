"""Models behind the OpenAI client: OpenAI itself and local servers that speak its chat completions."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from invent_chain.errors import AskError, ConfigurationError, MissingExtraError
from invent_chain.sample.openai_errors import as_ask_error, safe_url
from invent_chain.sample.request import CountRejectedError
from invent_chain.sample.settings import PLACE, check_texts, check_whole
from invent_chain.sample.thread import in_thread
from invent_chain.types import Replies, Sampling

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

_OWN = {"messages": "system and template", "model": "model", "n": "the replications", "stream": "nothing: no stream"}


class OpenAIAsk:
    """Ask through a client of the `openai` package; it is never changed, and its own retries are the only ones.

    A sync client runs in worker threads. An async one belongs to the event loop that first used it.

    Args:
        client: `openai.OpenAI` or `openai.AsyncOpenAI`; its `base_url` leads to a local server.
        model: Name of the model, as the server knows it.
        system: System prompt, never perturbed; None for none.
        template: User message; each `{question}` in it is replaced, other braces stay.
        extra: Further parameters of each request, such as `{"top_p": 0.9}` or, for what the server knows and the
            client does not, `{"extra_body": {...}}`. `temperature` and `max_tokens` of a `Sampling` go first.
        max_n: Most answers wanted in one request, >= 1. Drops to 1 once the server says that it rejects more.
        server: What tells the server from others in the keys of caches; None takes its address. For a server whose
            address changes.

    Raises:
        ConfigurationError: A setting is wrong; the message says which.
        MissingExtraError: The `openai` package is not installed.
    """

    def __init__(
        self,
        client: OpenAI | AsyncOpenAI,
        *,
        model: str,
        system: str | None = None,
        template: str = PLACE,
        extra: Mapping[str, Any] | None = None,
        max_n: int = 128,
        server: str | None = None,
    ) -> None:
        self._is_async = _is_async_client(client)
        _check_model(model)
        check_texts(system, template)
        check_whole("max_n", max_n)
        self._extra = dict(extra or {})
        _check_extra(self._extra, client.chat.completions.create)
        self._client, self._system, self._template = client, system, template
        self.name, self.max_n = model, max_n
        self.identity = _digest([safe_url(client) if server is None else server, model, system, template, self._extra])
        self.prompt = _digest([system, template])[:12]

    def __repr__(self) -> str:
        return f"OpenAIAsk(model={self.name!r}, base_url={safe_url(self._client)!r})"

    def filled(self, question: str) -> str:
        """Return the whole text that is sent for a question."""
        return (self._system or "") + self._template.replace(PLACE, question)

    async def ask(self, question: str, *, n: int, sampling: Sampling) -> Replies:
        """Send one chat completion for `n` choices; blank choices are dropped.

        Raises:
            AskRefusedError: 401, 403, 404, an unknown model or an empty account.
            AskRateLimitedError: 429, once the client has tried as often as it does.
            AskTimeoutError: The client's own timeout passed.
            AskError: Anything else: unreachable, server error, unreadable reply, no text.
        """
        n = min(n, self.max_n)
        create: Callable[[], Any] = functools.partial(
            self._client.chat.completions.create, **self._parameters(question, n, sampling)
        )
        try:
            completion = await (create() if self._is_async else in_thread(create))
        except Exception as caught:
            error = as_ask_error(caught, client=self._client, model=self.name, n=n)
            if isinstance(error, CountRejectedError) and error.certain:
                self.max_n = 1
            raise error from caught
        return self._read(completion)

    def _parameters(self, question: str, n: int, sampling: Sampling) -> dict[str, Any]:
        messages = [{"role": "user", "content": self._template.replace(PLACE, question)}]
        if self._system is not None:
            messages.insert(0, {"role": "system", "content": self._system})
        given = {"temperature": sampling.temperature, "max_tokens": sampling.max_tokens, "n": n if n > 1 else None}
        settings = {name: value for name, value in given.items() if value is not None}
        return {**self._extra, "model": self.name, "messages": messages, **settings}

    def _read(self, completion: Any) -> Replies:
        # The client does not validate: any JSON, and even plain text, comes through as it was.
        choices = getattr(completion, "choices", None)
        if not isinstance(choices, list) or not choices:
            raise AskError(
                f"{safe_url(self._client)} sent a reply without choices: check that base_url leads to an "
                "OpenAI-compatible server (it usually ends in /v1)"
            )
        contents = [getattr(getattr(choice, "message", None), "content", None) for choice in choices]
        texts = tuple(text for text in contents if isinstance(text, str) and text.strip())
        if not texts:
            reason = str(getattr(choices[0], "finish_reason", None))
            fix = "raise max_tokens" if reason == "length" else "check the model and its prompt"
            known = reason if reason in ("stop", "length", "tool_calls", "content_filter") else "not given"
            raise AskError(
                f"{safe_url(self._client)} sent {len(choices)} choices without text (finish_reason: {known}): {fix}"
            )
        usage = getattr(completion, "usage", None)
        return Replies(texts, _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))


def _digest(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, default=repr).encode()).hexdigest()


def _count(usage: object, field: str) -> int | None:
    value = getattr(usage, field, None)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _is_async_client(client: object) -> bool:
    try:
        import openai
    except ImportError as error:
        raise MissingExtraError("OpenAIAsk", "openai") from error
    if isinstance(client, openai.AsyncOpenAI):
        return True
    if isinstance(client, openai.OpenAI):
        return False
    what = f"the class {client.__name__}" if isinstance(client, type) else f"a {type(client).__name__}"
    raise ConfigurationError(
        f"OpenAIAsk got {what} as client: pass openai.OpenAI(...) or openai.AsyncOpenAI(...), with base_url=... "
        "for a local server"
    )


def _check_model(model: object) -> None:
    if not isinstance(model, str) or not model.strip():
        raise ConfigurationError(f"model={model!r}: name the model as the server knows it, such as 'gpt-4o-mini'")


def _check_extra(extra: Mapping[str, Any], create: Callable[..., object]) -> None:
    parameters = inspect.signature(create).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())  # an instrumented client
    body = extra.get("extra_body")
    for name in (*extra, *(body if isinstance(body, Mapping) else ())):
        if name in _OWN:
            raise ConfigurationError(f"extra must not hold {name!r}, which is set by {_OWN[name]}")
        if name == "seed":
            raise ConfigurationError(
                "extra must not hold 'seed': with one seed all replications are equal and every answer looks certain"
            )
        if name in extra and name not in parameters and not anything:
            raise ConfigurationError(
                f"extra holds {name!r}, which the client does not take: what only the server knows goes into "
                "extra={'extra_body': {...}}"
            )
