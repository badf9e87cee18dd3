"""One request, bounded in time and checked; what any model may do wrong becomes an `AskError`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import anyio

from invent_chain.errors import AskError, AskTimeoutError
from invent_chain.protocols import Ask, BatchAsk
from invent_chain.types import Replies, Sampling


class CountRejectedError(AskError):
    """The model rejected a request for several answers in a way that may be due to the count.

    An `Ask` that raises it is asked again for one answer.

    Attributes:
        certain: Whether the model said that it was the count.
    """

    def __init__(self, message: str, *, certain: bool = False) -> None:
        super().__init__(message)
        self.certain = certain


async def request(ask: Ask, question: str, *, n: int, sampling: Sampling, timeout: float) -> Replies:  # noqa: ASYNC109 - of one request
    """Send one request.

    Args:
        ask: The model.
        question: What to ask.
        n: Answers wanted, >= 1.
        sampling: Generation settings.
        timeout: Longest time in seconds, > 0.

    Returns:
        One to `n` answers, each with at least one visible character; token counts where they are plausible.

    Raises:
        AskError: No usable answer came, for whatever reason; only cancellation passes through as it is.
    """
    with anyio.move_on_after(timeout), _its_errors(ask):
        pending = ask.ask(question, n=n, sampling=sampling)
        if not inspect.isawaitable(pending):
            raise AskError(
                f"{type(ask).__name__}.ask returned a {type(pending).__name__} instead of an awaitable: "
                "declare it `async def`, or pass a callable"
            )
        return _checked(await pending, ask, n)
    raise AskTimeoutError(f"no answer within timeout={timeout:g} s: raise timeout, or lower concurrency or max_tokens")


async def request_many(ask: BatchAsk, wanted: Sequence[tuple[str, int]], *, sampling: Sampling) -> list[Replies]:
    """Send one request for many questions; it takes as long as it takes.

    Args:
        ask: The model.
        wanted: (question, answers wanted >= 1) pairs.
        sampling: Generation settings.

    Returns:
        For each pair at most as many answers as were wanted, blank ones included.

    Raises:
        AskError: No usable answers came, for whatever reason; only cancellation passes through as it is.
    """
    with _its_errors(ask):
        replies = await ask.ask_many(wanted, sampling=sampling)
        if len(replies) != len(wanted):
            raise AskError(
                f"{_name(ask)} gave {len(replies)} replies to {len(wanted)} questions: ask_many returns one for each"
            )
        return [_kept(reply, ask, n) for reply, (_, n) in zip(replies, wanted, strict=True)]


async def hedged(send: Callable[[], Awaitable[Replies]], after: float, may_send: Callable[[], bool]) -> Replies:
    """Send a request, and once more if it is still unanswered `after` seconds: the first answer counts.

    Args:
        send: Sends it.
        after: Seconds, > 0.
        may_send: Asked before the second copy is sent.

    Raises:
        AskError: Neither copy was answered; what the first one raised.
    """
    came: list[Replies] = []
    errors: list[AskError] = []
    async with anyio.create_task_group() as group:
        first_ended = anyio.Event()

        async def copy() -> None:
            try:
                came.append(await send())
                group.cancel_scope.cancel()
            except AskError as error:
                errors.append(error)
            finally:
                first_ended.set()

        group.start_soon(copy)
        with anyio.move_on_after(after):
            await first_ended.wait()
        if not first_ended.is_set() and may_send():
            group.start_soon(copy)
    if came:
        return came[0]
    raise errors[0]


@contextmanager
def _its_errors(ask: Ask) -> Iterator[None]:
    """Turn whatever the model raises into an `AskError`."""
    try:
        yield
    except AskError:
        raise
    except asyncio.CancelledError as error:
        if _cancel_requested():
            raise
        # Nobody cancelled this request: the model awaited something that was. Let through, it would silently cancel
        # all requests beside it.
        raise AskError(
            f"{_name(ask)} was cancelled from inside: shield it from the cancellation of other tasks"
        ) from error
    except Exception as error:
        raise AskError(f"{_name(ask)} raised {type(error).__name__}: {error}") from error


def _cancel_requested() -> bool:
    try:
        task = asyncio.current_task()
    except RuntimeError:  # on trio
        return False
    return task is not None and task.cancelling() > 0


def _checked(replies: object, ask: Ask, n: int) -> Replies:
    kept = _kept(replies, ask, None)
    texts = tuple(text for text in kept.texts if text.strip())[:n]
    if not texts:
        raise AskError(
            f"{_name(ask)} returned {len(kept.texts)} answers and none of them is a text with visible characters: "
            "raise max_tokens, or check the model"
        )
    return Replies(texts, kept.prompt_tokens, kept.completion_tokens)


def _kept(replies: object, ask: Ask, n: int | None) -> Replies:
    """Return what is usable of the first n answers; what is no text counts as blank."""
    if not isinstance(replies, Replies) or not isinstance(replies.texts, (tuple, list)):
        got = f"texts={type(replies.texts).__name__}" if isinstance(replies, Replies) else type(replies).__name__
        raise AskError(f"{_name(ask)} returned {got}: an Ask returns Replies(texts=(answer, ...))")
    came: tuple[object, ...] = tuple(replies.texts)[:n]
    texts = tuple(text if isinstance(text, str) else "" for text in came)
    return Replies(texts, _tokens(replies.prompt_tokens), _tokens(replies.completion_tokens))


def _tokens(count: object) -> int | None:
    return count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None


def _name(ask: Ask) -> str:
    return str(getattr(ask, "name", type(ask).__name__))
