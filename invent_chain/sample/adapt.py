"""Make a model out of what the user passes."""

from __future__ import annotations

from typing import Any

from invent_chain.errors import ConfigurationError
from invent_chain.protocols import Ask
from invent_chain.sample.callable import CallableAsk

_ACCEPTED = (
    "pass a sync or async callable question -> answer, an OpenAIAsk, or an object with "
    "`async def ask(question, *, n, sampling) -> Replies`"
)


def as_ask(obj: Any) -> Ask:
    """Adapt a model: an `Ask` as it is, a callable through `CallableAsk`.

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
    hint = ""
    if hasattr(obj, "ainvoke"):
        hint = "; for a LangChain model: lambda question: model.invoke(question).text, or the package langchain-invent"
    raise ConfigurationError(f"cannot ask a {type(obj).__name__}: {_ACCEPTED}{hint}")
