"""Ask the model: adapters for models, and the sampler that asks siblings within bounds."""

from invent_chain.sample.adapt import as_ask
from invent_chain.sample.asking import Asking
from invent_chain.sample.callable import CallableAsk
from invent_chain.sample.gate import Gate
from invent_chain.sample.local import LocalAsk
from invent_chain.sample.openai import OpenAIAsk
from invent_chain.sample.sampled import Limits, Outcome, Sampled
from invent_chain.sample.sampler import ask_once, sample
from invent_chain.sample.settings import prompt_of

__all__ = [
    "Asking",
    "CallableAsk",
    "Gate",
    "Limits",
    "LocalAsk",
    "OpenAIAsk",
    "Outcome",
    "Sampled",
    "as_ask",
    "ask_once",
    "prompt_of",
    "sample",
]
