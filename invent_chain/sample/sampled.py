"""What bounds the asking, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from invent_chain.types import Usage


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one question.

    Attributes:
        question: The text asked.
        texts: The answers in the order of their slots, at most as many as were wanted.
        failures: One sentence for each answer that did not come.
    """

    question: str
    texts: tuple[str, ...]
    failures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sampled:
    """What came of all questions.

    Attributes:
        outcomes: One for each wanted question, in the order of `wanted`.
        usage: Requests sent (failed ones included; retries inside a client are not seen), tokens where the model
            says, wall-clock seconds, answers that came out of the cache.
        notes: What made it costlier than planned, and what could not be cached.
    """

    outcomes: tuple[Outcome, ...]
    usage: Usage
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What bounds the asking.

    Attributes:
        concurrency: Most requests in flight for one question and its siblings, >= 1. A sync model that times out still
            runs in its thread.
        timeout: Longest time for one request in seconds, > 0, counted from when it is sent. A model that answers all
            questions in one go (`BatchAsk`) is bounded by `deadline` alone.
        max_requests: Most requests in all, >= 1; None for no limit.
        max_total_tokens: Most tokens in all, read and written, >= 1; None for no limit.
        max_cost: Most money in all, > 0; None for no limit.
        deadline: Longest time for all requests in seconds, > 0; None for no limit.
        hedge: Seconds after which a request that is still unanswered is sent once more, the first answer counting;
            None never does. Both are paid for.
    """

    concurrency: int = 8
    timeout: float = 60.0
    max_requests: int | None = None
    max_total_tokens: int | None = None
    max_cost: float | None = None
    deadline: float | None = None
    hedge: float | None = None
