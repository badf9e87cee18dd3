"""`InvEntropyEvaluator`: LlamaIndex's evaluator interface over the scorer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.evaluation import BaseEvaluator, EvaluationResult
from llama_index.core.llms import LLM
from llama_index.core.prompts.mixin import PromptDictType

from invent_chain import InvEntropy, UncertaintyReport
from invent_chain.errors import ConfigurationError, InputError
from invent_chain.hosting import unscored, without_model
from llama_index.evaluation.invent.ask import LLMAsk
from llama_index.evaluation.invent.scoring import with_remark

_WITH_CONTEXT = (
    "Context information is below.\n---------------------\n{context}\n---------------------\n"
    "Given the context information and not prior knowledge, answer the query.\nQuery: {question}\nAnswer: "
)


class InvEntropyEvaluator(BaseEvaluator):
    """Evaluate an answer by asking the same model siblings of the question; works on stored answers too.

    The result passes where the scorer's policy says "answer". Its `score` is P(right) where the scorer is calibrated,
    else one minus the uncertainty, in [0, 1]; higher = better, as everywhere in LlamaIndex. Its `feedback` says why in
    words. An answer that could not be scored gives an invalid result that does not pass.

    Args:
        llm: The model that gave the answers. It is never changed.
        scorer: How to score: `InvEntropy(n=..., r=..., similarity=...)`, without a model.
        context_template: Prompt for answers with contexts, with places for {context} and {question}.

    Raises:
        ConfigurationError: `llm` is no model, the scorer has one of its own, or the template lacks a place.
    """

    def __init__(self, llm: LLM, *, scorer: InvEntropy | None = None, context_template: str = _WITH_CONTEXT) -> None:
        if not isinstance(llm, LLM):
            raise ConfigurationError(f"llm is a {type(llm).__name__}: pass the model that gave the answers")
        for place in ("{context}", "{question}"):
            if place not in context_template:
                raise ConfigurationError(f"context_template has no {place}: put it in")
        self._llm, self._scorer, self._template = llm, without_model(scorer), context_template

    def _get_prompts(self) -> PromptDictType:
        return {}

    def _update_prompts(self, prompts_dict: PromptDictType) -> None:
        pass

    def evaluate(
        self,
        query: str | None = None,
        response: str | None = None,
        contexts: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> EvaluationResult:
        """Evaluate from sync code, also inside a running event loop, which it then blocks.

        Raises:
            InputError: There is no query or no response.
        """
        question, answer = _needed(query, response)
        try:
            report = self._scorer.score(question, answer=answer, ask=self._ask(contexts, sync=True))
        except Exception as error:  # noqa: BLE001 - one answer must not end a batch
            report = unscored(self._scorer, question, answer, error)
        return _result(with_remark(report, self._llm), contexts)

    async def aevaluate(
        self,
        query: str | None = None,
        response: str | None = None,
        contexts: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> EvaluationResult:
        """Evaluate.

        Raises:
            InputError: There is no query or no response.
        """
        question, answer = _needed(query, response)
        try:
            report = await self._scorer.ascore(question, answer=answer, ask=self._ask(contexts, sync=False))
        except Exception as error:  # noqa: BLE001 - see `evaluate`
            report = unscored(self._scorer, question, answer, error)
        return _result(with_remark(report, self._llm), contexts)

    def _ask(self, contexts: Sequence[str] | None, *, sync: bool) -> LLMAsk:
        if not contexts:
            return LLMAsk(self._llm, sync=sync)
        context = "\n\n".join(contexts)
        return LLMAsk(self._llm, template=lambda question: self._filled(question, context), sync=sync)

    def _filled(self, question: str, context: str) -> str:
        before, _, after = self._template.partition("{context}")
        return before.replace("{question}", question) + context + after.replace("{question}", question)


def _needed(query: str | None, response: str | None) -> tuple[str, str]:
    for name, value in (("query", query), ("response", response)):
        if not value:
            raise InputError(f"there is no {name}: the evaluator needs the question and the answer to it")
    return str(query), str(response)


def _result(report: UncertaintyReport, contexts: Sequence[str] | None) -> EvaluationResult:
    failed = report.status == "failed"
    return EvaluationResult(
        query=report.question,
        response=report.answer,
        contexts=contexts,
        passing=not failed and report.decision.action == "answer",
        score=None if failed else 1.0 - report.score if report.confidence is None else report.confidence,
        feedback=report.explain(),
        invalid_result=failed,
        invalid_reason="; ".join(report.problems) if failed else None,
    )
