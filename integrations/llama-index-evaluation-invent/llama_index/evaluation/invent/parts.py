"""Copies of LlamaIndex objects with other generation settings; the user's objects are never changed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from types import MethodType
from typing import Any, Protocol, TypeVar, runtime_checkable

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.llms import LLM
from llama_index.core.response_synthesizers import BaseSynthesizer

from invent_chain.types import Sampling

Part = TypeVar("Part")


@runtime_checkable
class Scored(Protocol):
    """A model that scores its own answers; siblings go around that."""

    def unscored(self) -> LLM:
        """Return what it wraps."""
        ...


def bare(llm: LLM) -> LLM:
    """Return the model itself, without what scores its answers."""
    while isinstance(llm, Scored):
        llm = llm.unscored()
    return llm


def tuned(llm: LLM, sampling: Sampling) -> LLM:
    """Return a copy of a model with the siblings' settings; a setting that is no field of the model stays as it is."""
    llm = bare(llm)
    wanted = {"temperature": sampling.temperature, "max_tokens": sampling.max_tokens}
    fields = type(llm).model_fields
    return llm.model_copy(update={name: v for name, v in wanted.items() if v is not None and name in fields})


def for_siblings(part: Part, sampling: Sampling) -> Part:
    """Return a copy of a query engine or synthesizer that asks its models with other settings, without streaming."""
    copied: Part = _replaced(part, lambda llm: tuned(llm, sampling))
    return copied


def models(part: Any) -> Iterator[LLM]:
    """Yield the models that `for_siblings` reaches."""
    found: list[LLM] = []

    def note(llm: LLM) -> LLM:
        found.append(llm)
        return llm

    _replaced(part, note)
    yield from found


def _replaced(part: Any, change: Callable[[LLM], LLM]) -> Any:
    if isinstance(part, LLM):
        return change(bare(part))
    if not isinstance(part, (BaseQueryEngine, BaseSynthesizer)):
        return part
    copied = copy.copy(part)
    for name, value in vars(part).items():
        if isinstance(value, MethodType) and value.__self__ is part:
            new: Any = MethodType(value.__func__, copied)  # else it would go on asking through the original
        elif name == "_streaming":
            new = False
        else:
            new = _replaced(value, change)
        if new is not value:
            vars(copied)[name] = new
    return copied
