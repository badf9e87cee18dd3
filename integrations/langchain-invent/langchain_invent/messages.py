"""Questions and answers inside messages: where the question stands, and what counts as the answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from invent_chain.errors import InputError

QuestionSelector = Callable[[Sequence[BaseMessage]], str]
"""Finds the question in messages. What it returns must stand word for word in a human message."""

KEY = "invent"
"""Key of the report in `response_metadata`."""


def last_human_text(messages: Sequence[BaseMessage]) -> str:
    """Return the text of the last human message.

    Raises:
        InputError: There is none.
    """
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            return str(message.text)
    raise InputError(f"no human message among {len(messages)} messages: name the question with question=")


def after(marker: str) -> QuestionSelector:
    """Return a selector of what follows the last `marker` in the last human message, such as `after("Question:")`.

    For prompts that hold context and question in one message: the context must not be perturbed.
    """

    def select(messages: Sequence[BaseMessage]) -> str:
        text = last_human_text(messages)
        _, found, question = text.rpartition(marker)
        if not found:
            raise InputError(f"the last human message does not hold the marker {marker!r}, after which the question is")
        return question.strip()

    return select


def with_question(messages: Sequence[BaseMessage], question: str, sibling: str) -> list[BaseMessage]:
    """Return the messages with the last place where `question` stands in a human message taken by `sibling`.

    Neither the messages nor the list are changed.

    Raises:
        InputError: The question does not stand in any human message.
    """
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index]
        if isinstance(message, HumanMessage):
            content = _replaced(message.content, question, sibling)
            if content is not None:
                return [*messages[:index], message.model_copy(update={"content": content}), *messages[index + 1 :]]
    raise InputError(
        f"the question ({len(question)} characters) does not stand word for word in a human message, so that siblings "
        "cannot be put in its place: name it with question=, or score a chain with input_key= instead"
    )


def stands_in(question: str, messages: Sequence[BaseMessage]) -> bool:
    """Whether the question stands word for word in a human message."""
    try:
        with_question(messages, question, question)
    except InputError:
        return False
    return True


def _replaced(content: Any, question: str, sibling: str) -> Any:
    """Return content with the last occurrence replaced, or None if there is none; content is text or blocks."""
    if isinstance(content, str):
        head, found, tail = content.rpartition(question)
        return f"{head}{sibling}{tail}" if found else None
    for index in range(len(content) - 1, -1, -1):
        block = content[index]
        if isinstance(block, str):
            block = {"type": "text", "text": block}
        if isinstance(block, dict) and isinstance(block.get("text"), str):
            text = _replaced(block["text"], question, sibling)
            if text is not None:
                return [*content[:index], {**block, "text": text}, *content[index + 1 :]]
    return None


def answer_text(output: Any) -> str:
    """Return what an output says, as text that can be compared.

    A message gives its text or, where it calls tools, the calls as JSON (`{"tool": ..., "arguments": ...}`). A mapping
    gives its "answer", "output", "result" or "text" where one is there. Other outputs give their JSON.
    """
    if isinstance(output, str):
        return output
    if isinstance(output, BaseMessage):
        calls = output.tool_calls if isinstance(output, AIMessage) else []
        if not calls:
            return str(output.text)
        plain = [{"tool": call["name"], "arguments": call["args"]} for call in calls]
        return _json(plain[0] if len(plain) == 1 else plain)
    if isinstance(output, Mapping):
        for key in ("answer", "output", "result", "text"):
            if key in output:
                return answer_text(output[key])
    if hasattr(output, "model_dump"):
        return _json(output.model_dump(mode="json"))
    return _json(output)


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    except (TypeError, ValueError, RecursionError):  # keys of several types, a loop: the output must not be lost for it
        return str(value)


def uncertainty_of(message: BaseMessage) -> dict[str, Any] | None:
    """Return the report that a message carries, as plain JSON types; None if it carries none."""
    report = message.response_metadata.get(KEY)
    return report if isinstance(report, dict) else None
