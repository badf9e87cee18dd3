"""invent-chain for LlamaIndex: query engines and an evaluator that say how uncertain an answer is."""

from llama_index.evaluation.invent.ask import LLMAsk
from llama_index.evaluation.invent.evaluator import InvEntropyEvaluator
from llama_index.evaluation.invent.query_engine import UncertaintyEvent, UncertaintyQueryEngine
from llama_index.evaluation.invent.routing import RoutingQueryEngine

__all__ = ["InvEntropyEvaluator", "LLMAsk", "RoutingQueryEngine", "UncertaintyEvent", "UncertaintyQueryEngine"]
