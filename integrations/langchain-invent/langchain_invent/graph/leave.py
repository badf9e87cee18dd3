"""Nodes for what the model should not answer: `abstain_node` in your words, `ask_human_node` for a person's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.runnables import RunnableLambda
from langgraph.types import interrupt

from invent_chain.errors import ConfigurationError
from langchain_invent.graph.state import KEYS, Node, StateKeys, question_in, values_of


def abstain_node(message: str | Callable[[Mapping[str, Any]], str], *, keys: StateKeys = KEYS) -> Node:
    """Return a node that answers in your words instead of giving an answer that is not to be trusted.

    Args:
        message: What to say, or a function of the state that returns it.
        keys: Names in the state. The withheld answer stays in the report, where that quotes texts.

    Raises:
        ConfigurationError: The message is empty or no text.
    """
    given: object = message
    if not callable(given) and (not isinstance(given, str) or not given.strip()):
        raise ConfigurationError(f"message={message!r}: pass what to say to the user, or a function that returns it")

    def abstain(state: Any) -> dict[str, Any]:
        return {keys.answer: message(values_of(state)) if callable(message) else message, keys.answered_by: "abstain"}

    async def aabstain(state: Any) -> dict[str, Any]:
        return abstain(state)

    return RunnableLambda(abstain, aabstain, name="abstain")


def ask_human_node(*, keys: StateKeys = KEYS) -> Node:
    """Return a node that interrupts the graph and takes a person's answer; the graph needs a checkpointer.

    The interrupt carries `{"question", "answer", "score", "status", "why"}`. Resume with `Command(resume="...")` or
    `Command(resume={"answer": "..."})`; anything else interrupts again, with a `problem`. Nothing is asked of a model.
    """

    def ask(state: Any) -> dict[str, Any]:
        values = values_of(state)
        report = values.get(keys.uncertainty) or {}
        payload = {
            "question": question_in(values, keys),
            "answer": values.get(keys.answer, ""),
            "score": report.get("score"),
            "status": report.get("status"),
            "why": report.get("decision", {}).get("reason"),
        }
        told = interrupt(payload)
        while not (answer := _told_answer(told)):
            told = interrupt({**payload, "problem": "resume with the answer: a text, or {'answer': text}"})
        return {keys.answer: answer, keys.answered_by: "human"}

    async def aask(state: Any) -> dict[str, Any]:
        return ask(state)

    return RunnableLambda(ask, aask, name="ask_human")


def _told_answer(told: Any) -> str:
    answer = told.get("answer") if isinstance(told, Mapping) else told
    return answer if isinstance(answer, str) and answer.strip() else ""
