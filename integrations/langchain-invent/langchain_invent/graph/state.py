"""What a graph that routes on uncertainty knows: plain texts, numbers, a report as JSON types, documents."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypedDict

from langchain_core.runnables import Runnable
from pydantic import BaseModel

from invent_chain.errors import ConfigurationError, InputError

Node = Runnable[Any, dict[str, Any]]
"""A node with a sync and an async side, for `StateGraph.add_node`."""


class UncertainState(TypedDict, total=False):
    """State of a graph that routes on uncertainty: use it as it is, or inherit from it.

    Attributes:
        question: What the user asked, as text.
        query: What the next retrieval searches for; a node of yours may write it, and it is used once.
        documents: What was retrieved so far: `Document`s, or mappings with `page_content`.
        answer: The answer as text.
        answered_by: Who gave it: "model", "fallback", "human", or "abstain" where the answer is withheld.
        uncertainty: The report on the model's answer as plain JSON types; empty while that answer is not scored.
        history: Every score so far, each in [0, 1]; higher = more uncertain.
        hops: Retrievals after the first scoring, >= 0.
        fallback_used: Whether the fallback has answered.
        asked: The question to which the last four belong. With another question the nodes start afresh.
    """

    question: str
    query: str
    documents: list[Any]
    answer: str
    answered_by: str
    uncertainty: dict[str, Any]
    history: list[float]
    hops: int
    fallback_used: bool
    asked: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StateKeys:
    """What the keys of `UncertainState` are called in your state; pass the same to every node and router."""

    question: str = "question"
    query: str = "query"
    documents: str = "documents"
    answer: str = "answer"
    answered_by: str = "answered_by"
    uncertainty: str = "uncertainty"
    history: str = "history"
    hops: str = "hops"
    fallback_used: str = "fallback_used"
    asked: str = "asked"

    def __post_init__(self) -> None:
        names = [getattr(self, field.name) for field in dataclasses.fields(self)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigurationError(f"two state keys are both called {twice[0]!r}: give each its own name")


KEYS = StateKeys()


def begin(question: str, *, keys: StateKeys = KEYS) -> dict[str, Any]:
    """Return the whole input for a question, with everything left over from an earlier one cleared.

    Nodes notice by themselves that another question is asked in a thread. That the same one is asked again they
    cannot see, nor whether documents in the state are old: there, start with this.
    """
    return {
        keys.question: question,
        keys.query: "",
        keys.documents: [],
        keys.answer: "",
        keys.answered_by: "",
        keys.uncertainty: {},
        **progress(question, keys),
    }


def values_of(state: Any) -> dict[str, Any]:
    """Return a state as a dict; it may be a mapping, a pydantic model or a dataclass.

    Raises:
        InputError: It is something else.
    """
    if isinstance(state, Mapping):
        return dict(state)
    if isinstance(state, BaseModel):
        return {name: getattr(state, name) for name in type(state).model_fields}
    if dataclasses.is_dataclass(state) and not isinstance(state, type):
        return {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    raise InputError(f"the state is a {type(state).__name__}: use UncertainState, or another state with its keys")


def question_in(values: Mapping[str, Any], keys: StateKeys) -> str:
    """Return the question.

    Raises:
        InputError: There is none, or it is no text.
    """
    question = values.get(keys.question)
    if not isinstance(question, str) or not question.strip():
        raise InputError(
            f"the state has no question at {keys.question!r}: put the user's question there, as text, or name its key "
            "with keys=StateKeys(question=...)"
        )
    return question


def progress(question: str, keys: StateKeys) -> dict[str, Any]:
    """Return how far a new question has come: nowhere."""
    return {keys.asked: question, keys.history: [], keys.hops: 0, keys.fallback_used: False}


def progress_in(values: Mapping[str, Any], keys: StateKeys) -> dict[str, Any]:
    """Return how far the question in a state has come: what the state says, or nowhere if that is another question."""
    question = question_in(values, keys)
    fresh = progress(question, keys)
    if values.get(keys.asked) != question:
        return fresh
    return {key: values.get(key, start) for key, start in fresh.items()}
