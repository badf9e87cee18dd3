"""Uncertainty for LLM applications: Inv-Entropy over perturbed siblings of the question (arXiv 2506.09684)."""

from invent_chain.decide import Thresholds
from invent_chain.embed import SentenceTransformerEncoder
from invent_chain.errors import InventError
from invent_chain.perturb import GAAP
from invent_chain.pipeline import InvEntropy
from invent_chain.sample import OpenAIAsk
from invent_chain.types import Decision, Perturbation, Sibling, UncertaintyReport

__all__ = [
    "GAAP",
    "Decision",
    "InvEntropy",
    "InventError",
    "OpenAIAsk",
    "Perturbation",
    "SentenceTransformerEncoder",
    "Sibling",
    "Thresholds",
    "UncertaintyReport",
]
__version__ = "0.1.0"
