"""Which answers of a plan to ask for, round by round, until the decision is settled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, Protocol

import numpy as np

from invent_chain.sequential import SequentialTest

Mode = Literal["fixed", "adaptive", "screen"]

SCREENED = 2
"""Siblings that mode "screen" asks first."""


class Answers(Protocol):
    """What can be asked for more; `sample.Asking` is one, stored samples are another."""

    @property
    def answers(self) -> Sequence[Sequence[str | None]]:
        """Answers of each question so far; None for one that did not come."""
        ...

    @property
    def stopped(self) -> str | None:
        """Why nothing more can be asked, if so."""
        ...

    async def more(self, counts: Sequence[int]) -> None:
        """Ask question i for `counts[i]` more answers."""
        ...


class Stored:
    """Answers that were asked for before, handed out as if they were asked for now.

    Args:
        given: Answers to each question, in the order of their replications.
    """

    stopped = None

    def __init__(self, given: Sequence[Sequence[str]]) -> None:
        self._given = given
        self._out: list[list[str | None]] = [[] for _ in given]

    @property
    def answers(self) -> list[list[str | None]]:
        """Answers of each question so far; None for one that was not stored."""
        return self._out

    async def more(self, counts: Sequence[int]) -> None:
        """Hand out `counts[i]` more answers to question i."""
        for out, given, count in zip(self._out, self._given, counts, strict=True):
            some = list(given[len(out) : len(out) + count])
            out += [*some, *[None] * (count - len(some))]


Agreeing = Callable[[Sequence[tuple[int, Sequence[str]]]], Awaitable[int]]
"""Counts how many of these answers, by the number of their question, say the same as the primary one."""


async def adaptive(
    answers: Answers,
    plan: Sequence[int],
    *,
    test: SequentialTest,
    agreeing: Agreeing,
    rng: np.random.Generator,
    first: int,
    least: int,
) -> int:
    """Ask in rounds, in an order drawn at random, until the test says that the decision is settled.

    A round asks for the fewest answers that could settle it: where the decision is near, little is asked for.

    Args:
        answers: What is asked.
        plan: Answers of the whole plan to each question, (m,).
        test: The test, made for `sum(plan)` answers.
        agreeing: Compares the new answers with the primary one.
        rng: Draws the order: the test counts on it.
        first: Least answers before the first look, >= 0.
        least: Least answers of a round, >= 1: what goes in parallel is not worth another round.

    Returns:
        Answers that were asked for; those that did not come are counted as not agreeing.
    """
    order = rng.permutation(np.repeat(np.arange(len(plan)), plan))
    asked = agree = 0
    while asked < len(order):
        size = max(test.fewest(agree, asked), least, first - asked)
        counts = np.bincount(order[asked : asked + size], minlength=len(plan)).tolist()
        agree += await agreeing(await _asked(answers, counts))
        asked += sum(counts)
        if test.look(agree, asked) or answers.stopped is not None:
            break
    return asked


async def screen(answers: Answers, plan: Sequence[int], *, agreeing: Agreeing, rng: np.random.Generator) -> int:
    """Ask two siblings first, and the rest only if their answers do not all agree with the primary one, or all differ.

    Args and what is returned: see `adaptive`. With fewer than two siblings the whole plan is asked.
    """
    siblings = [i for i in range(1, len(plan)) if plan[i]]
    chosen = set(rng.permutation(siblings)[:SCREENED].tolist()) if len(siblings) >= SCREENED else set()
    first = [count if i in chosen else 0 for i, count in enumerate(plan)]
    if chosen:
        agree = await agreeing(await _asked(answers, first))
        if agree in (0, sum(first)) or answers.stopped is not None:
            return sum(first)
    await answers.more([count - done for count, done in zip(plan, first, strict=True)])
    return sum(plan)


async def _asked(answers: Answers, counts: Sequence[int]) -> list[tuple[int, list[str]]]:
    """Ask for more, and return what came."""
    before = [len(texts) for texts in answers.answers]
    await answers.more(counts)
    return [
        (i, [text for text in texts[start:] if text is not None])
        for i, (texts, start) in enumerate(zip(answers.answers, before, strict=True))
        if len(texts) > start
    ]
