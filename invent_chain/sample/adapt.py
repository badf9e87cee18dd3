"""Make a model out of what the user passes."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from invent_chain.errors import ConfigurationError
from invent_chain.protocols import Ask
from invent_chain.sample.callable import CallableAsk

_ADAPTERS = "invent_chain.adapters"
"""Entry points of integrations: functions that return an `Ask` for an object that they know, else None."""

_ACCEPTED = (
    "pass a sync or async callable question -> answer, an OpenAIAsk, or an object with "
    "`async def ask(question, *, n, sampling) -> Replies`"
)


def as_ask(obj: Any) -> Ask:
    """Adapt a model: an `Ask` as it is, a callable through `CallableAsk`, others through installed integrations.

    Raises:
        ConfigurationError: It is neither; the message says what to pass instead.
    """
    if isinstance(obj, type):
        raise ConfigurationError(f"the class {obj.__name__} is no model: pass an instance of it")
    if isinstance(obj, Ask):
        return obj
    if callable(obj):
        return CallableAsk(obj)
    # Duck-typed, so that openai need not be imported; the client must not be guessed at, since it lacks the model.
    if hasattr(obj, "chat") and hasattr(obj.chat, "completions"):
        raise ConfigurationError(
            f"a bare client ({type(obj).__name__}) does not say which model to ask: pass OpenAIAsk(client, model='...')"
        )
    for adapter in entry_points(group=_ADAPTERS):
        adapted = adapter.load()(obj)
        if adapted is not None:
            return adapted  # type: ignore[no-any-return]
    hint = "; for a LangChain model: pip install langchain-invent" if hasattr(obj, "ainvoke") else ""
    if hasattr(obj, "achat") or hasattr(obj, "aquery"):
        hint = "; for a LlamaIndex model or query engine: pip install llama-index-evaluation-invent"
    raise ConfigurationError(f"cannot ask a {type(obj).__name__}: {_ACCEPTED}{hint}")
