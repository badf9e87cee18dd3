"""Sample a model over a question file, once, so that every measure can be computed from what is stored."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import anyio
import numpy as np

from invent_chain.embed import as_similarity
from invent_chain.errors import InventError
from invent_chain.evaluate.dataset import Question
from invent_chain.evaluate.samples import SampledSibling, Samples
from invent_chain.loop_thread import LoopThread
from invent_chain.perturb import as_perturber
from invent_chain.protocols import Ask, PerturbContext, Perturber, Similarity
from invent_chain.sample import as_ask, ask_once, prompt_of, sample
from invent_chain.sample.settings import check_whole
from invent_chain.types import Perturbation, Sampling

logger = logging.getLogger(__name__)


class Store(Protocol):
    """Where samples go; `SampleStore` is one."""

    def ids(self) -> set[str]:
        """Return the ids of the questions that are stored."""
        ...

    def append(self, samples: Samples) -> None:
        """Store samples."""
        ...


@dataclass(frozen=True, slots=True)
class Collected:
    """What a run of `collect` did.

    Attributes:
        stored: Questions stored in this run.
        skipped: Questions that were in the store before.
        failed: Why a question could not be sampled, by its id; another run tries it again.
        requests: Requests sent in this run.
    """

    stored: int
    skipped: int
    failed: dict[str, str]
    requests: int


class Collector:
    """Samples questions into a store; resumable, several questions at a time.

    Args:
        ask: The model, as for `InvEntropy`.
        store: Where samples go. Questions whose id is in it are not asked again.
        n: Perturbations of each question, >= 0.
        r: Answers to each of them, >= 1.
        replications: Further answers to the original question, >= 0.
        perturber: As for `InvEntropy`.
        similarity: As for `InvEntropy`; guides the perturber.
        temperature: Sampling temperature of all but the primary answer, which has the model's own settings.
        max_tokens: Longest answer in tokens.
        seed: Seed of the perturbations: each question has its own stream, whatever the order.
        at_once: Questions under way at a time, >= 1.
        concurrency: Requests in flight for each of them, >= 1.
        timeout: Longest time for one request in seconds.
        template: Prompt template to note in the samples; it is not applied.

    Raises:
        ConfigurationError: A setting is out of range.
    """

    def __init__(
        self,
        ask: Any,
        store: Store,
        *,
        n: int = 9,
        r: int = 5,
        replications: int = 9,
        perturber: Any = "gaap",
        similarity: Any = None,
        temperature: float | None = 0.7,
        max_tokens: int | None = None,
        seed: int = 0,
        at_once: int = 4,
        concurrency: int = 4,
        timeout: float = 60.0,
        template: str = "",
    ) -> None:
        for name, value, least in (
            ("n", n, 0),
            ("r", r, 1),
            ("replications", replications, 0),
            ("seed", seed, 0),
            ("at_once", at_once, 1),
        ):
            check_whole(name, value, least=least)
        self._ask: Ask = as_ask(ask)
        self._store = store
        self._perturber: Perturber = as_perturber(perturber)
        self._similarity: Similarity = as_similarity(similarity)
        self._n, self._r, self._replications, self._seed = n, r, replications, seed
        self._sampling = Sampling(temperature=temperature, max_tokens=max_tokens)
        self._primary = Sampling(max_tokens=max_tokens)
        self._at_once, self._concurrency, self._timeout = at_once, concurrency, timeout
        self._template = template
        self._requests = 0

    def run(self, questions: Sequence[Question], *, progress: Callable[[int, int], object] | None = None) -> Collected:
        """Do what `arun` does, from sync code."""
        loop = LoopThread()
        try:
            return loop.run(self.arun(questions, progress=progress))
        finally:
            loop.close()

    async def arun(
        self, questions: Sequence[Question], *, progress: Callable[[int, int], object] | None = None
    ) -> Collected:
        """Sample what is not stored yet.

        Args:
            questions: The questions.
            progress: Called with (questions done or failed, questions in all) after each.

        Raises:
            InputError: The store holds a line that is no record.
        """
        known = self._store.ids()
        todo = [question for question in questions if question.id not in known]
        skipped, failed, started = len(questions) - len(todo), {}, self._requests
        limiter = anyio.Semaphore(self._at_once)

        async def one(question: Question) -> None:
            async with limiter:
                try:
                    self._store.append(await self._samples(question))
                except InventError as error:
                    failed[question.id] = str(error)
                done = len(questions) - len(todo) + next(count)
                if progress is not None:
                    progress(done, len(questions))

        count = iter(range(1, len(todo) + 1))
        async with anyio.create_task_group() as group:
            for question in todo:
                group.start_soon(one, question)
        return Collected(len(todo) - len(failed), skipped, failed, self._requests - started)

    async def _samples(self, question: Question) -> Samples:
        text = question.question
        self._requests += 1
        answer, _ = await ask_once(self._ask, text, sampling=self._primary, timeout=self._timeout)
        rng = np.random.default_rng([self._seed, *question.id.encode()])
        context = PerturbContext(rng=rng, similarity=self._similarity, ask=getattr(self._ask, "bare", self._ask))
        perturbations: tuple[Perturbation, ...] = ()
        if self._n:
            perturbed = await self._perturber.perturb(text, self._n, context)
            perturbations = perturbed.perturbations
            self._requests += perturbed.usage.requests
        sampled = await sample(
            self._ask,
            [(text, self._replications), *((p.text, self._r) for p in perturbations)],
            sampling=self._sampling,
            concurrency=self._concurrency,
            timeout=self._timeout,
        )
        self._requests += sampled.usage.requests
        first, *others = sampled.outcomes
        if first.failures:
            logger.warning("question %s: %d answers did not come back", question.id, len(first.failures))
        return Samples(
            id=question.id,
            question=text,
            gold=question.answers,
            exact_case=question.exact_case,
            model=str(getattr(self._ask, "name", type(self._ask).__name__)),
            template=self._template,
            temperature=self._sampling.temperature,
            answer=answer,
            replications=first.texts,
            siblings=tuple(
                SampledSibling(p.text, p.operator, p.similarity, outcome.texts)
                for p, outcome in zip(perturbations, others, strict=True)
            ),
            prompt=prompt_of(self._ask),
        )
