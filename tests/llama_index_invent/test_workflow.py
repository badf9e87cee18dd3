"""The workflow takes the routes of the routing engine, streams its events, and lets a person answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core.workflow import HumanResponseEvent

from llama_index.evaluation.invent import HumanNeeded, Scored, UncertaintyWorkflow
from tests.llama_index_invent.test_engines import MORE, QUESTION, Scripted, engine_of, scorer, unsure


def run(workflow: UncertaintyWorkflow, reply: str | None = None) -> tuple[Any, list[Any]]:
    async def go() -> tuple[Any, list[Any]]:
        handler, seen = workflow.run(query=QUESTION), []
        async for event in handler.stream_events():
            seen.append(event)
            if isinstance(event, HumanNeeded) and reply is not None:
                assert "abstain" in event.prefix
                handler.ctx.send_event(HumanResponseEvent(response=reply))
        return await handler, seen

    return asyncio.run(go())


@pytest.mark.parametrize(
    ("say", "more", "fallback", "answer", "actions"),
    [
        ((lambda _k: "at nine"), 1, True, "at nine", ["answer"]),
        (unsure, 1, True, "at ten", ["retrieve_more", "retrieve_more", "fallback"]),
        (unsure, 0, False, "Ask the crew.", ["retrieve_more", "abstain"]),
    ],
)
def test_routes(say: Any, more: int, fallback: bool, answer: str, actions: list[str]) -> None:
    workflow = UncertaintyWorkflow(
        engine_of(Scripted(say)),
        scorer=scorer(policy=MORE),
        retrieve_more=[engine_of(Scripted(say)) for _ in range(more)],
        fallback=engine_of(Scripted(sure="at ten")) if fallback else None,
        abstain_message="Ask the crew.",
    )
    found, seen = run(workflow)
    assert found.response == answer
    assert [taken["action"] for taken in found.metadata["invent_route"]] == actions
    scored = [event for event in seen if isinstance(event, Scored)]
    assert [event.hop for event in scored] == list(range(len(scored)))
    assert scored[-1].score == found.metadata["invent"]["score"]


def test_a_person_can_answer() -> None:
    workflow = UncertaintyWorkflow(engine_of(Scripted(unsure)), scorer=scorer(), human=True)
    found, _ = run(workflow, reply="At noon, says the crew.")
    assert found.response == "At noon, says the crew."
    assert found.metadata["invent_answered_by"] == "human"
    assert found.metadata["invent_route"][-1]["action"] == "abstain"
