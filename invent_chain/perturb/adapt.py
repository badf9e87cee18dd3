"""Make a perturber out of what the user passes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import anyio.to_thread

from invent_chain.errors import ConfigurationError, PerturbationError
from invent_chain.perturb.gaap import GAAP
from invent_chain.perturb.paraphrase import Paraphrase
from invent_chain.protocols import PerturbContext, Perturber
from invent_chain.types import Perturbation, Perturbed

_MOST_ITEMS = 10_000
"""Read from what a callable returns, so that an endless generator does not hang the scorer."""


class ReplicationOnly:
    """No siblings: only replications of the question itself are asked."""

    name = "none"

    async def perturb(self, question: str, n: int, context: PerturbContext) -> Perturbed:  # noqa: ARG002
        """Return nothing."""
        return Perturbed()


class CallablePerturber:
    """Any function `(question, n) -> texts or Perturbations`, sync (in a worker thread) or async.

    Args:
        function: The function.
        name: Name in fingerprints; None takes the function's.
    """

    def __init__(self, function: Callable[[str, int], Any], name: str | None = None) -> None:
        self._function = function
        self.name = name or getattr(function, "__qualname__", type(function).__name__)

    async def perturb(self, question: str, n: int, context: PerturbContext) -> Perturbed:  # noqa: ARG002
        """Return what the function gives, without blanks, repeats and the question itself; at most `n`.

        Raises:
            PerturbationError: It raised, or returned something that holds no texts.
        """
        try:
            if inspect.iscoroutinefunction(self._function):
                given = await self._function(question, n)
            else:
                given = await anyio.to_thread.run_sync(self._function, question, n)
                if inspect.isawaitable(given):  # a lambda or an object around an async function
                    given = await given
            items = await anyio.to_thread.run_sync(self._listed, given)
        except PerturbationError:
            raise
        except Exception as error:
            raise PerturbationError(f"the perturber {self.name} raised {type(error).__name__}: {error}") from error
        return self._checked(items, question, n)

    def _listed(self, given: object) -> list[object]:
        if isinstance(given, str | bytes) or not isinstance(given, Iterable):
            raise PerturbationError(
                f"the perturber {self.name} returned a {type(given).__name__}; expected a list of texts"
            )
        return list(islice(given, _MOST_ITEMS))

    def _checked(self, items: list[object], question: str, n: int) -> Perturbed:
        kept: dict[str, Perturbation] = {}
        for item in items:
            text = item.text if isinstance(item, Perturbation) else item
            if not isinstance(text, str):
                kind = type(text).__name__
                raise PerturbationError(
                    f"the perturber {self.name} returned a {kind} among its siblings; expected text"
                )
            if text.strip() and text.strip() != question.strip():
                kept.setdefault(text.strip(), item if isinstance(item, Perturbation) else Perturbation(text))
        siblings = tuple(kept.values())[:n]
        dropped = len(items) - len(siblings)
        note = (
            f"{dropped} of {len(items)} siblings were dropped: blank, repeated, the question itself, or more than {n}"
        )
        short = f"the perturber {self.name} gave {len(siblings)} of {n} siblings"
        return Perturbed(siblings, (*((note,) if dropped else ()), *((short,) if len(siblings) < n else ())))


def as_perturber(what: Any) -> Perturber:
    """Make a perturber of "gaap", "paraphrase", "none", a `Perturber`, or a function `(question, n) -> texts`.

    Raises:
        ConfigurationError: None of these.
    """
    named: dict[str, Callable[[], Perturber]] = {"gaap": GAAP, "paraphrase": Paraphrase, "none": ReplicationOnly}
    if isinstance(what, str) and what in named:
        return named[what]()
    if isinstance(what, type):
        raise ConfigurationError(f"perturber={what.__name__}: pass an instance, {what.__name__}(...)")
    if isinstance(what, Perturber):
        return what
    if callable(what):
        return CallablePerturber(what)
    raise ConfigurationError(
        f"perturber={what!r}: pass 'gaap', 'paraphrase', 'none', a Perturber, or a function (question, n) -> texts"
    )
