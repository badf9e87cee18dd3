"""Score stored samples with the settings of a scorer: nothing is asked again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from invent_chain.errors import InputError
from invent_chain.evaluate.judges import contains
from invent_chain.evaluate.samples import Samples
from invent_chain.measures import as_uncertainty
from invent_chain.pipeline import InvEntropy
from invent_chain.protocols import FloatArray
from invent_chain.types import Fingerprint

Judge = Callable[[Samples], bool]


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores and labels of the same answers.

    Attributes:
        samples: What was scored, k questions.
        uncertainty: Their scores, (k,), in [0, 1]; higher = more uncertain.
        right: Whether each primary answer is right, (k,).
        measures: Every measure by name, each (k,).
        asked: Answers that the scorer would have asked for besides the primary one, (k,).
        fingerprint: What the scores depend on, the model's name and temperature included.
    """

    samples: tuple[Samples, ...]
    uncertainty: FloatArray
    right: NDArray[np.bool_]
    measures: dict[str, FloatArray]
    fingerprint: Fingerprint
    asked: NDArray[np.int64]


def contains_accepted(samples: Samples) -> bool:
    """Judge by rule: one of the accepted answers stands in the primary answer as whole words."""
    return contains(samples.answer, samples.gold, exact_case=samples.exact_case)


def score_samples(everything: Iterable[Samples], scorer: InvEntropy, *, judge: Judge = contains_accepted) -> Scored:
    """Score each stored primary answer as `scorer` would have.

    Args:
        everything: Samples of one model at one temperature, with at least the siblings and answers of the scorer's
            n, r and replications; what is more is left out. A sibling that stayed silent stays silent.
        scorer: Whose settings, similarity and, in mode "adaptive", policy are taken. Its model is not asked.
        judge: Whether a primary answer is right.

    Raises:
        InputError: Nothing is stored, models, temperatures or prompts are mixed, or more is asked than was sampled.
    """
    stored = checked(everything, scorer.fingerprint)
    return scored(stored, scorer.fingerprint, [replay(samples, scorer) for samples in stored], judge)


def checked(everything: Iterable[Samples], settings: Fingerprint) -> tuple[Samples, ...]:
    """Return the samples, if they can be scored with these settings.

    Raises:
        InputError: See `score_samples`.
    """
    stored = tuple(everything)
    if not stored:
        raise InputError("no samples: collect some first (invent-chain evaluate, or Collector)")
    kinds = sorted({_kind(samples) for samples in stored}, key=str)
    if len(kinds) > 1:
        raise InputError(f"the samples mix models, temperatures or prompts, whose scores are not comparable: {kinds}")
    for samples in stored:
        _groups(samples, settings)
    return stored


def replay(samples: Samples, scorer: InvEntropy) -> tuple[dict[str, float], int]:
    """Return the measures of one primary answer, and how many other answers were asked for."""
    assessment, asked = scorer.replay(*_groups(samples, scorer.fingerprint))
    return assessment.measures, asked


def scored(
    stored: Sequence[Samples], settings: Fingerprint, found: Sequence[tuple[dict[str, float], int]], judge: Judge
) -> Scored:
    """Put together what `replay` found for each of the samples."""
    names = found[0][0]
    measures = {name: np.array([values[name] for values, _ in found]) for name in names}
    model, temperature, prompt = _kind(stored[0])
    return Scored(
        samples=tuple(stored),
        uncertainty=as_uncertainty(settings.score, measures[settings.score]),
        right=np.array([judge(samples) for samples in stored]),
        measures=measures,
        fingerprint=replace(settings, model=model, temperature=temperature, prompt=prompt),
        asked=np.array([asked for _, asked in found]),
    )


def _kind(samples: Samples) -> tuple[str, float | None, str]:
    return samples.model, samples.temperature, samples.prompt


def _groups(samples: Samples, settings: Fingerprint) -> tuple[list[str], list[Sequence[str]]]:
    own = [samples.answer, *samples.replications]
    for what, there, wanted in (
        ("answers to the question", len(own), settings.replications),
        ("siblings", len(samples.siblings), settings.n),
        ("answers to a sibling", max((len(s.answers) for s in samples.siblings), default=settings.r), settings.r),
    ):
        if there < wanted:
            raise InputError(f"question {samples.id} has {there} {what} and the scorer wants {wanted}: ask for fewer")
    siblings = samples.siblings[: settings.n]
    questions = [samples.question, *(s.text for s in siblings)]
    return questions, [own[: settings.replications], *(s.answers[: settings.r] for s in siblings)]
