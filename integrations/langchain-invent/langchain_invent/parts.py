"""Copies of a runnable in which some parts are others; the user's objects are never changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

from langchain_core.documents import Document
from langchain_core.language_models import BaseLanguageModel
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable
from pydantic import BaseModel

from invent_chain.types import Sampling

R = TypeVar("R", bound=BaseModel)


@runtime_checkable
class Scored(Protocol):
    """A runnable that scores its own answers; siblings go around that."""

    def unscored(self) -> Runnable[Any, Any]:
        """Return what it wraps."""
        ...


def replaced(part: Any, change: Callable[[Any], Any]) -> Any:
    """Return `part` with parts exchanged: `change` gives what a runnable becomes, or None to look inside it.

    Looks into the fields of pydantic runnables, into lists, tuples and mappings. Functions stay closed. Where nothing
    is exchanged, the very same object comes back.
    """
    if isinstance(part, Runnable):
        other = change(part)
        if other is not None:
            return other
        if not isinstance(part, BaseModel):
            return part
        fields = {name: getattr(part, name) for name in type(part).model_fields}
        changed = {name: new for name, value in fields.items() if (new := replaced(value, change)) is not value}
        return part.model_copy(update=changed) if changed else part
    if isinstance(part, Mapping):
        entries = {key: replaced(value, change) for key, value in part.items()}
        return entries if any(entries[key] is not part[key] for key in part) else part
    if type(part) in (list, tuple):
        items = [replaced(item, change) for item in part]
        return type(part)(items) if any(new is not old for new, old in zip(items, part, strict=True)) else part
    return part


def runnables(part: Any) -> Iterator[Runnable[Any, Any]]:
    """Yield the runnable and every runnable inside it that `replaced` reaches, outermost first."""
    found: list[Runnable[Any, Any]] = []
    replaced(part, found.append)
    yield from found


def tuned(model: R, sampling: Sampling, *, n: int = 1) -> R:
    """Return a copy of a language model for siblings: own temperature and length, no cache, no streaming.

    A global response cache would make all replications equal, and streaming would show siblings to the user. A
    setting that the model does not have as a field stays as it is.
    """
    wanted = {
        "cache": False,
        "disable_streaming": True,
        "streaming": False,
        "temperature": sampling.temperature,
        "max_tokens": sampling.max_tokens,
        "n": n if n > 1 else None,
    }
    fields = type(model).model_fields
    return model.model_copy(update={k: v for k, v in wanted.items() if v is not None and k in fields})


def sibling_runnable(
    runnable: Runnable[Any, Any], sampling: Sampling, recalled: Mapping[str, list[Document]]
) -> Runnable[Any, Any]:
    """Return a copy of a runnable for siblings: its models tuned, what scores itself unwrapped.

    Args:
        runnable: What the siblings are asked of.
        sampling: Settings of its models.
        recalled: Documents by the name of the retriever that found them; these retrievers are not asked again.
    """

    def change(part: Runnable[Any, Any]) -> Runnable[Any, Any] | None:
        if isinstance(part, Scored):
            return sibling_runnable(part.unscored(), sampling, recalled)
        if isinstance(part, BaseLanguageModel):
            return tuned(part, sampling)
        if isinstance(part, BaseRetriever) and part.get_name() in recalled:
            return _Recalled(name=part.get_name(), documents=recalled[part.get_name()])
        return None

    changed: Runnable[Any, Any] = replaced(runnable, change)
    return changed


class _Recalled(BaseRetriever):
    """Gives the documents that were found for the original question, whatever is asked."""

    documents: list[Document]

    def _get_relevant_documents(self, query: str, **kwargs: Any) -> list[Document]:
        return list(self.documents)
