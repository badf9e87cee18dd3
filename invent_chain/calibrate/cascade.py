"""A cascade with a guarantee: the model answers what it is certain of, a stronger one gets the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr

from invent_chain.calibrate.certify import (
    GRID,
    Labels,
    Uncertifiable,
    check_shares,
    checked_labels,
    tested_needed,
    upper,
)
from invent_chain.protocols import FloatArray
from invent_chain.rules import Rules, above


@dataclass(frozen=True, slots=True)
class Cascade:
    """The model answers up to `threshold`, the stronger one above it: both together are wrong in at most `risk`.

    That holds with probability at least `confidence` over the draw of the labelled questions, if these are independent
    and come from the distribution on which the cascade is used.

    Attributes:
        threshold: Largest certified uncertainty at which the model's own answer is given, in [0, 1]; None if only
            asking the stronger model every time is certified.
        risk: Bound on P(the cascade's answer is wrong), in (0, 1).
        confidence: In (0, 1).
        escalated: Share of the labelled questions that goes to the stronger model, in [0, 1].
        wrong: Labelled questions that the cascade gets wrong.
        labels: Labelled questions.
        upper_bound: Clopper-Pearson upper bound on the risk at this threshold alone, at `confidence`.
    """

    threshold: float | None
    risk: float
    confidence: float
    escalated: float
    wrong: int
    labels: int
    upper_bound: float

    def policy(self) -> Rules:
        """Return the policy: "answer" up to the threshold, else "fallback"."""
        if self.threshold is None:
            return Rules(otherwise="fallback")
        return Rules(("answer", ~above(self.threshold)), otherwise="fallback")


def certify_cascade(
    uncertainty: FloatArray, right: Labels, strong_right: Labels, *, risk: float, confidence: float = 0.9
) -> Cascade | Uncertifiable:
    """Find the largest threshold at which the cascade's risk is certified: the fewest calls of the stronger model.

    Learn then Test as in `certify`: the tests begin where the stronger model answers everything, run up the grid 0.01,
    0.02, ..., 1 and stop at the first failure. Nothing is put aside, since the beginning needs no data.

    Args:
        uncertainty: Scores of the model's answers, (m,), in [0, 1]; higher = more uncertain.
        right: Whether each is right, (m,).
        strong_right: Whether the stronger model's answer to the same question is right, (m,).
        risk: Bound on P(the cascade's answer is wrong), in (0, 1).
        confidence: Probability with which the bound holds, in (0, 1).

    Raises:
        ConfigurationError: `risk` or `confidence` is out of range.
        InputError: Shapes differ, no label is given, or a score is outside [0, 1].
    """
    check_shares(risk=risk, confidence=confidence)
    scores, wrong = checked_labels(uncertainty, right)
    _, strong_wrong = checked_labels(uncertainty, strong_right)
    m, level = len(scores), 1.0 - confidence
    own = np.vstack([np.zeros(m, dtype=bool), scores[None, :] <= GRID[:, None] + 1e-12])
    errors = np.where(own, wrong, strong_wrong).sum(axis=1)
    failures = np.flatnonzero(bdtr(errors, m, risk) > level)
    last = (int(failures[0]) if len(failures) else len(own)) - 1
    if last < 0:
        needed = tested_needed(np.array([m]), errors[:1], risk, level)
        more = None if needed is None else max(int(np.ceil(needed)) - m, 1)
        return Uncertifiable(risk, confidence, m, more)
    k = int(errors[last])
    threshold = float(GRID[last - 1]) if last else None
    return Cascade(threshold, risk, confidence, float(1.0 - own[last].mean()), k, m, upper(k, m, confidence))
