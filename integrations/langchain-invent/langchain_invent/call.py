"""One call of a wrapped runnable: what is asked, what was seen below, how its siblings are asked and scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import anyio
from langchain_core.callbacks import BaseCallbackManager
from langchain_core.callbacks.manager import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.globals import get_llm_cache
from langchain_core.language_models import BaseChatModel, BaseLanguageModel
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import patch_config

from invent_chain import InvEntropy, UncertaintyReport
from invent_chain.errors import InputError
from invent_chain.split import joined
from invent_chain.types import Status
from langchain_invent.ask import ChatModelAsk, RunnableAsk, model_name, unbound
from langchain_invent.messages import QuestionSelector, answer_text, stands_in, with_question
from langchain_invent.parts import runnables
from langchain_invent.scoring import Answered, Judge, Scoring, with_remark
from langchain_invent.subject import Subject, subject_of
from langchain_invent.trace import for_primary, role
from langchain_invent.watch import Watch

Siblings = Literal["generation", "chain"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How siblings of a runnable are asked; `with_uncertainty` says what the fields mean.

    Attributes:
        split: Scorers for siblings that retrieve again and for those that do not; empty unless `siblings="chain"`.
    """

    scoring: Scoring
    model: Runnable[Any, Any] | None
    input_key: str
    question: QuestionSelector
    siblings: Siblings
    split: tuple[InvEntropy, ...] = ()


class Call:
    """One call of a wrapped runnable.

    Attributes:
        nested: Whether something above scores already, so that this call must not.

    Raises:
        InputError: The input does not hold the question; raised before anything is asked.
    """

    def __init__(
        self,
        bound: Runnable[Any, Any],
        plan: Plan,
        given: Any,
        run: CallbackManagerForChainRun | AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        settings: Mapping[str, Any],
    ) -> None:
        self.nested = role(run.metadata) is not None
        self._bound, self._plan, self._run, self._config, self._settings = bound, plan, run, config, settings
        self._watch = Watch()
        self._subject: Subject | None = None
        try:
            self._subject = subject_of(given, plan.input_key, plan.question)
        except InputError:
            if plan.model is None:  # else the question may yet be found in the prompt
                raise

    def primary_config(self) -> RunnableConfig:
        """Return the config of the wrapped runnable's own run, which is watched."""
        manager = self._run.get_child()
        return patch_config(self._config, callbacks=manager if self.nested else for_primary(manager, self._watch))

    def score(self, output: Any) -> UncertaintyReport:
        """Score what the wrapped runnable gave."""
        answered, judge = self._prepared(output)
        return self._plan.scoring.score(answered, judge)

    async def ascore(self, output: Any) -> UncertaintyReport:
        """Score what the wrapped runnable gave."""
        answered, judge = self._prepared(output)
        return await self._plan.scoring.ascore(answered, judge)

    def _prepared(self, output: Any) -> tuple[Answered, Judge]:
        if self._plan.model is not None:
            return self._replay(self._plan.model, output)
        return self._rerun(cast("Subject", self._subject), answer_text(output))

    def _rerun(self, subject: Subject, answer: str) -> tuple[Answered, Judge]:
        """Ask siblings of the whole runnable."""
        bound, plan = self._bound, self._plan
        models = [part for part in runnables(bound) if isinstance(part, BaseLanguageModel)]
        chat_model = next((model for model in reversed(models) if isinstance(model, BaseChatModel)), None)
        name = model_name(models[-1]) if models else bound.get_name()

        async def ascore(scorer: InvEntropy, config: RunnableConfig, sync: bool, recalled: bool) -> UncertaintyReport:
            again = Watch()
            cast("BaseCallbackManager", config["callbacks"]).add_handler(again)
            ask = RunnableAsk(
                bound,
                make_input=subject.make_input,
                config=config,
                settings=self._settings,
                recalled=self._watch.documents if recalled else None,
                model=chat_model,
                name=name,
                sync=sync,
            )
            report = await scorer.ascore(subject.question, answer=answer, ask=ask)
            hidden = again.retrievals if recalled else 0
            return _with_remarks(report, models, scorer.fingerprint.temperature, hidden)

        async def judge(config: RunnableConfig, sync: bool) -> UncertaintyReport:
            if plan.siblings == "generation":
                return await ascore(plan.scoring.scorer, config, sync, recalled=True)
            whole, kept = plan.split
            reports: dict[bool, UncertaintyReport] = {}

            async def keep(scorer: InvEntropy, recalled: bool) -> None:
                reports[recalled] = await ascore(scorer, config, sync, recalled)

            async with anyio.create_task_group() as group:
                group.start_soon(keep, whole, False)
                group.start_soon(keep, kept, True)
            return joined(reports[False], reports[True])

        return Answered(subject.question, answer, name, self._config, self._run), judge

    def _replay(self, model: Runnable[Any, Any], output: Any) -> tuple[Answered, Judge]:
        """Ask siblings of a model, with the prompt that the runnable's last model call saw."""
        chat_model, bound = unbound(model)
        seen = self._watch.last
        known = self._subject.question if self._subject else ""
        answer = seen.answer if seen else answer_text(output)

        async def judge(config: RunnableConfig, sync: bool) -> UncertaintyReport:
            if seen is None:
                raise InputError("no chat model call was seen below the wrapped runnable: leave out model=")
            question = known if known and stands_in(known, seen.messages) else self._plan.question(seen.messages)
            with_question(seen.messages, question, question)
            ask = ChatModelAsk(
                cast("BaseChatModel", chat_model),
                messages=lambda sibling: with_question(seen.messages, question, sibling),
                config=config,
                settings=bound,
                sync=sync,
            )
            report = await self._plan.scoring.scorer.ascore(question, answer=answer, ask=ask)
            return report if question == known else with_remark(report, question, self._plan.question)

        return Answered(known, answer, model_name(chat_model), self._config, self._run), judge


def _with_remarks(
    report: UncertaintyReport, models: Sequence[Any], temperature: float | None, hidden: int
) -> UncertaintyReport:
    """Say what siblings could not be given: settings that are out of reach, retrievals that happened again."""
    notes, problems = list(report.notes), list(report.problems)
    if not models:
        notes.append("no model is visible in the runnable: siblings ran with its own temperature; pass model=...")
        if get_llm_cache() is not None:
            problems.append(
                "a global response cache is set and the model is hidden in a function, so that siblings may be copies "
                "out of the cache: pass model=..."
            )
    elif temperature is not None and not any("temperature" in type(model).model_fields for model in models):
        notes.append(f"{model_name(models[-1])} has no setting temperature: siblings ran with its own")
    if hidden:
        notes.append(
            f"{hidden} retrievals ran again for siblings, since the retriever is hidden in a function: "
            "wrap the generation step alone"
        )
    status: Status = "degraded" if report.status == "ok" and problems else report.status
    return replace(report, notes=tuple(notes), problems=tuple(problems), status=status)
