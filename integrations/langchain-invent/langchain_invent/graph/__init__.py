"""LangGraph graphs that route on uncertainty: answer, retrieve more, fall back to another model, or abstain.

Example:
    ```python
    router = make_router(answer=END, retrieve_more="retrieve", fallback="fallback", abstain="abstain")
    after_fallback = make_router(answer=END, retrieve_more=None, fallback=None, abstain="abstain")

    builder = StateGraph(UncertainState)
    builder.add_node("retrieve", retrieve_node(store.as_retriever()))
    builder.add_node("score", score_node(chain, scorer=scorer))
    builder.add_node("fallback", fallback_node(strong_chain, scorer=scorer))
    builder.add_node("abstain", abstain_node("I am not sure enough to answer."))
    builder.add_edge(START, "retrieve")
    builder.add_edge("retrieve", "score")
    builder.add_conditional_edges("score", router, router.path_map)
    builder.add_conditional_edges("fallback", after_fallback, after_fallback.path_map)
    builder.add_edge("abstain", END)
    ```

Put `ask_human_node()` in the place of `abstain_node` to hand uncertain questions to a person.
"""

from __future__ import annotations

try:
    import langgraph  # noqa: F401 - for the error that names the extra
except ImportError as error:
    raise ImportError("langchain_invent.graph needs LangGraph: pip install 'langchain-invent[graph]'") from error

from langchain_invent.graph.answer import fallback_node, score_node
from langchain_invent.graph.leave import abstain_node, ask_human_node
from langchain_invent.graph.retrieve import retrieve_node
from langchain_invent.graph.router import Router, make_router
from langchain_invent.graph.state import StateKeys, UncertainState, begin

__all__ = [
    "Router",
    "StateKeys",
    "UncertainState",
    "abstain_node",
    "ask_human_node",
    "begin",
    "fallback_node",
    "make_router",
    "retrieve_node",
    "score_node",
]
