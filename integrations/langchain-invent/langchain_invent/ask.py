"""LangChain models and runnables as an `Ask`, the seam through which siblings are asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.base import RunnableBindingBase

from invent_chain.errors import AskError
from invent_chain.hosting import as_ask_error
from invent_chain.protocols import Ask
from invent_chain.sample.thread import in_thread
from invent_chain.types import Replies, Sampling
from langchain_invent.messages import answer_text
from langchain_invent.parts import Scored, sibling_runnable, tuned


class ChatModelAsk:
    """Ask a chat model, several answers in one request where it has a field `n`.

    Args:
        model: The chat model. It is never changed: siblings ask a copy without cache and streaming.
        messages: Makes the messages out of a question; by default one human message.
        config: Config of each request: callbacks, tags, metadata, run name.
        settings: Further keyword arguments of each request, such as `stop` or bound `tools`.
        sync: Whether to use the model's sync side, in worker threads. An async client belongs to the event loop that
            first used it.
    """

    def __init__(
        self,
        model: BaseChatModel,
        *,
        messages: Callable[[str], Sequence[BaseMessage]] | None = None,
        config: RunnableConfig | None = None,
        settings: Mapping[str, Any] | None = None,
        sync: bool = True,
    ) -> None:
        while isinstance(model, Scored):
            model = model.unscored()  # type: ignore[assignment]
        self._model, self._config, self._settings, self._sync = model, config or {}, dict(settings or {}), sync
        self._messages = messages or _one_message
        self.name = model_name(model)
        self.max_n = 128 if "n" in type(model).model_fields else 1

    def __repr__(self) -> str:
        return f"ChatModelAsk({self.name})"

    @property
    def bare(self) -> Ask:
        """The same model with nothing around the question, for paraphrasing."""
        return ChatModelAsk(self._model, config=self._config, sync=self._sync)

    async def ask(self, question: str, *, n: int, sampling: Sampling) -> Replies:
        """Send one request; messages without text and without tool calls are dropped.

        Raises:
            AskRefusedError: 401, 403 or 404.
            AskError: The model raised, or gave nothing that can be compared.
        """
        n = min(n, self.max_n)
        model = tuned(self._model, sampling, n=n)
        messages = list(self._messages(question))
        arguments = {
            "callbacks": self._config.get("callbacks"),
            "tags": self._config.get("tags"),
            "metadata": self._config.get("metadata"),
            "run_name": self._config.get("run_name"),
            **self._settings,
        }
        try:
            if self._sync:
                result = await in_thread(lambda: model.generate([messages], **arguments))
            else:
                result = await model.agenerate([messages], **arguments)
        except Exception as error:
            raise as_ask_error(error, self.name, n=n) from error
        generations = [g for g in result.generations[0] if isinstance(g, ChatGeneration)]
        return _replies([g.message for g in generations], self.name)


class RunnableAsk:
    """Ask any runnable: each sibling is one run of it on an input made from the question.

    Args:
        runnable: A chain that answers questions. It is never changed: siblings run a copy of it whose models have the
            siblings' settings, no cache and no streaming. What is hidden in functions runs as it is.
        make_input: Makes the chain's input out of a question.
        config: Config of each run.
        settings: Further keyword arguments of each run.
        recalled: Documents by the name of the retriever that found them; these retrievers are not asked again.
        model: Chat model for paraphrasing; None paraphrases through the chain.
        name: Name of the model in the fingerprint.
        read: Reads the answer out of the output.
        sync: Whether to use `invoke`, in worker threads, instead of `ainvoke`.
    """

    max_n = 1

    def __init__(
        self,
        runnable: Runnable[Any, Any],
        *,
        make_input: Callable[[str], Any] = str,
        config: RunnableConfig | None = None,
        settings: Mapping[str, Any] | None = None,
        recalled: Mapping[str, list[Document]] | None = None,
        model: BaseChatModel | None = None,
        name: str | None = None,
        read: Callable[[Any], str] = answer_text,
        sync: bool = True,
    ) -> None:
        self._runnable, self._make_input, self._config, self._settings = runnable, make_input, config, settings or {}
        self._recalled, self._read, self._sync = recalled or {}, read, sync
        self.name = name or runnable.get_name()
        if model is not None:
            self.bare: Ask = ChatModelAsk(model, config=config, sync=sync)

    def __repr__(self) -> str:
        return f"RunnableAsk({self.name})"

    async def ask(self, question: str, *, n: int, sampling: Sampling) -> Replies:
        """Run it once.

        Raises:
            AskRefusedError: 401, 403 or 404.
            AskError: It raised, or gave nothing that can be compared.
        """
        runnable = sibling_runnable(self._runnable, sampling, self._recalled)
        given = self._make_input(question)
        try:
            if self._sync:
                output = await in_thread(lambda: runnable.invoke(given, self._config, **self._settings))
            else:
                output = await runnable.ainvoke(given, self._config, **self._settings)
        except Exception as error:
            raise as_ask_error(error, self.name) from error
        return _replies([output], self.name, self._read)


def adapt(obj: Any) -> Ask | None:
    """Return an `Ask` for a LangChain model or runnable, so that `InvEntropy(model)` works; None for other objects."""
    if isinstance(obj, BaseChatModel):
        return ChatModelAsk(obj)
    return RunnableAsk(obj) if isinstance(obj, Runnable) else None


def unbound(runnable: Runnable[Any, Any]) -> tuple[BaseChatModel | None, dict[str, Any]]:
    """Return the chat model under `bind` and `with_config`, and the bound keyword arguments; None if there is none."""
    settings: dict[str, Any] = {}
    while isinstance(runnable, RunnableBindingBase):
        settings = {**runnable.kwargs, **settings}
        runnable = runnable.bound
    return (runnable if isinstance(runnable, BaseChatModel) else None), settings


def model_name(model: Any) -> str:
    """Return the name by which a provider knows a model, else the name of its class."""
    while isinstance(model, Scored):
        model = model.unscored()
    for field in ("model_name", "model", "model_id"):
        name = getattr(model, field, None)
        if isinstance(name, str) and name:
            return name
    return type(model).__name__


def _one_message(question: str) -> list[BaseMessage]:
    return [HumanMessage(question)]


def _replies(outputs: Sequence[Any], name: str, read: Callable[[Any], str] = answer_text) -> Replies:
    texts = tuple(text for output in outputs if (text := read(output)).strip())
    if not texts:
        raise AskError(f"{name} gave {len(outputs)} answers without text or tool calls: raise max_tokens")
    usages = [m.usage_metadata for m in outputs if isinstance(m, AIMessage) and m.usage_metadata]
    if not usages:
        return Replies(texts)
    # Each choice of one request carries the usage of the whole request.
    return Replies(texts, max(u["input_tokens"] for u in usages), max(u["output_tokens"] for u in usages))
