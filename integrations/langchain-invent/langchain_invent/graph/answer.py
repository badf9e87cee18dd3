"""Nodes that answer and score: `score_node`, and `fallback_node` for a stronger model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, RunnableSerializable
from langgraph.config import get_stream_writer
from pydantic import ConfigDict

from invent_chain import InvEntropy, UncertaintyReport
from invent_chain.errors import ConfigurationError, InputError
from langchain_invent.call import Siblings
from langchain_invent.graph.state import KEYS, Node, StateKeys, progress_in, values_of
from langchain_invent.messages import KEY, answer_text
from langchain_invent.runnable import UncertaintyRunnable, with_uncertainty


def score_node(
    generate: Runnable[Any, Any],
    *,
    scorer: InvEntropy | None = None,
    model: Runnable[Any, Any] | None = None,
    siblings: Siblings = "generation",
    inputs: Callable[[Mapping[str, Any]], Any] | None = None,
    input_key: str | None = None,
    existing: bool = False,
    text: bool = True,
    feedback: bool = False,
    keys: StateKeys = KEYS,
) -> Node:
    """Return a node that answers and scores the answer, or scores the answer that is in the state.

    It asks the siblings. An `interrupt` therefore belongs in a later node: resuming runs a whole node again.
    The score goes to `stream_mode="custom"` too, as `{"invent": {"score": ..., "action": ..., ...}}`; siblings do not
    show in `stream_mode="messages"`.

    Args:
        generate: What answers, from the documents in the state: a runnable, or one from `with_uncertainty`, which then
            brings the settings of that function along.
        scorer: See `with_uncertainty`, as for `model`, `siblings` and `feedback`.
        model: Ask siblings of this chat model instead of running `generate` again.
        siblings: "generation" or "chain".
        inputs: Makes the input of `generate` out of the state; by default the state itself, as a dict.
        input_key: Key of the question in that input; by default the state's own.
        existing: Score the answer that an earlier node wrote, instead of generating one.
        text: Whether the report in the state quotes questions and answers. Rewriting by siblings needs them.
        feedback: Whether the score is sent to LangSmith as feedback too.
        keys: Names in the state.

    Raises:
        ConfigurationError: A setting is wrong; the message says what to pass instead.
    """
    shell = _shell(generate, scorer, model, siblings, input_key or keys.question, feedback)
    if existing and shell.plan.model is not None:
        raise ConfigurationError("existing=True makes no call whose prompt model=... could use: choose one of the two")
    return _Answering(shell, _checked_inputs(inputs), existing, text, keys, "model").node("score")


def fallback_node(
    generate_strong: Runnable[Any, Any],
    *,
    score: bool = True,
    scorer: InvEntropy | None = None,
    model: Runnable[Any, Any] | None = None,
    siblings: Siblings = "generation",
    inputs: Callable[[Mapping[str, Any]], Any] | None = None,
    input_key: str | None = None,
    text: bool = True,
    feedback: bool = False,
    keys: StateKeys = KEYS,
) -> Node:
    """Return a node that answers with another, stronger model or chain.

    Args:
        generate_strong: What answers; see `score_node`, also for the arguments not named here.
        score: Whether its answer is scored, at the price of its siblings. Route on that score with a router of its
            own, `make_router(retrieve_more=None, fallback=None)`. Without, `uncertainty` is emptied, since the report
            there is about another answer, and no router can follow.
        scorer: How to score.
        model: Ask siblings of this chat model.
        siblings: "generation" or "chain".
        inputs: Makes the input out of the state.
        input_key: Key of the question in that input.
        text: Whether the report in the state quotes questions and answers.
        feedback: Whether the score is sent to LangSmith as feedback too.
        keys: Names in the state.

    Raises:
        ConfigurationError: A setting is wrong; the message says what to pass instead.
    """
    if score:
        runnable: Runnable[Any, Any] = _shell(
            generate_strong, scorer, model, siblings, input_key or keys.question, feedback
        )
    elif scorer is not None or model is not None:
        raise ConfigurationError("score=False asks no siblings: leave out scorer= and model=")
    elif not isinstance(generate_strong, Runnable):
        raise ConfigurationError(f"fallback_node got a {type(generate_strong).__name__}: pass a runnable")
    else:
        runnable = generate_strong
        if isinstance(runnable, UncertaintyRunnable):
            runnable = runnable.unscored()
    return _Answering(runnable, _checked_inputs(inputs), False, text, keys, "fallback").node("fallback")


def _shell(
    generate: Runnable[Any, Any],
    scorer: InvEntropy | None,
    model: Runnable[Any, Any] | None,
    siblings: Siblings,
    input_key: str,
    feedback: bool,
) -> UncertaintyRunnable:
    if not isinstance(generate, UncertaintyRunnable):
        return with_uncertainty(
            generate,
            model=model,
            scorer=scorer,
            input_key=input_key,
            siblings=siblings,
            output="pair",
            feedback=feedback,
        )
    if scorer is not None or model is not None or siblings != "generation" or feedback:
        raise ConfigurationError(
            "the runnable comes from with_uncertainty already: pass scorer=, model=, siblings= and feedback= there"
        )
    return generate.model_copy(update={"output": "pair"})


def _checked_inputs(inputs: Any) -> Any:
    if inputs is not None and not callable(inputs):
        raise ConfigurationError(f"inputs is a {type(inputs).__name__}: pass a function that takes the state")
    return inputs


@dataclasses.dataclass(frozen=True, slots=True)
class _Answering:
    """What the nodes that answer have in common."""

    runnable: Runnable[Any, Any]
    inputs: Callable[[Mapping[str, Any]], Any] | None
    existing: bool
    text: bool
    keys: StateKeys
    by: Literal["model", "fallback"]

    def node(self, name: str) -> Node:
        return RunnableLambda(self.run, self.arun, name=name)

    def run(self, state: Any, config: RunnableConfig) -> dict[str, Any]:
        values = values_of(state)
        progress = progress_in(values, self.keys)
        return self._update(values, progress, self._asked(values).invoke(self._given(values), config))

    async def arun(self, state: Any, config: RunnableConfig) -> dict[str, Any]:
        values = values_of(state)
        progress = progress_in(values, self.keys)
        return self._update(values, progress, await self._asked(values).ainvoke(self._given(values), config))

    def _given(self, values: dict[str, Any]) -> Any:
        return values if self.inputs is None else self.inputs(values)

    def _asked(self, values: Mapping[str, Any]) -> Runnable[Any, Any]:
        if not self.existing or not isinstance(self.runnable, UncertaintyRunnable):
            return self.runnable
        answer = values.get(self.keys.answer)
        if not isinstance(answer, str) or not answer.strip():
            raise InputError(
                f"the state has no answer at {self.keys.answer!r} to score: write one before, or leave out existing="
            )
        return self.runnable.model_copy(update={"bound": _Known(bound=self.runnable.bound, answer=answer)})

    def _update(self, values: Mapping[str, Any], progress: dict[str, Any], result: Any) -> dict[str, Any]:
        keys = self.keys
        if self.by == "fallback":
            progress = {**progress, keys.fallback_used: True}
        if not isinstance(self.runnable, UncertaintyRunnable):
            return {**progress, keys.answer: answer_text(result), keys.answered_by: self.by, keys.uncertainty: {}}
        report = result.get("report") if isinstance(result, Mapping) else None
        if not isinstance(report, UncertaintyReport):
            raise InputError(
                "the answer was not scored, since the graph runs below another with_uncertainty or an "
                "UncertainChatModel: score in one place"
            )
        _tell(report, progress[keys.hops], self.by)
        return {
            **progress,
            keys.answer: answer_text(result["output"]),
            keys.answered_by: values.get(keys.answered_by) or self.by if self.existing else self.by,
            keys.uncertainty: report.to_dict(text=self.text),
            keys.history: [*progress[keys.history], report.score],
        }


def _tell(report: UncertaintyReport, hops: int, by: str) -> None:
    """Write the score to the custom stream, if the node runs in a graph."""
    try:
        write = get_stream_writer()
    except (RuntimeError, KeyError):  # called outside a graph, as in a test of one node
        return
    told = {
        "score": report.score,
        "confidence": report.confidence,
        "status": report.status,
        "action": report.decision.action,
        "answered_by": by,
        "hops": hops,
    }
    write({KEY: told})


class _Known(RunnableSerializable[Any, str]):
    """Gives an answer that is there already; siblings go around it (see `parts.Scored`) and run what is bound."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    bound: Runnable[Any, Any]
    answer: str

    def unscored(self) -> Runnable[Any, Any]:
        return self.bound

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> str:  # noqa: A002
        return self.answer
