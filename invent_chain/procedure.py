"""How one question's answers are asked for and compared: as much of the plan as the mode wants."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from invent_chain.assess import Assessment, Variant, agreeing, assess
from invent_chain.decide import Policy
from invent_chain.errors import describe
from invent_chain.measures import as_uncertainty
from invent_chain.offload import off_loop
from invent_chain.progress import Teller
from invent_chain.protocols import Similarity
from invent_chain.rounds import SCREENED, Answers, Mode, adaptive, screen
from invent_chain.rules import Situation, apply
from invent_chain.sequential import Guarantee, SequentialTest
from invent_chain.types import Status

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Procedure:
    """The settings of a scorer that say how answers become an assessment.

    Attributes:
        similarity: Compares texts.
        drop_echo: See `InvEntropy`, as all that is not said here.
        draws: Bootstrap draws.
        seed: Of the bootstrap and of the order of asking.
        variant: Of the bootstrap.
        policy: Whose decision has to be settled.
        mode: How much of the plan is asked.
        error: Probability of settling for another decision.
        guarantee: What `error` holds for.
        min_answers: Answers before the asking may stop.
        in_flight: Requests that go at once: no round is smaller.
        siblings: Siblings of a whole plan; with fewer the report is degraded.
    """

    similarity: Similarity
    drop_echo: bool
    draws: int
    seed: int
    variant: Variant
    policy: Policy
    mode: Mode
    error: float
    guarantee: Guarantee
    min_answers: int
    in_flight: int
    siblings: int

    @property
    def name(self) -> str:
        """The mode with what its scores depend on."""
        if self.mode != "adaptive":
            return self.mode
        after = f", min_answers={self.min_answers}" if self.min_answers else ""
        return f"adaptive(error={self.error:g}, {self.guarantee}{after})"

    def fewest(self, plan: Sequence[int]) -> int:
        """Return how many answers of a plan are asked for at least, the primary one not counted."""
        total = sum(plan)
        if self.mode == "screen" and len(plan) > SCREENED:
            return sum(plan[1 : 1 + SCREENED])
        if self.mode == "adaptive" and total:
            return min(total, max(self._test(total, "ok").fewest(0, 0), self.in_flight, self.min_answers))
        return total

    async def judge(
        self, asking: Answers, plan: Sequence[int], answer: str, questions: Sequence[str], tell: Teller
    ) -> tuple[Assessment | None, str | None, int]:
        """Ask for as much of the plan as the mode wants, and compare what came.

        Args:
            asking: What is asked.
            plan: Answers of the whole plan to each question, the primary one not counted, (m,).
            answer: The primary answer.
            questions: The original question, then its siblings, (m,).
            tell: Told when the comparing begins.

        Returns:
            What the answers say, why they say nothing, and how many were asked for.
        """
        asked = await self._ask_for(asking, plan, answer, questions)
        tell("compare")
        came = [[text for text in texts if text is not None] for texts in asking.answers]
        asked_for = [len(texts) + (k == 0) for k, texts in enumerate(asking.answers)]
        assessment, failure = await self._assess(
            questions, [[answer, *came[0]], *came[1:]], asked_for, sum(plan) - asked
        )
        return assessment, failure, asked

    async def _ask_for(self, asking: Answers, plan: Sequence[int], answer: str, questions: Sequence[str]) -> int:
        """Ask for as much of the plan as the mode wants; return how many answers were asked for."""

        async def same(groups: Sequence[tuple[int, Sequence[str]]]) -> int:
            named = [(questions[i], texts) for i, texts in groups]
            return await off_loop(
                partial(agreeing, questions[0], answer, named, similarity=self.similarity, drop_echo=self.drop_echo)
            )

        rng = np.random.default_rng([self.seed, *questions[0].encode("utf-8", "surrogatepass")])
        try:
            if self.mode == "screen":
                return await screen(asking, plan, agreeing=same, rng=rng)
            if self.mode == "adaptive" and any(plan):
                test = self._test(sum(plan), "ok" if len(plan) == self.siblings + 1 else "degraded")
                return await adaptive(
                    asking, plan, test=test, agreeing=same, rng=rng, first=self.min_answers, least=self.in_flight
                )
        except Exception as error:
            logger.debug("answers could not be compared between rounds", exc_info=error)
            return sum(len(texts) for texts in asking.answers)  # comparing them all will say what is wrong
        await asking.more(plan)
        return sum(plan)

    def _test(self, total: int, status: Status) -> SequentialTest:
        decisions: list[object] = []
        for agree in range(total + 1):
            situation = Situation(as_uncertainty("consensus", agree / total), status)
            try:
                decisions.append(apply(self.policy, situation).action)
            except Exception:  # noqa: BLE001 - the policy fails the report later; until then nothing is settled
                decisions.append(object())
        return SequentialTest(decisions, error=self.error, guarantee=self.guarantee)

    async def _assess(
        self,
        questions: Sequence[str],
        answers: Sequence[Sequence[str]],
        asked_for: Sequence[int],
        unasked: int,
    ) -> tuple[Assessment | None, str | None]:
        if sum(map(len, answers)) < 2:
            return None, "no answer came back to compare with"
        # A sibling that was left out on purpose is no state of the walk; one that stayed silent is.
        asked = [k for k, count in enumerate(asked_for) if count]
        try:
            found = await off_loop(
                lambda: assess(
                    [questions[k] for k in asked],
                    [answers[k] for k in asked],
                    similarity=self.similarity,
                    asked_for=[asked_for[k] for k in asked],
                    unasked=unasked,
                    draws=self.draws,
                    seed=self.seed,
                    drop_echo=self.drop_echo,
                    variant=self.variant,
                )
            )
        except Exception as error:  # noqa: BLE001 - a third-party encoder must not cost the primary answer
            return None, f"the answers could not be compared: {describe(error)}"
        closeness = dict(zip(asked, found.closeness, strict=True))
        agreement = dict(zip(asked, found.agreement, strict=True))
        everything = range(len(questions))
        return replace(
            found,
            closeness=tuple(closeness.get(k) for k in everything),
            agreement=tuple(agreement.get(k) for k in everything),
        ), None
