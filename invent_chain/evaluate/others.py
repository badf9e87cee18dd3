"""Uncertainties of other libraries on stored answers, by the objects of these libraries, which need not be installed.

Where their pins conflict with an application's, run them in an environment of their own: samples are a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from invent_chain.errors import InputError
from invent_chain.evaluate.samples import Samples
from invent_chain.protocols import FloatArray

_GIVEN = frozenset({"input_texts", "greedy_texts", "sample_texts"})


class UqlmScorer(Protocol):
    """What the classes of `uqlm.black_box` have in common, such as `MatchScorer` and `CosineScorer`."""

    def evaluate(self, responses: list[str], sampled_responses: list[list[str]]) -> Sequence[float]:
        """Return a confidence in [0, 1] for each response."""
        ...


class PolygraphEstimator(Protocol):
    """What the black-box estimators of `lm_polygraph.estimators` have in common, such as `LexicalSimilarity`."""

    stats_dependencies: list[str]

    def __call__(self, stats: dict[str, Any]) -> Any:
        """Return an uncertainty for each input."""
        ...


def uqlm_uncertainty(everything: Iterable[Samples], scorer: UqlmScorer, *, answers: int) -> FloatArray:
    """Return one minus the confidence of a uqlm scorer for each primary answer, (m,); higher = more uncertain.

    Args:
        everything: Samples, m questions.
        scorer: A scorer of `uqlm.black_box`.
        answers: Answers to the question itself that are used, the primary one included, >= 2.

    Raises:
        InputError: Fewer answers are stored.
    """
    texts = _answers(everything, answers)
    return 1.0 - np.asarray(scorer.evaluate([own[0] for own in texts], [own[1:] for own in texts]), dtype=np.float64)


def polygraph_uncertainty(everything: Iterable[Samples], estimator: PolygraphEstimator, *, answers: int) -> FloatArray:
    """Return the uncertainty of an lm-polygraph estimator for each question, (m,); higher = more uncertain.

    Args:
        everything: Samples, m questions.
        estimator: An estimator of texts alone; what needs probabilities or an entailment model cannot be computed from
            stored texts.
        answers: Answers to the question itself that are used, the primary one included, >= 2.

    Raises:
        InputError: Fewer answers are stored, or the estimator needs more than texts.
    """
    more = sorted(set(estimator.stats_dependencies) - _GIVEN)
    if more:
        raise InputError(f"{estimator} needs {', '.join(more)}, which stored texts do not hold: take one of texts")
    stored = list(everything)
    texts = _answers(stored, answers)
    stats = {
        "input_texts": [samples.question for samples in stored],
        "greedy_texts": [own[0] for own in texts],
        "sample_texts": texts,
    }
    return np.asarray(estimator(stats), dtype=np.float64)


def _answers(everything: Iterable[Samples], wanted: int) -> list[list[str]]:
    if wanted < 2:
        raise InputError(f"answers={wanted}: the primary answer and at least one other are needed")
    texts = []
    for samples in everything:
        own = [samples.answer, *samples.replications]
        if len(own) < wanted:
            raise InputError(f"question {samples.id} has {len(own)} answers and {wanted} are wanted: ask for fewer")
        texts.append(own[:wanted])
    return texts
