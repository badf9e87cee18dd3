"""From texts to measures: one comparison of all questions and answers, then the walk. No model is asked here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from invent_chain import measures as m
from invent_chain.embed import drop_echo as without_echo
from invent_chain.errors import EmbeddingError, InputError
from invent_chain.protocols import FloatArray, Similarity
from invent_chain.walk import bootstrap_indices, dual_walk

Variant = Literal["paper", "released"]

_ISOLATED = -1
"""Stands for the answer of a sibling that stayed silent: a state unrelated to every other."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the answers say about the primary answer.

    Attributes:
        measures: Every measure of `invent_chain.measures` by name, all finite.
        closeness: Similarity of each question to the original, in [0, 1]; the original itself has 1. None for a
            question that was left out.
        agreement: How far each question's answers back the primary answer, in [0, 1]; None where none came back.
    """

    measures: dict[str, float]
    closeness: tuple[float | None, ...]
    agreement: tuple[float | None, ...]


def assess(
    questions: Sequence[str],
    answers: Sequence[Sequence[str]],
    *,
    similarity: Similarity,
    asked_for: Sequence[int] | None = None,
    unasked: int = 0,
    draws: int = 30,
    seed: int = 0,
    drop_echo: bool = True,
    variant: Variant = "paper",
) -> Assessment:
    """Compute every measure for `answers[0][0]`, the primary answer.

    The result does not depend on the order of the siblings, nor on the order of replications within a question
    (the primary answer stays first), and is deterministic for a given seed.

    Args:
        questions: The original question, then its siblings; m texts.
        answers: Replications of each question, m sequences; the first holds the primary answer first. A sibling's may
            be empty when it failed: it then counts as a state unrelated to every other (uncertainty never falls).
        similarity: How texts are compared; every distinct text is compared in one call.
        asked_for: Answers that each question was asked for, (m,), the primary one included; what is missing counts
            against the primary answer in `consensus`. None: as many as came, at least one each.
        unasked: Answers of the plan that were left out on purpose; see `measures.consensus`.
        draws: Bootstrap draws B >= 1.
        seed: Seed of the bootstrap.
        drop_echo: Drop the question's own words from answers before comparing them.
        variant: "paper", or "released" for the draws, MAX and WD of the paper's released code (METHOD, last table).

    Raises:
        InputError: No question, no primary answer, or lengths that differ.
        EmbeddingError: The similarity returned NaN, inf, a wrong shape or values outside [0, 1].
    """
    if not questions or len(questions) != len(answers):
        raise InputError(f"each question needs its answers: got {len(questions)} questions and {len(answers)} groups")
    if not answers[0]:
        raise InputError("the original question needs at least the primary answer: answers[0] is empty")

    original, primary = questions[0], answers[0][0]
    order = [0, *sorted(range(1, len(questions)), key=lambda i: (questions[i], sorted(answers[i])))]
    asked = [questions[i] for i in order]
    replies = [[primary, *sorted(answers[0][1:])], *(sorted(answers[i]) for i in order[1:])]
    if drop_echo:
        replies = [
            [without_echo(text, question, original) for text in texts]
            for question, texts in zip(asked, replies, strict=True)
        ]
    distinct = list(dict.fromkeys(text for texts in replies for text in texts))
    place = {text: k for k, text in enumerate(distinct)}
    between_questions, between_answers = _compare(similarity, asked, distinct)

    floor = float(getattr(similarity, "floor", 0.0))
    padded = _with_isolated_state(between_answers, floor)
    slots = [[place[text] for text in texts] or [_ISOLATED] for texts in replies]
    values = _walk_measures(between_questions, padded, slots, draws, seed, variant)

    backing = m.agreement(between_answers[place[replies[0][0]]], floor).tolist()
    others = [slots[0][1:], *slots[1:]]
    agreements = [
        None if not group or group == [_ISOLATED] else sum(backing[k] for k in group) / len(group) for group in others
    ]
    values["support"] = m.support(
        np.array([g or 0.0 for g in agreements]),
        between_questions[0],
        np.array([bool(group) for group in others]),
    )
    votes = [backing[k] for group in others for k in group if k != _ISOLATED]
    expected = [max(len(group), 1) for group in answers] if asked_for is None else asked_for
    missing = sum(max(count - len(group), 0) for count, group in zip(expected, answers, strict=True))
    values["consensus"] = m.consensus(np.array(votes), missing, unasked)
    back = np.argsort(order)
    return Assessment(
        measures=values,
        closeness=tuple(float(between_questions[0, k]) for k in back),
        agreement=tuple(agreements[k] for k in back),
    )


def agreeing(
    question: str,
    primary: str,
    groups: Sequence[tuple[str, Sequence[str]]],
    *,
    similarity: Similarity,
    drop_echo: bool = True,
) -> int:
    """Return how many answers say the same as the primary one, as `consensus` counts them.

    Args:
        question: The original question.
        primary: The answer to it that is judged.
        groups: Questions asked and their answers.
        similarity: How texts are compared.
        drop_echo: Drop the question's own words from answers before comparing them.

    Raises:
        EmbeddingError: The similarity returned NaN, inf, a wrong shape or values outside [0, 1].
    """
    asked = [(question, [primary]), *groups]
    bare = [without_echo(text, other, question) if drop_echo else text for other, texts in asked for text in texts]
    distinct = list(dict.fromkeys(bare))
    _, between = _compare(similarity, [question], distinct)
    backing = m.agreement(between[0], float(getattr(similarity, "floor", 0.0)))
    place = {text: k for k, text in enumerate(distinct)}
    return m.agreeing(np.array([backing[place[text]] for text in bare[1:]]))


def _compare(similarity: Similarity, questions: list[str], answers: list[str]) -> tuple[FloatArray, FloatArray]:
    between = similarity.compare(questions, answers)
    expected = [(len(questions),) * 2, (len(answers),) * 2]
    shapes = [np.shape(matrix) for matrix in between]
    if shapes != expected:
        raise EmbeddingError(f"the similarity returned matrices of shapes {shapes}; expected {expected}")
    for matrix in between:
        if not (matrix.min() >= 0 and matrix.max() <= 1):  # also false for NaN
            raise EmbeddingError("the similarity returned values outside [0, 1], NaN or inf; clip or rescale it")
    return between[0], between[1]


def _with_isolated_state(between: FloatArray, floor: float) -> FloatArray:
    padded = np.full((len(between) + 1,) * 2, floor)
    padded[:-1, :-1] = between
    padded[-1, -1] = 1.0
    return padded


def _walk_measures(
    between_questions: FloatArray,
    between_answers: FloatArray,
    slots: list[list[int]],
    draws: int,
    seed: int,
    variant: Variant,
) -> dict[str, float]:
    released = variant == "released"
    counts = [len(group) for group in slots]
    picks = bootstrap_indices(
        counts, draws, np.random.default_rng(seed), kind="distinct" if released else "independent"
    )
    table = np.full((len(slots), max(counts)), _ISOLATED)
    for i, group in enumerate(slots):
        table[i, : len(group)] = group
    first = np.zeros((1, len(slots)), dtype=np.int64)  # one replication each, for NR-Inv-Entropy
    states = table[np.arange(len(slots)), np.concatenate([first, picks])]
    walk = dual_walk(between_questions, between_answers, states)
    entropy = m.inv_entropy(walk)
    by_name = {
        "inv_entropy": entropy[1:],
        "ni_entropy": m.ni_entropy(walk)[1:],
        "nr_inv_entropy": entropy[:1],
        "wd_px_py": (m.wd_px_py_released if released else m.wd_px_py)(walk)[1:],
        "max_py_x": (m.max_py_x_released if released else m.max_py_x)(walk)[1:],
        "normalised": m.normalised(walk)[1:],
    }
    return {name: float(values.mean()) for name, values in by_name.items()}
