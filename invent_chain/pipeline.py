"""`InvEntropy`: perturb, ask, compare, walk, measure, decide. Start reading here.

`ascore` is the whole story; the rooms it calls hold the chapters.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import anyio.to_thread
import numpy as np

from invent_chain.assess import Assessment, Variant, assess
from invent_chain.decide import Policy, Thresholds
from invent_chain.embed import as_similarity
from invent_chain.errors import CalibrationError, ConfigurationError, EmbeddingError, InputError, InventError
from invent_chain.loop_thread import LoopThread
from invent_chain.measures import as_uncertainty
from invent_chain.perturb import as_perturber
from invent_chain.protocols import Ask, PerturbContext, Similarity, Sink
from invent_chain.rules import Situation, apply
from invent_chain.sample import Sampled, as_ask, ask_once, prompt_of, sample
from invent_chain.sample.settings import check_whole
from invent_chain.structure import agreement_by_part
from invent_chain.types import (
    Decision,
    Fingerprint,
    Perturbation,
    Perturbed,
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

Stage = Literal["answer", "perturb", "ask", "compare"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a scoring has come.

    Attributes:
        stage: What is under way: "answer" once the primary answer is there, "perturb", "ask", "compare".
        done: Answers that came back or failed so far.
        total: Answers asked for; 0 before it is known.
        answer: The primary answer.
    """

    stage: Stage
    done: int
    total: int
    answer: str


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
        variant: "paper", or "released" for the bootstrap, MAX and WD of the paper's released code.
        concurrency: Most requests in flight, >= 1.
        timeout: Longest time for one request in seconds, > 0.
        max_requests: Most requests for the siblings of one question; what is missing then degrades the report.
        deadline: Longest time for all siblings of one question in seconds; likewise.
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
        concurrency: int = 8,
        timeout: float = 60.0,
        max_requests: int | None = None,
        deadline: float | None = None,
        max_question_chars: int = 10_000,
        calibration: Calibration | str | Path | None = None,
        sinks: Sequence[Sink] = (),
    ) -> None:
        self._settings = {name: value for name, value in locals().items() if name != "self"}
        for name, value, least in (
            ("n", n, 1),
            ("r", r, 1),
            ("replications", replications, 1),
            ("draws", draws, 1),
            ("seed", seed, 0),
            ("concurrency", concurrency, 1),
            ("max_question_chars", max_question_chars, 1),
            ("max_requests", max_requests, 1),
            ("max_tokens", max_tokens, 1),
        ):
            if value is not None:
                check_whole(name, value, least=least)
        for name, limit in (("timeout", timeout), ("deadline", deadline)):
            if limit is not None and not limit > 0.0:
                raise ConfigurationError(f"{name}={limit!r}: must be more than 0 seconds")
        if temperature is not None and not 0.0 <= temperature < float("inf"):
            raise ConfigurationError(f"temperature={temperature!r}: must be at least 0, or None for the model's own")
        if score not in ("consensus", "support", "normalised"):
            raise ConfigurationError(f"score={score!r}: choose 'consensus', 'support' or 'normalised'")
        if replications is None:
            replications = _REPLICATIONS if r is None else r
        if r is None:
            r = _R
        if variant not in ("paper", "released"):
            raise ConfigurationError(f"variant={variant!r}: choose 'paper' or 'released'")

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
        self._draws, self._seed, self._drop_echo, self._variant = draws, seed, drop_echo, variant
        self._score: ScoreName = score
        self._sampling = Sampling(temperature=temperature, max_tokens=max_tokens)
        self._policy: Policy = policy if policy is not None else Thresholds()
        self._limits = {
            "concurrency": concurrency,
            "timeout": timeout,
            "max_requests": max_requests,
            "deadline": deadline,
        }
        self._timeout = timeout
        self._max_question_chars = max_question_chars
        self._loop = LoopThread()
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
        )
        self._calibration = _loaded(calibration) if isinstance(calibration, str | Path) else calibration
        if self._calibration is not None:
            self._calibration.check(self.fingerprint, model=self._ask is not None)

    def score(
        self,
        question: str,
        *,
        answer: str | None = None,
        ask: Any = None,
        progress: Callable[[Progress], object] | None = None,
    ) -> UncertaintyReport:
        """Do what `ascore` does, from sync code; also inside a running event loop, which it then blocks.

        An async client is bound to the event loop that first used it: use one scorer's `score` or `ascore`, not both.
        """
        return self._loop.run(self.ascore(question, answer=answer, ask=ask, progress=progress))

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
        model = self._ask if ask is None else as_ask(ask)
        if model is None:
            raise ConfigurationError("there is no model to ask: pass one to InvEntropy(ask) or to this call (ask=...)")
        started = time.perf_counter()
        spent = Usage()
        if answer is None:
            answer, spent = await ask_once(model, question, sampling=Sampling(), timeout=self._timeout)
        tell = _Teller(progress, answer)
        tell("answer")

        tell("perturb")
        perturbed, problems, comparable = await self._perturb(question, model)
        again = self._replications - 1 if comparable else 0  # answers that cannot be compared are not worth their price
        wanted = [(question, again), *((p.text, self._r) for p in perturbed.perturbations)]
        tell("ask", 0, sum(count for _, count in wanted))
        sampled = await sample(
            model,
            wanted,
            sampling=self._sampling,
            progress=lambda done, total: tell("ask", done, total),
            **self._limits,  # type: ignore[arg-type]
        )
        problems += _missing_answers(sampled)

        tell("compare")
        answers = [(answer, *sampled.outcomes[0].texts), *(outcome.texts for outcome in sampled.outcomes[1:])]
        assessment = None
        if comparable:
            asked_for = [count + (k == 0) for k, (_, count) in enumerate(wanted)]
            assessment, failure = await self._assess([text for text, _ in wanted], answers, asked_for)
            problems += [failure] if failure else []
        usage = spent + perturbed.usage + sampled.usage
        report = self._report(
            answer=answer,
            siblings=_siblings(question, perturbed.perturbations, answers, sampled, assessment),
            assessment=assessment,
            problems=problems,
            notes=(*perturbed.notes, *sampled.notes, *self._notes()),
            usage=replace(usage, seconds=time.perf_counter() - started),
            model=_name(model),
            prompt=prompt_of(model),
        )
        self._emit(report)
        return report

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
        """Stop the thread behind `score`; called on leaving `with InvEntropy(...) as scorer`."""
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

    async def _perturb(self, question: str, model: Ask) -> tuple[Perturbed, list[str], bool]:
        """Return the siblings, what went wrong, and whether texts can be compared at all."""
        bare: Ask = getattr(model, "bare", model)
        context = PerturbContext(rng=np.random.default_rng(self._seed), similarity=self._similarity, ask=bare)
        try:
            perturbed = await self._perturber.perturb(question, self._n, context)
        except EmbeddingError as error:
            return Perturbed(), [f"the questions could not be compared: {_describe(error)}"], False
        except Exception as error:  # noqa: BLE001 - a third-party perturber must not cost the primary answer
            return Perturbed(), [f"no perturbations: {_describe(error)}"], True
        made = len(perturbed.perturbations)
        return perturbed, [f"{made} of {self._n} perturbations could be made"] if made < self._n else [], True

    async def _assess(
        self, questions: Sequence[str], answers: Sequence[Sequence[str]], asked_for: Sequence[int]
    ) -> tuple[Assessment | None, str | None]:
        if sum(map(len, answers)) < 2:
            return None, "no answer came back to compare with"
        try:
            return await anyio.to_thread.run_sync(
                lambda: assess(
                    questions,
                    answers,
                    similarity=self._similarity,
                    asked_for=asked_for,
                    draws=self._draws,
                    seed=self._seed,
                    drop_echo=self._drop_echo,
                    variant=self._variant,
                )
            ), None
        except Exception as error:  # noqa: BLE001 - a third-party encoder must not cost the primary answer
            return None, f"the answers could not be compared: {_describe(error)}"

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
            structure=agreement_by_part(answer, _others(siblings)),
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
            problems.append(f"the policy raised {_describe(error)}")
            return Decision("abstain", "the policy failed"), "failed" if status == "failed" else "degraded"

    def _notes(self) -> tuple[str, ...]:
        if getattr(self._similarity, "lexical", False):
            return ("answers were compared by their words, not their meaning: pass similarity= a sentence encoder",)
        return ()


class _Teller:
    """Calls the user's progress function; what that raises is logged and goes no further."""

    def __init__(self, progress: Callable[[Progress], object] | None, answer: str) -> None:
        self._progress, self._answer = progress, answer

    def __call__(self, stage: Stage, done: int = 0, total: int = 0) -> None:
        if self._progress is None:
            return
        try:
            self._progress(Progress(stage, done, total, self._answer))
        except Exception:
            logger.warning("the progress function raised; scoring goes on", exc_info=True)


def _siblings(
    question: str,
    perturbations: Sequence[Perturbation],
    answers: Sequence[Sequence[str]],
    sampled: Sampled,
    assessment: Assessment | None,
) -> tuple[Sibling, ...]:
    blank: tuple[None, ...] = (None,) * len(answers)
    asked = [(question, "original"), *((p.text, p.operator) for p in perturbations)]
    return tuple(
        Sibling(
            question=text,
            answers=tuple(texts),
            similarity=closeness,
            agreement=agreement,
            operator=operator,
            failures=outcome.failures,
        )
        for (text, operator), texts, outcome, closeness, agreement in zip(
            asked,
            answers,
            sampled.outcomes,
            assessment.closeness if assessment else blank,
            assessment.agreement if assessment else blank,
            strict=True,
        )
    )


def _others(siblings: Sequence[Sibling]) -> list[str]:
    """Return every answer but the primary one."""
    return [*siblings[0].answers[1:], *(text for sibling in siblings[1:] for text in sibling.answers)]


def _missing_answers(sampled: Sampled) -> list[str]:
    failures = [failure for outcome in sampled.outcomes for failure in outcome.failures]
    total = len(failures) + sum(len(outcome.texts) for outcome in sampled.outcomes)
    return [
        f"{count} of {total} answers did not come back: {reason}" for reason, count in Counter(failures).most_common()
    ]


def _loaded(path: str | Path) -> Calibration:
    from invent_chain.calibrate import Calibration  # loads much of scipy, which most scorers do not need

    return Calibration.load(path)


def _name(part: object) -> str:
    return str(getattr(part, "name", type(part).__name__))


def _describe(error: Exception) -> str:
    return str(error) if isinstance(error, InventError) else f"{type(error).__name__}: {error}"
