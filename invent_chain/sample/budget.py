"""What asking may cost, checked before each request."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from invent_chain.types import Price, Replies, Usage

_CHARACTERS = 4
"""Characters in a token, where the model does not count them: a rule of thumb for English."""


def tokens_of(text: str) -> int:
    """Return about how many tokens a text has: one for four characters."""
    return ceil(len(text) / _CHARACTERS)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Most that the siblings of one question may cost; None is no bound.

    Attributes:
        requests: Requests.
        tokens: Tokens, read and written.
        cost: Money, by `price`.
        price: Price of the model.
    """

    requests: int | None = None
    tokens: int | None = None
    cost: float | None = None
    price: Price | None = None

    @property
    def of_tokens(self) -> bool:
        """Whether something is bounded that only shows in the replies."""
        return self.tokens is not None or self.cost is not None


class Ledger:
    """Keeps account of what was spent and what requests in flight may still cost.

    A request is let through only if, at the highest price seen so far, it keeps to the bounds together with all those
    in flight. Before anything was seen, one request for one answer goes alone; only that one can pass a bound.

    Args:
        bounds: Most that may be spent.
        max_tokens: Longest answer, if it is limited.
    """

    def __init__(self, bounds: Bounds, max_tokens: int | None) -> None:
        self._bounds, self._max_tokens = bounds, max_tokens
        self.usage = Usage()
        self.guessed = False
        """Whether tokens had to be estimated, since the model does not count them."""
        self._prompt, self._completion = 0, 0
        self._written = 0  # most tokens of one answer so far
        self._read = 0  # most tokens of one prompt so far
        self._in_flight: list[tuple[int, int]] = []

    def stop(self, prompt: str, n: int) -> tuple[int, str | None]:
        """Return how many of `n` answers the next request may want, and why none if that is 0; -1 is "wait"."""
        bounds = self._bounds
        if bounds.requests is not None and self.usage.requests >= bounds.requests:
            return 0, f"max_requests={bounds.requests} reached: raise it or ask for fewer answers"
        if not bounds.of_tokens:
            return n, None
        if not self._read and self._in_flight:
            return -1, None
        sizes = (n, *(k for k in (n // 2, 1) if 0 < k < n)) if self._read else (1,)
        for fewer in sizes:
            if self._fits(self._expected(prompt, fewer)):
                return fewer, None
        if self._in_flight:
            return -1, None  # what comes back may be cheaper than feared
        name, value = ("max_cost", bounds.cost) if bounds.tokens is None else ("max_total_tokens", bounds.tokens)
        return 0, f"{name}={value:g} would be passed by another request: raise it or ask for fewer answers"

    def sent(self, prompt: str, n: int) -> tuple[int, int]:
        """Take note of a request for `n` answers; returns what to hand to `done`."""
        self.usage += Usage(requests=1)
        expected = self._expected(prompt, n)
        self._in_flight.append(expected)
        return expected

    def hedge(self, prompt: str, n: int) -> bool:
        """Take note of a second copy of a request in flight, unless the bounds forbid it."""
        allowed, _ = self.stop(prompt, n)
        if allowed != n:
            return False
        self.usage += Usage(requests=1)
        return True

    def done(self, expected: tuple[int, int], prompt: str, replies: Replies | None) -> None:
        """Take note of what came of it; None if it failed, which then costs nothing that is known."""
        self._in_flight.remove(expected)
        if replies is None:
            return
        self.usage += Usage(prompt_tokens=replies.prompt_tokens, completion_tokens=replies.completion_tokens)
        read, written = replies.prompt_tokens, replies.completion_tokens
        if read is None or written is None:
            self.guessed = True
        read = tokens_of(prompt) if read is None else read
        written = sum(map(tokens_of, replies.texts)) if written is None else written
        self._prompt, self._completion = self._prompt + read, self._completion + written
        self._read = max(self._read, read)
        self._written = max(self._written, ceil(written / len(replies.texts)))

    def cost(self) -> float | None:
        """Return what was spent; None without a price."""
        return None if self._bounds.price is None else self._bounds.price.of(self._prompt, self._completion)

    def _expected(self, prompt: str, n: int) -> tuple[int, int]:
        written = self._max_tokens if self._max_tokens is not None else self._written
        return max(self._read, tokens_of(prompt)), n * written

    def _fits(self, expected: tuple[int, int]) -> bool:
        read = self._prompt + sum(r for r, _ in self._in_flight) + expected[0]
        written = self._completion + sum(w for _, w in self._in_flight) + expected[1]
        bounds = self._bounds
        if bounds.tokens is not None and read + written > bounds.tokens:
            return False
        return bounds.cost is None or bounds.price is None or bounds.price.of(read, written) <= bounds.cost
