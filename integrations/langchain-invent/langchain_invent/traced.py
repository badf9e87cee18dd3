"""What a LangSmith server is told, as records, and the store that puts the parts together."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class TracedRun:
    """A run as LangSmith would store it: what was sent at its start, completed by what was sent later.

    Attributes:
        id: Its UUID.
        name: Its name; "" if only the end of the run was received.
        run_type: "chain", "llm", "tool", "retriever", ...
        parent_id: UUID of the run it is part of; None for the root of a trace.
        trace_id: UUID of the root of its trace.
        project: The project it was sent to.
        tags: Its tags.
        metadata: Its metadata.
        inputs: What went in.
        outputs: What came out; empty while it runs or if it failed.
        error: Why it failed, else None.
        ended: Whether the end of the run was received.
        children: The runs that name it as their parent, in the order of their start.
    """

    id: str
    name: str
    run_type: str
    parent_id: str | None
    trace_id: str
    project: str
    tags: tuple[str, ...]
    metadata: Mapping[str, Any]
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    error: str | None
    ended: bool
    children: tuple[TracedRun, ...] = ()


@dataclass(frozen=True, slots=True)
class TracedFeedback:
    """One feedback on a run.

    Attributes:
        id: Its UUID.
        key: What was judged.
        score: The judgement as a number or bool, if it is one.
        value: The judgement in another form, if it has one.
        comment: Why, if someone said.
        run_id: UUID of the run; None for feedback on a project.
        trace_id: UUID of the root of its trace, if it was sent along.
    """

    id: str
    key: str
    score: float | bool | None
    value: Any
    comment: str | None
    run_id: str | None
    trace_id: str | None


class Store:
    """What was received, guarded by one lock."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._posts: dict[str, dict[str, Any]] = {}
        self._patches: defaultdict[str, dict[str, Any]] = defaultdict(dict)
        self._feedback: dict[str, dict[str, Any]] = {}

    def add(self, parts: Iterable[tuple[str, str, dict[str, Any]]]) -> None:
        """Take (operation, id, fields); later fields complete or replace earlier ones."""
        with self._changed:
            for operation, key, fields in parts:
                kept = {"post": self._posts, "patch": self._patches, "feedback": self._feedback}[operation]
                kept[key] = _merged(kept.get(key, {}), fields)
            self._changed.notify_all()

    def wait(self, done: Callable[[], bool], timeout: float) -> bool:
        """Wait until `done`, which is asked after each change; return whether it is, within `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(done, timeout)

    def runs(self) -> list[TracedRun]:
        """Return the runs received so far, in the order of their start."""
        with self._changed:  # a patch may overtake its post, so they are merged only here
            merged = {
                key: _merged(self._posts.get(key, {}), self._patches.get(key, {}))
                for key in {**self._posts, **self._patches}
            }
        order = sorted(merged, key=lambda key: str(merged[key].get("dotted_order") or "~"))  # "~": unknown, last
        flat = {key: _run(key, merged[key]) for key in order}
        children: defaultdict[str, list[str]] = defaultdict(list)
        for run in flat.values():
            if run.parent_id is not None:
                children[run.parent_id].append(run.id)
        whole: dict[str, TracedRun] = {}

        def completed(key: str) -> TracedRun:
            if key not in whole:
                whole[key] = replace(flat[key], children=tuple(map(completed, children[key])))
            return whole[key]

        return [completed(key) for key in order]

    def feedback(self) -> list[TracedFeedback]:
        """Return the feedback received so far."""
        with self._changed:
            return [
                TracedFeedback(
                    id=key,
                    key=str(fields.get("key") or ""),
                    score=fields.get("score"),
                    value=fields.get("value"),
                    comment=fields.get("comment"),
                    run_id=fields.get("run_id"),
                    trace_id=fields.get("trace_id"),
                )
                for key, fields in self._feedback.items()
            ]


def _merged(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**before, **{name: value for name, value in after.items() if value is not None}}
    old, new = before.get("extra") or {}, after.get("extra") or {}
    if old and new:
        metadata = {**(old.get("metadata") or {}), **(new.get("metadata") or {})}
        merged["extra"] = {**old, **new, "metadata": metadata}
    return merged


def _run(key: str, fields: Mapping[str, Any]) -> TracedRun:
    return TracedRun(
        id=key,
        name=str(fields.get("name") or ""),
        run_type=str(fields.get("run_type") or ""),
        parent_id=fields.get("parent_run_id"),
        trace_id=str(fields.get("trace_id") or key),
        project=str(fields.get("session_name") or ""),
        tags=tuple(fields.get("tags") or ()),
        metadata=(fields.get("extra") or {}).get("metadata") or {},
        inputs=fields.get("inputs") or {},
        outputs=fields.get("outputs") or {},
        error=fields.get("error"),
        ended=fields.get("end_time") is not None,
    )
