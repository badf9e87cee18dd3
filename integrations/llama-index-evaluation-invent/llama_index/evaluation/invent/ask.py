"""LlamaIndex models and query engines as an `Ask`, the seam through which siblings are asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.response.schema import RESPONSE_TYPE, PydanticResponse, Response
from llama_index.core.llms import LLM, ChatMessage
from llama_index.core.schema import NodeWithScore, QueryBundle

from invent_chain.errors import AskError, ConfigurationError
from invent_chain.hosting import as_ask_error
from invent_chain.protocols import Ask
from invent_chain.sample.thread import in_thread
from invent_chain.types import Replies, Sampling
from llama_index.evaluation.invent.parts import for_siblings, models, tuned

_PLACE = "{question}"


class LLMAsk:
    """Ask a model, one answer a request.

    Args:
        llm: The model. It is never changed: siblings ask a copy with their settings.
        template: Prompt; each `{question}` in it is replaced, other braces stay. Or a function that makes the prompt
            out of a question.
        messages: Makes the messages out of a question, for chat models; None is one user message with the prompt.
        settings: Further keyword arguments of each request; a seed, and what siblings have a setting for, is left out.
        sync: Whether to use the model's sync side, in worker threads. An async client belongs to the event loop that
            first used it.
        chat: Whether to chat or to complete; None does what the model is for.

    Raises:
        ConfigurationError: The template has no place for the question.
    """

    max_n = 1

    def __init__(
        self,
        llm: LLM,
        *,
        template: str | Callable[[str], str] = _PLACE,
        messages: Callable[[str], Sequence[ChatMessage]] | None = None,
        settings: Mapping[str, Any] | None = None,
        sync: bool = True,
        chat: bool | None = None,
    ) -> None:
        self._llm, self._messages, self._settings, self._sync = llm, messages, settings or {}, sync
        self._chat = llm.metadata.is_chat_model if chat is None else chat
        self._prompt = _filled(template) if isinstance(template, str) else template
        self.name = llm.metadata.model_name

    def __repr__(self) -> str:
        return f"LLMAsk({self.name})"

    @property
    def bare(self) -> Ask:
        """The same model with nothing around the question, for paraphrasing."""
        return LLMAsk(self._llm, sync=self._sync)

    async def ask(self, question: str, *, n: int, sampling: Sampling) -> Replies:
        """Send one request.

        Raises:
            AskRefusedError: 401, 403 or 404.
            AskError: The model raised, or gave no text.
        """
        llm, settings = tuned(self._llm, sampling), _of_siblings(self._settings, sampling)
        try:
            if self._chat or self._messages is not None:
                messages = self._asked(question)
                reply = await (
                    in_thread(lambda: llm.chat(messages, **settings)) if self._sync else llm.achat(messages, **settings)
                )
                text = reply.message.content or ""
            else:
                prompt = self._prompt(question)
                done = await (
                    in_thread(lambda: llm.complete(prompt, **settings))
                    if self._sync
                    else llm.acomplete(prompt, **settings)
                )
                text = done.text
        except Exception as error:
            raise as_ask_error(error, self.name) from error
        return _reply(text, self.name)

    def _asked(self, question: str) -> Sequence[ChatMessage]:
        if self._messages is not None:
            return self._messages(question)
        return [ChatMessage(role="user", content=self._prompt(question))]


class EngineAsk:
    """Ask a query engine: each sibling is one synthesis over given nodes, or one whole query.

    Args:
        engine: The engine. It is never changed: siblings ask a copy whose models have their settings and do not stream.
        nodes: Nodes to answer from; None retrieves anew for each sibling.
        sync: Whether to use the engine's sync side, in worker threads.
    """

    max_n = 1

    def __init__(
        self, engine: BaseQueryEngine, *, nodes: Sequence[NodeWithScore] | None = None, sync: bool = True
    ) -> None:
        self._engine, self._nodes, self._sync = engine, None if nodes is None else list(nodes), sync
        llm = next(models(engine), None)
        self.name = type(engine).__name__ if llm is None else llm.metadata.model_name
        if llm is not None:
            self.bare: Ask = LLMAsk(llm, sync=sync)

    def __repr__(self) -> str:
        return f"EngineAsk({self.name})"

    async def ask(self, question: str, *, n: int, sampling: Sampling) -> Replies:
        """Ask once.

        Raises:
            AskRefusedError: 401, 403 or 404.
            AskError: The engine raised, or gave no text.
        """
        engine, bundle, nodes = for_siblings(self._engine, sampling), QueryBundle(question), self._nodes
        try:
            if self._sync:
                found = await in_thread(
                    lambda: engine.query(bundle) if nodes is None else engine.synthesize(bundle, nodes)
                )
            else:
                found = await (engine.aquery(bundle) if nodes is None else engine.asynthesize(bundle, nodes))
            text = await in_thread(lambda: answer_of(found))  # reads a stream
        except Exception as error:
            raise as_ask_error(error, self.name) from error
        return _reply(text, self.name)


def adapt(obj: Any) -> Ask | None:
    """Return an `Ask` for a model or query engine, so that `InvEntropy(llm)` works; None for other objects."""
    if isinstance(obj, LLM):
        return LLMAsk(obj)
    return EngineAsk(obj) if isinstance(obj, BaseQueryEngine) else None


def _of_siblings(settings: Mapping[str, Any], sampling: Sampling) -> dict[str, Any]:
    """Leave out what would undo the siblings' settings, and a seed, which would make all replications equal."""
    own = {"seed"} | {name for name in ("temperature", "max_tokens") if getattr(sampling, name) is not None}
    return {name: value for name, value in settings.items() if name not in own}


def _filled(template: str) -> Callable[[str], str]:
    if _PLACE not in template:
        raise ConfigurationError(f"template={template!r} has no place for the question: put {_PLACE} into it")
    return lambda question: template.replace(_PLACE, question)


def answer_of(found: RESPONSE_TYPE) -> str:
    """Return the answer of a response as text; empty where there is none, of which `str` would make "None"."""
    if isinstance(found, (Response, PydanticResponse)) and found.response is None:
        return ""
    return str(found)


def _reply(text: str, name: str) -> Replies:
    if not text.strip():
        raise AskError(f"{name} gave no text: raise max_tokens")
    return Replies((text,))
