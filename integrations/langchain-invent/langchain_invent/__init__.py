"""invent-chain for LangChain: uncertainty of answers as metadata, and routes that act on it.

What needs an extra is a module of its own: `langchain_invent.middleware` (agents), `langchain_invent.graph`
(LangGraph).
"""

from langchain_invent.ask import ChatModelAsk, RunnableAsk
from langchain_invent.callback import UncertaintyCallbackHandler
from langchain_invent.chat_model import UncertainChatModel
from langchain_invent.messages import after, uncertainty_of
from langchain_invent.runnable import UncertaintyRunnable, with_uncertainty
from langchain_invent.trace import get_invent_callback

__all__ = [
    "ChatModelAsk",
    "RunnableAsk",
    "UncertainChatModel",
    "UncertaintyCallbackHandler",
    "UncertaintyRunnable",
    "after",
    "get_invent_callback",
    "uncertainty_of",
    "with_uncertainty",
]
__version__ = "0.1.0"
