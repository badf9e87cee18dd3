"""`InvEntropy`: perturb, ask, compare, walk, measure, decide. Start reading here.

`ascore` is the whole story; the rooms it calls hold the chapters.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import numpy as np

from invent_chain.assess import Assessment, Variant
from invent_chain.background import Background, Pending
from invent_chain.cache import as_cache
from invent_chain.decide import Policy, Thresholds
from invent_chain.embed import CosineSimilarity, as_similarity
from invent_chain.errors import CalibrationError, ConfigurationError, EmbeddingError, InputError, describe
from invent_chain.gathered import missing_answers, others, siblings_of
from invent_chain.loop_thread import LoopThread
from invent_chain.measures import as_uncertainty
from invent_chain.offload import PerLoop
from invent_chain.perturb import as_perturber
from invent_chain.procedure import Procedure
from invent_chain.progress import Progress, Teller
from invent_chain.protocols import Ask, BatchAsk, Cache, PerturbContext, Similarity, Sink
from invent_chain.rounds import Mode, Stored
from invent_chain.rules import Situation, apply
from invent_chain.sample import Asking, Gate, Limits, as_ask, ask_once, prompt_of
from invent_chain.sample.budget import tokens_of
from invent_chain.sample.settings import most_at_once
from invent_chain.sequential import Guarantee
from invent_chain.settings import check_scorer
from invent_chain.structure import agreement_by_part
from invent_chain.types import (
    Decision,
    Estimate,
    Fingerprint,
    Perturbed,
    Price,
    Sampling,
    Sibling,
    Status,
    UncertaintyReport,
    Usage,
)

if TYPE_CHECKING:
    from invent_chain.calibrate import Calibration

logger = logging.getLogger(__name__)

ScoreName = Literal["consensus", "support", "normalised"]
_R, _REPLICATIONS = 3, 23
"""Half of 50 answers for the question itself, half for nine siblings: the plan that measured best (docs/method.md)."""


class InvEntropy:
    """Score answers of a model by asking the same model perturbed siblings of the question.

    Safe to share between threads and tasks; holds no state of a question. The objects passed in are never changed.

    Args:
        ask: The model: any sync or async callable `question -> answer`, or an `Ask` such as `OpenAIAsk`. None where
            each call brings its own, as the integrations do.
        n: Perturbations, >= 1 (the paper: 9). Not used by `perturber="none"`.
        r: Answers to each sibling, >= 1. None is the plan that measured best (docs/method.md): 3, and 23 to the
            question itself. With r given, the question is asked r times as well (the paper: r=5).
        replications: Answers to the question itself, the primary answer included, >= 1; None as said at `r`.
        perturber: "gaap", "paraphrase", "none" (replications only), a `Perturber`, or a callable
            `(question, n) -> texts`.
        similarity: How texts are compared: a `Similarity`, an encoder, a callable `texts -> array`, the name or folder
            of a sentence-transformers model. None compares words, not meaning: it needs nothing installed, and the
            report says so.
        temperature: Sampling temperature of the siblings (the paper: 0.7); None leaves the model's own.
        max_tokens: Longest answer of a sibling in tokens; None leaves the model's own.
        draws: Bootstrap draws B >= 1 (the paper: 30).
        seed: Seed of perturbation and bootstrap: the same answers give the same report.
        drop_echo: Drop the question's own words from answers before comparing them, so that the echo of the question
            does not drown the difference in meaning. False is the paper's behaviour.
        score: Which measure becomes `report.score`. "consensus" and "support" judge this answer (score = 1 - the
            measure); "normalised" is Inv-Entropy between its two ends and judges the question.
        policy: Turns score and status into a `Decision`.
        mode: "fixed" asks for the whole plan (the paper). "adaptive" asks in rounds and stops once the policy's
            decision is settled: the score is then what is expected of the whole plan. "screen" asks two siblings
            first, and the rest only if their answers do not all agree with the primary one, or all differ from it; it
            promises nothing. Both count answers that say the same, so they need score="consensus".
        error: Mode "adaptive": probability of settling for another decision than the whole plan would lead to.
        guarantee: Mode "adaptive": whether `error` holds for "each" question, or on "average" over questions; see
            `sequential.SequentialTest`.
        min_answers: Mode "adaptive": answers asked for before the asking may stop, >= 0. A decision is often settled
            by few, and questions can hardly be ranked by few: for comparing scores ask for more.
        variant: "paper", or "released" for the bootstrap, MAX and WD of the paper's released code.
        concurrency: Most requests in flight for one question, >= 1.
        max_in_flight: Most requests in flight for all questions of an event loop, >= 1: the window narrows where the
            model answers 429 and widens again. First come, first served.
        timeout: Longest time for one request in seconds, > 0; siblings in one generation (`LocalAsk`) have `deadline`
            alone.
        max_requests: Most requests for the siblings of one question; what is missing then degrades the report.
        max_total_tokens: Most tokens for the siblings of one question, read and written; likewise.
        max_cost: Most money for the siblings of one question; likewise. Needs a price for the model.
        prices: Price by name of the model, in any one currency; fills `usage.cost`.
        deadline: Longest time for all siblings of one question in seconds; likewise.
        hedge: Seconds after which a request that is still unanswered is sent once more; None never does.
        cache: Where answers of siblings and embeddings are kept: True for a file in the user's folder for caches, a
            `MemoryCache`, `SqliteCache` or `RedisCache`; None for none, since a cache keeps what the model said.
            Answers are cached only for models that say what they depend on (`OpenAIAsk` does, a plain callable not).
        max_question_chars: Longest question accepted. Long questions usually hold context that must not be perturbed.
        calibration: A `Calibration`, or the path of one, made for these settings: it fills `report.confidence`. A
            report that is not "ok", or is about another model, has none: its score is not comparable.
        sinks: Where each report is logged; what a sink raises is logged and goes no further.

    Raises:
        ConfigurationError: A setting is out of range, or two contradict each other.
        CalibrationError: The calibration cannot be read, or was made for other settings; names each difference.
    """

    def __init__(
        self,
        ask: Any = None,
        *,
        n: int = 9,
        r: int | None = None,
        replications: int | None = None,
        perturber: Any = "gaap",
        similarity: Any = None,
        temperature: float | None = 0.7,
        max_tokens: int | None = None,
        draws: int = 30,
        seed: int = 0,
        drop_echo: bool = True,
        score: ScoreName = "consensus",
        policy: Policy | None = None,
        variant: Variant = "paper",
        mode: Mode = "fixed",
        error: float = 0.05,
        guarantee: Guarantee = "each",
        min_answers: int = 0,
        concurrency: int = 8,
        max_in_flight: int = 64,
        timeout: float = 60.0,
        max_requests: int | None = None,
        max_total_tokens: int | None = None,
        max_cost: float | None = None,
        prices: Mapping[str, Price] | None = None,
        deadline: float | None = None,
        hedge: float | None = None,
        cache: Cache | bool | None = None,
        max_question_chars: int = 10_000,
        calibration: Calibration | str | Path | None = None,
        sinks: Sequence[Sink] = (),
    ) -> None:
        self._settings = {name: value for name, value in locals().items() if name != "self"}
        check_scorer(self._settings)
        if replications is None:
            replications = _REPLICATIONS if r is None else r
        if r is None:
            r = _R

        self._ask = None if ask is None else as_ask(ask)
        self._sinks = tuple(sinks)
        for sink in self._sinks:
            if not isinstance(sink, Sink):
                raise ConfigurationError(f"sinks holds a {type(sink).__name__}: a sink has a method emit(report)")
        self._perturber = as_perturber(perturber)
        self._similarity = as_similarity(similarity)
        perturber_name = _name(self._perturber)
        self._n = 0 if perturber_name == "none" else n
        if self._n == 0 and replications < 2:
            raise ConfigurationError(
                f"{replications} answer with perturber='none' leaves nothing to compare: ask replications >= 2"
            )
        if self._n == 0 and score == "normalised":
            raise ConfigurationError(
                "score='normalised' needs perturbed siblings, since a walk over one question says nothing: "
                "choose score='consensus' or another perturber"
            )
        self._r, self._replications = r, replications
        self._seed = seed
        self._score: ScoreName = score
        self._sampling = Sampling(temperature=temperature, max_tokens=max_tokens)
        self._policy: Policy = policy if policy is not None else Thresholds()
        self._limits = Limits(
            concurrency=concurrency,
            timeout=timeout,
            max_requests=max_requests,
            max_total_tokens=max_total_tokens,
            max_cost=max_cost,
            deadline=deadline,
            hedge=hedge,
        )
        self._gates = PerLoop(partial(Gate, max_in_flight))
        # Twice as many as fill the window, so that some compute while others wait for the model.
        self._admitted = PerLoop(partial(Gate, 2 * ceil(max_in_flight / concurrency)))
        self._prices = dict(prices or {})
        if self._ask is not None:
            self._price(self._ask)
        self._cache = as_cache(cache)
        self._compared = self._similarity
        if self._cache is not None and isinstance(self._similarity, CosineSimilarity):
            self._compared = self._similarity.with_cache(self._cache)
        self._procedure = Procedure(
            similarity=self._compared,
            drop_echo=drop_echo,
            draws=draws,
            seed=seed,
            variant=variant,
            policy=self._policy,
            mode=mode,
            error=error,
            guarantee=guarantee,
            min_answers=min_answers,
            in_flight=concurrency,
            siblings=self._n,
        )
        self._max_question_chars = max_question_chars
        self._loop = LoopThread()
        self._background = Background(self._loop)
        self.fingerprint = Fingerprint(
            model="" if self._ask is None else _name(self._ask),
            perturber=perturber_name,
            similarity=_name(self._similarity),
            n=self._n,
            r=r,
            replications=replications,
            draws=draws,
            temperature=temperature,
            drop_echo=drop_echo,
            variant=variant,
            score=score,
            prompt="" if self._ask is None else prompt_of(self._ask),
            mode=self._procedure.name,
        )
        self._calibration = _loaded(calibration) if isinstance(calibration, str | Path) else calibration
        if self._calibration is not None:
            self._calibration.check(self.fingerprint, model=self._ask is not None)

    @overload
    def score(
        self,
        question: str,
        *,
        answer: str | None = None,
        ask: Any = None,
        progress: Callable[[Progress], object] | None = None,
        background: Literal[False] = False,
    ) -> UncertaintyReport: ...

    @overload
    def score(
        self,
        question: str,
        *,
        answer: str,
        ask: Any = None,
        progress: Callable[[Progress], object] | None = None,
        background: Literal[True],
    ) -> Pending: ...

    def score(
        self,
        question: str,
        *,
        answer: str | None = None,
        ask: Any = None,
        progress: Callable[[Progress], object] | None = None,
        background: bool = False,
    ) -> UncertaintyReport | Pending:
        """Do what `ascore` does, from sync code; also inside a running event loop, which it then blocks.

        An async client is bound to the event loop that first used it: use one scorer's `score` or `ascore`, not both.

        Args:
            question: See `ascore`.
            answer: See `ascore`; needed with `background`.
            ask: See `ascore`.
            progress: See `ascore`.
            background: Return at once; the `Pending` is awaited, or asked for its `result()`, by who needs the report.
                Inside a running event loop the scoring is a task of that loop, which is not blocked.

        Raises:
            ConfigurationError: As `ascore`, or `background` without an answer.
            InputError: See `ascore`.
            AskError: See `ascore`.
        """
        scoring = partial(self.ascore, question, answer=answer, ask=ask, progress=progress)
        if not background:
            return self._loop.run(scoring())
        if answer is None:
            raise ConfigurationError("background=True scores an answer that is there: pass answer=")
        self._check(question, answer)
        self._model(ask)
        return self._background.start(scoring)

    async def ascore(
        self,
        question: str,
        *,
        answer: str | None = None,
        ask: Any = None,
        progress: Callable[[Progress], object] | None = None,
    ) -> UncertaintyReport:
        """Score an answer, or ask for one first.

        Args:
            question: The question alone, without instructions or context: it is what gets perturbed.
            answer: The primary answer, if the application has it; it counts as one replication of the question.
                Without it the model is asked once, with its own settings.
            ask: The model for this call alone, instead of the scorer's: the same model in another context, say.
            progress: Called with a `Progress` as things happen; what it raises is logged and goes no further.

        Returns:
            The report. Whatever goes wrong after the primary answer is there degrades or fails the report; the
            answer is in it, unchanged.

        Raises:
            ConfigurationError: Neither the scorer nor the call has a model. Raised before any request.
            InputError: The question or answer is empty, too long or no text. Raised before any request.
            AskError: No answer was given and the model gave none.
        """
        self._check(question, answer)
        model = self._model(ask)
        self._price(model)
        # Of a thousand calls at once, those under way go on to their end before more begin: the first reports come
        # early, and memory is bounded.
        async with self._admitted.here().passed():
            return await self._score_now(question, answer, model, progress)

    async def _score_now(
        self, question: str, answer: str | None, model: Ask, progress: Callable[[Progress], object] | None
    ) -> UncertaintyReport:
        price = self._price(model)
        started = time.perf_counter()
        spent = Usage()
        if answer is None:
            answer, spent = await ask_once(model, question, sampling=Sampling(), timeout=self._limits.timeout)
        tell = Teller(progress, answer)
        tell("answer")

        tell("perturb")
        perturbed, problems, comparable = await self._perturb(question, model)
        again = self._replications - 1 if comparable else 0  # answers that cannot be compared are not worth their price
        plan = [again, *[self._r] * len(perturbed.perturbations)]
        tell("ask", 0, sum(plan))
        questions = [question, *(p.text for p in perturbed.perturbations)]
        asking = Asking(
            model,
            questions,
            sampling=self._sampling,
            limits=self._limits,
            price=price,
            gate=self._gates.here(),
            cache=self._cache,
            progress=lambda done, total: tell("ask", done, total),
        )
        assessment, failure, asked = None, None, sum(plan)
        if comparable:
            assessment, failure, asked = await self._procedure.judge(asking, plan, answer, questions, tell)
        sampled = asking.sampled()
        problems += [*missing_answers(sampled), *([failure] if failure else [])]
        answers = [(answer, *sampled.outcomes[0].texts), *(outcome.texts for outcome in sampled.outcomes[1:])]
        usage = spent + perturbed.usage
        if price is not None and usage.prompt_tokens is not None:
            usage = replace(usage, cost=price.of(usage.prompt_tokens, usage.completion_tokens or 0))
        usage += sampled.usage
        notes = [*perturbed.notes, *sampled.notes, *self._notes()]
        if asked < sum(plan) and asking.stopped is None:
            notes.append(f"{asked} of {sum(plan)} answers were asked for: mode={self._procedure.mode!r} needed no more")
        report = self._report(
            answer=answer,
            siblings=siblings_of(question, perturbed.perturbations, answers, sampled, assessment),
            assessment=assessment,
            problems=problems,
            notes=tuple(notes),
            usage=replace(usage, seconds=time.perf_counter() - started),
            model=_name(model),
            prompt=prompt_of(model),
        )
        self._emit(report)
        return report

    def replay(self, questions: Sequence[str], answers: Sequence[Sequence[str]]) -> tuple[Assessment, int]:
        """Judge stored answers as if they were asked for now: in mode "adaptive" and "screen" not all of them are.

        Args:
            questions: The original question, then its siblings; m texts.
            answers: Their answers, m sequences of texts; the first one holds the primary answer first. More of them
                than the settings want are left out, and fewer count as missing.

        Returns:
            What they say, and how many were asked for besides the primary one.

        Raises:
            InputError: There is nothing to compare, or the answers could not be compared; says why.
        """
        return self._loop.run(self._replay(questions, answers))

    async def _replay(self, questions: Sequence[str], answers: Sequence[Sequence[str]]) -> tuple[Assessment, int]:
        plan = [self._replications - 1, *[self._r] * (len(questions) - 1)]
        stored = Stored([answers[0][1:], *answers[1:]])
        assessment, failure, asked = await self._procedure.judge(
            stored, plan, answers[0][0], questions, Teller(None, "")
        )
        if assessment is None:
            raise InputError(str(failure))
        return assessment, asked

    def estimate(self, question: str, *, answer: str | None = None, ask: Any = None) -> Estimate:
        """Return what `ascore` with these arguments will cost at most; nothing is asked.

        A perturber that asks the model costs what it costs on top, as do hedges and retries. Money is known only with
        `max_tokens` and a price.

        Raises:
            ConfigurationError: Neither the scorer nor the call has a model.
            InputError: The question or answer is empty, too long or no text.
        """
        self._check(question, answer)
        model = self._model(ask)
        price = self._price(model)
        primary = int(answer is None)
        plan = [self._replications - 1, *[self._r] * self._n]
        requests = sum(plan)  # in rounds, each answer may come to be asked for by itself
        in_one_go = isinstance(model, BatchAsk) and self._procedure.mode == "fixed"
        if in_one_go:
            requests = 1
        elif self._procedure.mode == "fixed":
            requests = sum(ceil(count / most_at_once(model)) for count in plan)
        requests += primary
        if self._limits.max_requests is not None:
            requests = min(requests, self._limits.max_requests + primary)
        filled = getattr(model, "filled", str)
        read = (len(plan) + primary if in_one_go else requests) * tokens_of(filled(question))
        written = None if self._sampling.max_tokens is None else (sum(plan) + primary) * self._sampling.max_tokens
        return Estimate(
            answers=sum(plan) + primary,
            requests=requests,
            prompt_tokens=read,
            completion_tokens=written,
            cost=None if price is None or written is None else price.of(read, written),
            least_answers=self._procedure.fewest(plan) + primary,
        )

    def unscored(self, question: str, answer: str, reason: str, *, model: str | None = None) -> UncertaintyReport:
        """Return the failed report of an answer that cannot be scored; nothing is asked.

        For integrations, which must hand over the application's answer whatever becomes of its score.

        Args:
            question: The question, as far as it is known.
            answer: The primary answer.
            reason: Why it cannot be scored, in a sentence.
            model: Name of the model; the scorer's by default.
        """
        report = self._report(
            answer=answer,
            siblings=(Sibling(question=question, answers=(answer,)),),
            assessment=None,
            problems=[reason],
            notes=(),
            usage=Usage(),
            model=self.fingerprint.model if model is None else model,
            prompt="",
        )
        self._emit(report)
        return report

    def replace(self, **changes: Any) -> InvEntropy:
        """Return another scorer with some settings changed, such as `scorer.replace(r=2)`.

        Raises:
            ConfigurationError: A setting is out of range, or two contradict each other.
        """
        return InvEntropy(**{**self._settings, **changes})

    @property
    def similarity(self) -> Similarity:
        """How this scorer compares texts."""
        return self._similarity

    def close(self) -> None:
        """Stop the thread behind `score`; called on leaving `with InvEntropy(...) as scorer`.

        Scores in its background that are not there yet are cancelled: ask for their `result()` first.
        """
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _check(self, question: str, answer: str | None) -> None:
        for what, text in (("question", question), ("answer", answer)):
            if text is None and what == "answer":
                continue
            if not isinstance(text, str):
                raise InputError(f"the {what} must be text (str); got {type(text).__name__}")
            if not text.strip():
                raise InputError(f"the {what} is empty: there is nothing to score")
        if len(question) > self._max_question_chars:
            raise InputError(
                f"the question has {len(question):,} characters, the limit is {self._max_question_chars:,}: pass the "
                "question alone and leave context to the prompt, or raise max_question_chars"
            )

    def _model(self, ask: Any) -> Ask:
        model = self._ask if ask is None else as_ask(ask)
        if model is None:
            raise ConfigurationError("there is no model to ask: pass one to InvEntropy(ask) or to this call (ask=...)")
        return model

    def _price(self, model: Ask) -> Price | None:
        price = self._prices.get(_name(model))
        if price is None and self._limits.max_cost is not None:
            raise ConfigurationError(
                f"max_cost={self._limits.max_cost:g} needs the price of {_name(model)!r}: pass "
                f"prices={{{_name(model)!r}: Price(prompt=..., completion=...)}}, by a million tokens"
            )
        return price

    async def _perturb(self, question: str, model: Ask) -> tuple[Perturbed, list[str], bool]:
        """Return the siblings, what went wrong, and whether texts can be compared at all."""
        bare: Ask = getattr(model, "bare", model)
        context = PerturbContext(rng=np.random.default_rng(self._seed), similarity=self._compared, ask=bare)
        try:
            perturbed = await self._perturber.perturb(question, self._n, context)
        except EmbeddingError as error:
            return Perturbed(), [f"the questions could not be compared: {describe(error)}"], False
        except Exception as error:  # noqa: BLE001 - a third-party perturber must not cost the primary answer
            return Perturbed(), [f"no perturbations: {describe(error)}"], True
        made = len(perturbed.perturbations)
        return perturbed, [f"{made} of {self._n} perturbations could be made"] if made < self._n else [], True

    def _report(
        self,
        *,
        answer: str,
        siblings: tuple[Sibling, ...],
        assessment: Assessment | None,
        problems: list[str],
        notes: tuple[str, ...],
        usage: Usage,
        model: str,
        prompt: str,
    ) -> UncertaintyReport:
        measures: Mapping[str, float] = assessment.measures if assessment else {}
        score = 1.0
        status: Status = "failed"
        if assessment:
            score = as_uncertainty(self._score, measures[self._score])
            status = "degraded" if problems else "ok"
        decision, status = self._decide(Situation(score, status, usage=usage), problems)
        fingerprint = replace(self.fingerprint, model=model, prompt=prompt)
        confidence, remarks = self._confidence(score, status, fingerprint)
        logger.debug("scored: status=%s score=%.3f requests=%d", status, score, usage.requests)
        return UncertaintyReport(
            question=siblings[0].question,
            answer=answer,
            score=score,
            confidence=confidence,
            measures=measures,
            siblings=siblings,
            decision=decision,
            usage=usage,
            status=status,
            problems=tuple(problems),
            notes=(*notes, *remarks),
            fingerprint=fingerprint,
            structure=agreement_by_part(answer, others(siblings)),
        )

    def _confidence(
        self, score: float, status: Status, fingerprint: Fingerprint
    ) -> tuple[float | None, tuple[str, ...]]:
        if self._calibration is None or status != "ok":
            return None, ()
        try:
            self._calibration.check(fingerprint)
        except CalibrationError as error:
            return None, (f"no confidence: {error}",)
        return self._calibration.confidence(score), ()

    def _emit(self, report: UncertaintyReport) -> None:
        for sink in self._sinks:
            try:
                sink.emit(report)
            except Exception:
                logger.warning("the sink %s raised; the report goes on", type(sink).__name__, exc_info=True)

    def _decide(self, situation: Situation, problems: list[str]) -> tuple[Decision, Status]:
        status = situation.status
        try:
            return apply(self._policy, situation), status
        except Exception as error:  # noqa: BLE001 - the answers are paid for: report them, and do not act on them
            problems.append(f"the policy raised {describe(error)}")
            return Decision("abstain", "the policy failed"), "failed" if status == "failed" else "degraded"

    def _notes(self) -> tuple[str, ...]:
        if getattr(self._similarity, "lexical", False):
            return ("answers were compared by their words, not their meaning: pass similarity= a sentence encoder",)
        return ()


def _loaded(path: str | Path) -> Calibration:
    from invent_chain.calibrate import Calibration  # loads much of scipy, which most scorers do not need

    return Calibration.load(path)


def _name(part: object) -> str:
    return str(getattr(part, "name", type(part).__name__))
