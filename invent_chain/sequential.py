"""When enough answers are in: a sequential test of the decision that stays valid however often one looks.

A plan asks for N answers in an order drawn at random; K of them will say the same as the primary answer, and the score
that the whole plan would give is `1 - K / N`. After t answers, s of them in favour, each look asks: what will K be, and
is there still a K in reach that leads to another decision?

The model of K is beta-binomial with Jeffreys' prior. Its ratio prior to posterior of the true K is a martingale that
starts at 1 (sampling without replacement), so by Ville's inequality the set of all K whose ratio stayed below
`1 / error` at every look holds the true K with probability at least `1 - error`, whenever one stops: a confidence
sequence (Waudby-Smith and Ramdas 2020, arXiv 2006.04347).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, gammaln

from invent_chain.errors import ConfigurationError
from invent_chain.protocols import FloatArray

Guarantee = Literal["each", "average"]

_PRIOR = 0.5
"""Jeffreys' prior for a share: Beta(1/2, 1/2)."""


def expected_share(agree: int, asked: int, total: int) -> float:
    """Return the share of all `total` answers that is expected to agree, in [0, 1], after `agree` of `asked` did.

    The posterior mean of K / N: equal to `agree / total` once everything was asked, so that scores are comparable
    whatever number was reached; 1/2 before anything was.

    Args:
        agree: Answers that agree, 0 <= agree <= asked.
        asked: Answers asked for so far; those that did not come count as not agreeing.
        total: Answers of the whole plan, >= 1.
    """
    each = (agree + _PRIOR) / (asked + 2 * _PRIOR)
    return (agree + (total - asked) * each) / total


class SequentialTest:
    """Looks at one question's answers as they come, and says when its decision is settled.

    Args:
        decisions: What follows if 0, 1, ..., N of the N answers agree, (N + 1,).
        error: Probability of settling for another decision than all N answers would lead to, in (0, 1).
        guarantee: "each" bounds it for every question, whatever its K (the confidence sequence). "average" bounds it
            over questions whose shares are spread like the prior (the posterior probability of any other decision
            is at most `error`); it stops sooner, and errs more often where K lies next to a threshold.

    Raises:
        ConfigurationError: `error` or `guarantee` is out of range.
    """

    def __init__(self, decisions: Sequence[Hashable], *, error: float, guarantee: Guarantee = "each") -> None:
        check_test(error, guarantee)
        labels = {decision: k for k, decision in enumerate(dict.fromkeys(decisions))}
        self._labels = np.array([labels[decision] for decision in decisions])
        self._total = len(decisions) - 1
        self._error, self._guarantee = error, guarantee
        self._alive = np.ones(len(decisions), dtype=bool)

    def look(self, agree: int, asked: int) -> bool:
        """Take note of what came so far, and return whether the decision is settled."""
        if self._guarantee == "each":
            self._alive &= self._in_reach(np.array([agree]), np.array([asked]))[0]
        return bool(self._settled(np.array([agree]), np.array([asked]))[0])

    def fewest(self, agree: int, asked: int) -> int:
        """Return how many more answers it takes at least, if all agree or none does; at most all that are left."""
        left = self._total - asked
        more = np.arange(1, left + 1)
        settled = self._settled(np.full(left, agree), asked + more) | self._settled(agree + more, asked + more)
        return int(more[settled][0]) if settled.any() else left

    def _settled(self, agree: NDArray[np.int64], asked: NDArray[np.int64]) -> NDArray[np.bool_]:
        counts = np.arange(len(self._labels))
        inside = (counts >= agree[:, None]) & (counts <= self._total - (asked - agree)[:, None])
        if self._guarantee == "each":
            possible = inside & self._alive & self._in_reach(agree, asked)
            least = np.where(possible, self._labels, self._total + 1).min(axis=1)
            most = np.where(possible, self._labels, -1).max(axis=1)
            return np.asarray(least == most)  # never where the bound has excluded every K
        chances = np.where(inside, np.exp(self._log_posterior(agree, asked)), 0.0)
        by_label = np.stack([chances[:, self._labels == k].sum(axis=1) for k in range(self._labels.max() + 1)], axis=1)
        return np.asarray(by_label.max(axis=1) >= 1.0 - self._error)

    def _in_reach(self, agree: NDArray[np.int64], asked: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether each K has a ratio prior to posterior below `1 / error`: (looks, N + 1)."""
        counts, s, t = np.arange(self._total + 1), agree[:, None], asked[:, None]
        drawn = _log_choose(counts, s) + _log_choose(self._total - counts, t - s) - _log_choose(self._total, t)
        return np.asarray(drawn - _log_beta_binomial(s, t) > np.log(self._error))

    def _log_posterior(self, agree: NDArray[np.int64], asked: NDArray[np.int64]) -> FloatArray:
        counts, s, t = np.arange(self._total + 1), agree[:, None], asked[:, None]
        more, left = counts - s, self._total - t
        return np.asarray(
            _log_choose(left, more)
            + betaln(np.maximum(more, 0) + s + _PRIOR, np.maximum(left - more, 0) + t - s + _PRIOR)
            - betaln(s + _PRIOR, t - s + _PRIOR)
        )


def check_test(error: object, guarantee: object) -> None:
    """Check the settings of a test.

    Raises:
        ConfigurationError: One is out of range.
    """
    if not isinstance(error, int | float) or not 0.0 < error < 1.0:
        raise ConfigurationError(f"error={error!r}: a probability between 0 and 1, such as 0.05")
    if guarantee not in ("each", "average"):
        raise ConfigurationError(f"guarantee={guarantee!r}: choose 'each' or 'average'")


def _log_choose(n: Any, k: Any) -> FloatArray:
    """Return the logarithm of the binomial coefficient, -inf where it is 0."""
    n, k = np.broadcast_arrays(n, k)
    inside = (k >= 0) & (k <= n)
    n, k = np.where(inside, n, 0), np.where(inside, k, 0)
    return np.where(inside, gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0), -np.inf)


def _log_beta_binomial(s: NDArray[np.int64], t: NDArray[np.int64]) -> FloatArray:
    return np.asarray(_log_choose(t, s) + betaln(s + _PRIOR, t - s + _PRIOR) - betaln(_PRIOR, _PRIOR))
