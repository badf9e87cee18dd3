"""invent-chain for LangChain: uncertainty of answers as metadata, and routes that act on it.

What needs LangGraph or `langchain` is imported on first use, so that the rest works without them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from langchain_invent.ask import ChatModelAsk, RunnableAsk
from langchain_invent.chat_model import UncertainChatModel
from langchain_invent.messages import after, uncertainty_of
from langchain_invent.runnable import UncertaintyRunnable, with_uncertainty
from langchain_invent.trace import get_invent_callback

if TYPE_CHECKING:
    from langchain_invent.middleware import InvEntropyMiddleware, UncertainAnswerError

_LAZY = {
    "InvEntropyMiddleware": "middleware",
    "UncertainAnswerError": "middleware",
}

__all__ = [
    "ChatModelAsk",
    "InvEntropyMiddleware",
    "RunnableAsk",
    "UncertainAnswerError",
    "UncertainChatModel",
    "UncertaintyRunnable",
    "after",
    "get_invent_callback",
    "uncertainty_of",
    "with_uncertainty",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
