"""What is asked: the question inside an input, and the input that a sibling of it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage, convert_to_messages
from langchain_core.prompt_values import PromptValue

from invent_chain.errors import InputError
from langchain_invent.messages import QuestionSelector, with_question


@dataclass(frozen=True, slots=True)
class Subject:
    """A question, and how an input is made from a sibling of it."""

    question: str
    make_input: Callable[[str], Any]


def subject_of(given: Any, input_key: str, selector: QuestionSelector) -> Subject:
    """Find the question in a runnable's input: a text, messages, a prompt value, or a mapping that holds one of them.

    Raises:
        InputError: It is not there, or is nothing that can be perturbed.
    """
    if isinstance(given, str):
        return Subject(given, str)
    if isinstance(given, PromptValue):
        return _in_messages(given.to_messages(), selector)
    if isinstance(given, BaseMessage):
        return _in_messages([given], selector)
    if isinstance(given, (list, tuple)):
        return _in_messages(convert_to_messages(given), selector)
    if isinstance(given, Mapping):
        if input_key not in given:
            keys = ", ".join(repr(key) for key in given) or "none"
            raise InputError(f"the input has no key {input_key!r}; it has {keys}: name the question's with input_key=")
        inner = subject_of(given[input_key], input_key, selector)
        return Subject(inner.question, lambda sibling: {**given, input_key: inner.make_input(sibling)})
    raise InputError(f"the input is a {type(given).__name__}: pass a text, messages, or a mapping with the question")


def _in_messages(messages: list[BaseMessage], selector: QuestionSelector) -> Subject:
    question = selector(messages)
    with_question(messages, question, question)  # raises now, not when siblings are asked
    return Subject(question, lambda sibling: with_question(messages, question, sibling))
