"""invent-chain for LlamaIndex: engines, a model and an evaluator that say how uncertain an answer is."""

from llama_index.evaluation.invent.ask import LLMAsk
from llama_index.evaluation.invent.evaluator import InvEntropyEvaluator
from llama_index.evaluation.invent.llm import UncertainLLM
from llama_index.evaluation.invent.query_engine import UncertaintyQueryEngine
from llama_index.evaluation.invent.routing import RoutingQueryEngine
from llama_index.evaluation.invent.scoring import UncertaintyEvent
from llama_index.evaluation.invent.workflow import HumanNeeded, Scored, UncertaintyWorkflow

__all__ = [
    "HumanNeeded",
    "InvEntropyEvaluator",
    "LLMAsk",
    "RoutingQueryEngine",
    "Scored",
    "UncertainLLM",
    "UncertaintyEvent",
    "UncertaintyQueryEngine",
    "UncertaintyWorkflow",
]
