"""Any callable `question -> answer` as a model."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from invent_chain.errors import AskError, ConfigurationError
from invent_chain.sample.thread import in_thread
from invent_chain.types import Replies, Sampling

_FIXES = {
    "NoneType": "add the missing return",
    "list": "return one answer a call, such as its first item",
    "tuple": "return one answer a call, such as its first item",
    "dict": "return the field that holds the text",
    "bytes": "return answer.decode()",
    "AIMessage": "return message.text",
}


class CallableAsk:
    """Ask any sync or async callable; sync ones run in a worker thread.

    The callable gets the question as its only positional argument. If its signature takes `temperature` or
    `max_tokens` by keyword (or `**kwargs`), the settings of a request that are not None are passed as well.
    A timeout or cancellation leaves a sync call running in its thread: give the callable a timeout of its own, since
    Python waits for such threads before it exits.

    Args:
        fn: Function, method, lambda, `functools.partial` or object with `__call__`; plain or async.
        name: Name in the fingerprint; the callable's own by default.
        identity: Stands for everything that answers depend on besides the question, such as "my-prompt v3": with it
            they may be cached.

    Raises:
        ConfigurationError: `fn` is not callable with one argument.
    """

    max_n = 1

    def __init__(self, fn: Callable[..., Any], name: str | None = None, *, identity: str = "") -> None:
        _check_callable(fn)
        if not isinstance(identity, str):
            raise ConfigurationError(f"identity={identity!r}: must be a text, or '' for answers that are not cached")
        self.identity = identity
        self.name = name if name is not None else _name(fn)
        self._fn = fn
        self._settings = _settings_taken(fn, self.name)
        self._is_async = _is_async(fn)

    def __repr__(self) -> str:
        return f"CallableAsk({self.name})"

    async def ask(self, question: str, *, n: int, sampling: Sampling) -> Replies:  # noqa: ARG002 - one answer a call
        """Call it once; one answer comes back whatever `n` is.

        Raises:
            AskError: It raised, or returned something other than a text with at least one visible character.
        """
        settings = {name: value for name in self._settings if (value := getattr(sampling, name)) is not None}
        call = functools.partial(self._fn, question, **settings)
        try:
            answer = call() if self._is_async else await in_thread(call)
            if inspect.isawaitable(answer):  # also what a lambda around an async function returns
                answer = await answer
        except AskError:
            raise
        except Exception as error:
            raise AskError(
                f"the callable {self.name} raised {type(error).__name__}: {error}; make it return an answer for any "
                "question, or raise AskRefusedError where asking again is useless"
            ) from error
        return Replies(texts=(self._checked(answer),))

    def _checked(self, answer: object) -> str:
        if not isinstance(answer, str):
            got = type(answer).__name__
            fix = _FIXES.get(got, "convert it to text in the callable")
            got = "None" if answer is None else f"a {got}"
            raise AskError(f"the callable {self.name} returned {got} instead of the answer as str: {fix}")
        if not answer.strip():
            raise AskError(
                f"the callable {self.name} returned an empty text ({len(answer)} blank characters) instead of an "
                "answer: raise its token limit, or raise an error there"
            )
        return answer


def _check_callable(fn: object) -> None:
    if not callable(fn) or isinstance(fn, type):
        what = f"the class {fn.__name__}" if isinstance(fn, type) else f"a {type(fn).__name__}"
        raise ConfigurationError(f"CallableAsk got {what}: pass a function or object callable with one question")


def _unwrapped(fn: Any) -> Any:
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn


def _name(fn: Any) -> str:
    inner = _unwrapped(fn)
    return str(getattr(inner, "__name__", type(inner).__name__))


def _is_async(fn: Any) -> bool:
    inner = _unwrapped(fn)
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(type(inner).__call__)


def _settings_taken(fn: Callable[..., Any], name: str) -> tuple[str, ...]:
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):  # some builtins have none
        return ()
    try:
        signature.bind("question")
    except TypeError as error:
        raise ConfigurationError(
            f"the callable {name}{signature} cannot be called with one positional argument, the question ({error}): "
            "wrap it, for instance lambda question: call(question, ...)"
        ) from None
    first, *others = signature.parameters.values()
    kinds = {p.name: p.kind for p in (others if first.kind is not first.VAR_POSITIONAL else [first, *others])}
    anything = inspect.Parameter.VAR_KEYWORD in kinds.values()
    by_keyword = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return tuple(s for s in ("temperature", "max_tokens") if kinds.get(s) in by_keyword or anything)
