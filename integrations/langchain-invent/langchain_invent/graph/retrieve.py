"""`retrieve_node`: retrieve, and on each hop search wider or by another wording."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.vectorstores import VectorStoreRetriever

from invent_chain.errors import ConfigurationError, InputError
from langchain_invent.graph.state import KEYS, Node, StateKeys, progress_in, question_in, values_of

Rewrite = Literal["none", "sibling"]


def retrieve_node(
    retriever: Runnable[str, Any] | Callable[[int], Runnable[str, Any]],
    *,
    k: int = 4,
    widen: int = 2,
    rewrite: Rewrite = "none",
    plain: bool = False,
    keys: StateKeys = KEYS,
) -> Node:
    """Return a node that retrieves; each time after a scoring it searches wider and adds what is new.

    It serves as the first retrieval too: that one is no hop.

    Args:
        retriever: A vector store's retriever, which is asked for `k` documents in each call; a retriever with a field
            `k`, of which a copy is asked; or a function that returns the retriever for `k` documents. Another runnable
            is asked as it is, so that only `rewrite` makes a hop find anything new.
        k: Documents of the first retrieval, >= 1.
        widen: Factor, >= 1, by which each hop asks for more.
        rewrite: "sibling" makes a hop search for the rewording of the question whose answers agree least with the
            answer, as it reads the question most differently; the question where there is none, or where the report
            has no texts. A `query` in the state goes before.
        plain: Whether documents are written as mappings of plain JSON types.
        keys: Names in the state.

    Raises:
        ConfigurationError: A setting is wrong.
    """
    if not isinstance(retriever, Runnable) and not callable(retriever):
        raise ConfigurationError(
            f"retriever is a {type(retriever).__name__}: pass a retriever, or a function that returns one for k"
        )
    for name, value in (("k", k), ("widen", widen)):
        if type(value) is not int or value < 1:
            raise ConfigurationError(f"{name}={value!r}: must be a whole number of at least 1")
    if rewrite not in ("none", "sibling"):
        raise ConfigurationError(f"rewrite={rewrite!r}: choose 'none' or 'sibling'")
    return _Retrieving(retriever, k, widen, rewrite, plain, keys).node()


@dataclasses.dataclass(frozen=True, slots=True)
class _Retrieving:
    retriever: Any
    k: int
    widen: int
    rewrite: Rewrite
    plain: bool
    keys: StateKeys

    def node(self) -> Node:
        return RunnableLambda(self.run, self.arun, name="retrieve")

    def run(self, state: Any, config: RunnableConfig) -> dict[str, Any]:
        values, progress, hop = self._begun(state)
        retriever, settings = self._wide(self.k * self.widen**hop)
        found = retriever.invoke(self._query(values, hop), config, **settings)
        return self._update(values, progress, hop, found)

    async def arun(self, state: Any, config: RunnableConfig) -> dict[str, Any]:
        values, progress, hop = self._begun(state)
        retriever, settings = self._wide(self.k * self.widen**hop)
        found = await retriever.ainvoke(self._query(values, hop), config, **settings)
        return self._update(values, progress, hop, found)

    def _begun(self, state: Any) -> tuple[dict[str, Any], dict[str, Any], int]:
        values = values_of(state)
        progress = progress_in(values, self.keys)
        return values, progress, progress[self.keys.hops] + 1 if progress[self.keys.history] else 0

    def _wide(self, k: int) -> tuple[Runnable[str, Any], dict[str, Any]]:
        """Return the retriever for `k` documents, and the keyword arguments of its call; the user's is not changed."""
        if isinstance(self.retriever, VectorStoreRetriever):
            return self.retriever, {"k": k}
        if isinstance(self.retriever, BaseRetriever) and "k" in type(self.retriever).model_fields:
            return self.retriever.model_copy(update={"k": k}), {}
        if isinstance(self.retriever, Runnable):
            return self.retriever, {}
        made = self.retriever(k)
        if not isinstance(made, Runnable):
            raise ConfigurationError(f"the function given as retriever returned a {type(made).__name__}: no retriever")
        return made, {}

    def _query(self, values: Mapping[str, Any], hop: int) -> str:
        question = question_in(values, self.keys)
        written = values.get(self.keys.query)
        if isinstance(written, str) and written.strip():
            return written
        if self.rewrite == "none" or hop == 0:
            return question
        siblings = (values.get(self.keys.uncertainty) or {}).get("siblings", ())
        compared = [s for s in siblings if s["operator"] != "original" and s["agreement"] is not None]
        return str(min(compared, key=lambda s: s["agreement"])["question"]) if compared else question

    def _update(self, values: Mapping[str, Any], progress: dict[str, Any], hop: int, found: Any) -> dict[str, Any]:
        kept = values.get(self.keys.documents) or () if hop else ()
        documents = _distinct([*kept, *found])
        return {
            **progress,
            self.keys.hops: hop,
            self.keys.query: "",
            self.keys.documents: [_plain(document) for document in documents] if self.plain else documents,
        }


def _distinct(documents: Iterable[Any]) -> list[Any]:
    """Return documents without those whose text an earlier one has: to a model, a second copy says nothing."""
    by_text: dict[str, Any] = {}
    for document in documents:
        by_text.setdefault(_text(document), document)
    return list(by_text.values())


def _text(document: Any) -> str:
    if isinstance(document, Document):
        return document.page_content
    if isinstance(document, Mapping) and isinstance(document.get("page_content"), str):
        return str(document["page_content"])
    raise InputError(f"documents holds a {type(document).__name__}: put Document or {{'page_content': text}} there")


def _plain(document: Any) -> dict[str, Any]:
    if isinstance(document, Document):
        return {"page_content": document.page_content, "metadata": document.metadata, "id": document.id}
    return dict(document)
