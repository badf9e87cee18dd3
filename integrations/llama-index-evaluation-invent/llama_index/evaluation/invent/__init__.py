"""invent-chain for LlamaIndex: engines, a model and an evaluator that say how uncertain an answer is."""

from llama_index.evaluation.invent.ask import LLMAsk
from llama_index.evaluation.invent.evaluator import InvEntropyEvaluator
from llama_index.evaluation.invent.llm import UncertainLLM
from llama_index.evaluation.invent.query_engine import UncertaintyQueryEngine
from llama_index.evaluation.invent.routing import RoutingQueryEngine
from llama_index.evaluation.invent.scoring import UncertaintyEvent

__all__ = [
    "InvEntropyEvaluator",
    "LLMAsk",
    "RoutingQueryEngine",
    "UncertainLLM",
    "UncertaintyEvent",
    "UncertaintyQueryEngine",
]
