"""The main job, on scripted models: what a user gets when all is well, and when it is not."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from string import ascii_lowercase

import numpy as np
import pytest

from invent_chain import GAAP, InvEntropy, Thresholds, UncertaintyReport
from invent_chain.errors import AskError, AskRefusedError, ConfigurationError, InputError
from invent_chain.progress import Progress
from invent_chain.protocols import PerturbContext
from invent_chain.types import Decision, Perturbation, Perturbed, Replies, Sampling

QUESTION = "What is the capital of Palau?"


def siblings(question: str, n: int) -> list[str]:
    return [f"{question} ({i})" for i in range(n)]


def scorer(ask: object, **settings: object) -> InvEntropy:
    return InvEntropy(ask, **{"perturber": siblings, "n": 4, "r": 3, **settings})  # type: ignore[arg-type]


async def steady(question: str) -> str:
    return "Koror"


class Scattered:
    """Gives another answer every time."""

    def __init__(self) -> None:
        self.words = iter(f"{word}{word}" for word in ascii_lowercase)
        self.calls = 0

    def __call__(self, question: str) -> str:
        self.calls += 1
        return next(self.words) * 3


def test_a_steady_model_is_certain_and_a_scattered_one_is_not() -> None:
    certain = scorer(steady).score(QUESTION)
    scattered = scorer(Scattered()).score(QUESTION)
    assert certain.answer == "Koror"
    assert certain.score == pytest.approx(0.0, abs=1e-9)
    assert certain.decision.action == "answer"
    assert scattered.score > 0.9
    assert scattered.decision.action == "abstain"
    assert certain.status == scattered.status == "ok"
    assert certain.measures["normalised"] < scattered.measures["normalised"]
    assert certain.confidence is None


@pytest.mark.parametrize("question", [QUESTION, "What is the capital of France?", "Who wrote Kalevala?"])
def test_equal_answers_are_not_more_certain_than_certain(question: str) -> None:
    report = InvEntropy(steady, n=9, r=5).score(question)
    assert report.score == 0.0
    assert report.measures["support"] == 1.0


def test_the_given_answer_counts_as_a_replication_and_is_returned_as_it_is() -> None:
    ask = Scattered()
    given = "  Koror\n"
    report = scorer(ask).score(QUESTION, answer=given)
    assert report.answer == given
    assert ask.calls == 5 * 3 - 1
    assert report.siblings[0].answers[0] == given
    assert [len(s.answers) for s in report.siblings] == [3] * 5


def test_without_an_answer_the_model_is_asked_once_more_with_its_own_settings() -> None:
    seen: list[float | None] = []

    def ask(question: str, temperature: float | None = None) -> str:
        seen.append(temperature)
        return "Koror"

    report = scorer(ask).score(QUESTION)
    assert seen[0] is None
    assert seen[1:] == [0.7] * 14
    assert report.usage.requests == 15


@pytest.mark.parametrize("question", ["", "  \n\t ", "x" * 100_000, None, b"What?", ["What?"]])
def test_a_bad_question_is_an_error_before_any_request(question: object) -> None:
    ask = Scattered()
    with pytest.raises(InputError, match="question"):
        scorer(ask).score(question)  # type: ignore[arg-type]
    assert ask.calls == 0


@pytest.mark.parametrize("answer", ["", "   ", b"Koror", 3])
def test_a_bad_answer_is_an_error_before_any_request(answer: object) -> None:
    ask = Scattered()
    with pytest.raises(InputError, match="answer"):
        scorer(ask).score(QUESTION, answer=answer)  # type: ignore[arg-type]
    assert ask.calls == 0


@pytest.mark.parametrize("bad", [None, ["Koror"], b"Koror", "", 42])
def test_a_callable_that_returns_no_text(bad: object) -> None:
    with pytest.raises(AskError):
        scorer(lambda question: bad).score(QUESTION)
    report = scorer(lambda question: bad).score(QUESTION, answer="Koror")
    assert (report.status, report.answer, report.score) == ("failed", "Koror", 1.0)
    assert report.decision.action == "abstain"
    assert report.measures == {}
    assert "14 of 14 answers did not come back" in report.problems[0]


def test_one_failing_sibling_costs_that_sibling() -> None:
    def ask(question: str) -> str:
        if question.endswith("(2)"):
            raise RuntimeError("boom")
        return "Koror"

    report = scorer(ask).score(QUESTION, answer="Koror")
    assert report.status == "degraded"
    assert "boom" in report.problems[0]
    assert [len(s.answers) for s in report.siblings] == [3, 3, 3, 0, 3]
    assert report.siblings[3].agreement is None
    assert 0.0 < report.score < 0.5, "a silent sibling raises uncertainty"


def test_a_refusal_stops_the_batch() -> None:
    class Refusing:
        calls = 0

        async def ask(self, question: str, *, n: int, sampling: Sampling) -> Replies:
            self.calls += 1
            raise AskRefusedError("401: wrong key")

    ask = Refusing()
    report = scorer(ask, concurrency=1).score(QUESTION, answer="Koror")
    assert ask.calls == 1
    assert report.status == "failed"
    assert "401" in report.explain()


def test_a_bound_degrades_the_report_and_spreads_over_the_questions() -> None:
    report = scorer(steady, max_requests=6).score(QUESTION, answer="Koror")
    assert report.status == "degraded"
    assert report.usage.requests == 6
    assert all(s.answers for s in report.siblings)


def test_a_broken_encoder_keeps_the_answers() -> None:
    def encode(texts: list[str]) -> np.ndarray:
        return np.full((len(texts), 3), np.nan)

    report = scorer(steady, similarity=encode).score(QUESTION)
    assert (report.status, report.score, report.answer) == ("failed", 1.0, "Koror")
    assert sum(len(s.answers) for s in report.siblings) == 15
    assert report.siblings[1].agreement is None


def test_siblings_that_could_not_be_compared_are_not_asked() -> None:
    ask = Scattered()
    broken = scorer(ask, perturber=GAAP(), similarity=lambda texts: np.full((len(texts), 3), np.nan))
    report = broken.score("Which river flows through the old town of Prague?", answer="Vltava")
    assert (report.status, report.answer, ask.calls) == ("failed", "Vltava", 0)
    assert "NaN" in report.problems[0]


@pytest.mark.parametrize("made", [[], ["one sibling?"]])
def test_too_few_perturbations_degrade(made: list[str]) -> None:
    report = scorer(steady, perturber=lambda question, n: made).score(QUESTION)
    assert report.status == "degraded"
    assert len(report.siblings) == 1 + len(made)


def test_a_perturber_that_raises_degrades_to_replications() -> None:
    class Broken:
        name = "broken"

        async def perturb(self, question: str, n: int, context: PerturbContext) -> Perturbed:
            raise ZeroDivisionError("no siblings today")

    report = scorer(steady, perturber=Broken()).score(QUESTION)
    assert report.status == "degraded"
    assert any("no siblings today" in problem for problem in report.problems)
    assert report.score == pytest.approx(0.0, abs=1e-9)


def test_a_policy_that_raises_abstains() -> None:
    def policy(score: float, status: str) -> Decision:
        raise KeyError("threshold")

    report = scorer(steady, policy=policy).score(QUESTION)
    assert report.decision.action == "abstain"
    assert report.status == "degraded"


def test_replications_only() -> None:
    report = scorer(steady, perturber="none", r=5).score(QUESTION)
    assert report.fingerprint.n == 0
    assert report.usage.requests == 5
    assert report.status == "ok"
    assert report.score == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    "settings",
    [
        {"n": 0},
        {"r": 0},
        {"r": True},
        {"draws": 0},
        {"timeout": 0},
        {"timeout": float("nan")},
        {"temperature": -1.0},
        {"concurrency": 0},
        {"score": "entropy"},
        {"variant": "other"},
        {"perturber": "none", "r": 1},
        {"perturber": "none", "score": "normalised"},
        {"perturber": "unheard-of"},
        {"similarity": 3},
    ],
)
def test_bad_settings_are_errors_at_construction(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        scorer(steady, **settings)


def test_a_model_that_cannot_be_asked_is_an_error_at_construction() -> None:
    with pytest.raises(ConfigurationError):
        InvEntropy(object())


async def jittery(question: str) -> str:
    """Same answer for the same question, in an order that differs between runs."""
    await asyncio.sleep(random.random() / 100)
    return f"answer to {hash_free(question)}"


def hash_free(question: str) -> int:
    return sum(map(ord, question)) % 3


def test_the_order_of_arrival_does_not_matter() -> None:
    reports = [scorer(jittery).score(QUESTION, answer="answer to 1") for _ in range(3)]
    assert len({json.dumps(r.measures) for r in reports}) == 1
    assert len({r.siblings for r in reports}) == 1


def test_the_order_of_siblings_does_not_matter() -> None:
    forth = scorer(jittery).score(QUESTION, answer="x")
    back = scorer(jittery, perturber=lambda q, n: siblings(q, n)[::-1]).score(QUESTION, answer="x")
    assert forth.measures == back.measures
    assert forth.siblings[1:] == back.siblings[:0:-1]


def test_global_random_state_is_left_alone() -> None:
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    expected = random.random(), np.random.random()  # noqa: NPY002
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    scorer(steady, perturber=GAAP()).score("Which river flows through the old town of Prague?")
    assert (random.random(), np.random.random()) == expected  # noqa: NPY002


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    scorer(steady).score(QUESTION)
    assert capfd.readouterr() == ("", "")


def test_progress_tells_the_answer_first_and_cannot_break_the_run(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Progress] = []

    def progress(step: Progress) -> None:
        seen.append(step)
        raise RuntimeError("the terminal is gone")

    report = scorer(steady).score(QUESTION, progress=progress)
    assert report.status == "ok"
    assert (seen[0].stage, seen[0].answer) == ("answer", "Koror")
    assert seen[-1].stage == "compare"
    assert max(step.done for step in seen) == 14
    assert "the progress function raised" in caplog.text


def test_the_report_survives_json() -> None:
    report = scorer(Scattered()).score(QUESTION)
    assert UncertaintyReport.from_json(report.to_json()) == report
    assert json.loads(report.to_json()) == report.to_dict()


def test_score_works_inside_a_running_loop_and_from_threads() -> None:
    shared = scorer(steady)

    async def inside() -> UncertaintyReport:
        return shared.score(QUESTION)

    reports = [asyncio.run(inside())]
    threads = [threading.Thread(target=lambda: reports.append(shared.score(QUESTION))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({json.dumps(r.measures) for r in reports}) == 1
    shared.close()
    assert shared.score(QUESTION).status == "ok", "a closed scorer starts again when asked"
    shared.close()


def test_async_and_sync_give_the_same_report() -> None:
    one, other = scorer(steady).score(QUESTION), asyncio.run(scorer(steady).ascore(QUESTION))
    assert one.measures == other.measures
    assert one.siblings == other.siblings


def test_cancelling_leaves_no_task() -> None:
    async def slow(question: str) -> str:
        await asyncio.sleep(30)
        return "late"

    async def main() -> int:
        task = asyncio.create_task(scorer(slow).ascore(QUESTION, answer="Koror"))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return len(asyncio.all_tasks())

    assert asyncio.run(main()) == 1


def test_a_hanging_model_degrades_at_the_timeout() -> None:
    async def hang(question: str) -> str:
        if question != QUESTION:
            await asyncio.sleep(30)
        return "Koror"

    report = scorer(hang, timeout=0.2).score(QUESTION)
    assert report.status == "degraded"
    assert report.score > 0.5
    assert "0.2" in report.problems[0]


def test_the_policy_decides() -> None:
    report = scorer(steady, policy=Thresholds(answer=0.0, retrieve_more=None, fallback=1.0)).score(
        QUESTION, answer="Melekeok"
    )
    assert report.decision.action == "fallback"
    assert "between" in report.decision.reason


def test_custom_perturbations_keep_their_operator() -> None:
    report = scorer(steady, n=1, perturber=lambda q, n: [Perturbation("Palau's capital?", operator="hand")]).score(
        QUESTION
    )
    assert report.siblings[1].operator == "hand"
    assert report.explain().startswith(
        "100% of the other answers say the same as this one; answers to the rewordings of the question back this one by"
    )


def test_a_call_may_bring_its_own_model() -> None:
    scorer = InvEntropy(n=2, r=2)
    with pytest.raises(ConfigurationError, match="there is no model to ask"):
        scorer.score(QUESTION, answer="Koror")

    def mine(question: str) -> str:
        return "Koror"

    report = scorer.score(QUESTION, answer="Koror", ask=mine)
    assert (report.status, report.fingerprint.model) == ("ok", "mine")
    assert scorer.fingerprint.model == ""
    assert InvEntropy(lambda _question: "Melekeok", n=2, r=2).score(QUESTION, ask=mine).answer == "Koror"


def test_an_unscored_report_is_failed_and_asks_nothing() -> None:
    report = InvEntropy(n=2, r=2).unscored("", "Koror", "no question was found", model="m")
    assert (report.status, report.score, report.answer, report.usage.requests) == ("failed", 1.0, "Koror", 0)
    assert (report.decision.action, report.problems, report.fingerprint.model) == (
        "abstain",
        ("no question was found",),
        "m",
    )
    assert UncertaintyReport.from_dict(report.to_dict()) == report


def test_replace_changes_what_is_named_and_checks_it() -> None:
    scorer = InvEntropy(lambda _question: "Koror", n=3, r=4, seed=7)
    other = scorer.replace(r=2)
    assert (other.fingerprint.r, other.fingerprint.n, scorer.fingerprint.r) == (2, 3, 4)
    with pytest.raises(ConfigurationError, match="r=0"):
        scorer.replace(r=0)


def test_sinks_get_each_report_and_cannot_break_the_call(caplog: pytest.LogCaptureFixture) -> None:
    class Kept:
        def __init__(self) -> None:
            self.reports: list[UncertaintyReport] = []

        def emit(self, report: UncertaintyReport) -> None:
            self.reports.append(report)

    class Broken:
        def emit(self, report: UncertaintyReport) -> None:
            raise OSError("disk full")

    kept = Kept()
    scorer = InvEntropy(lambda _question: "Koror", n=2, r=2, sinks=[Broken(), kept])
    report = scorer.score(QUESTION)
    failed = scorer.unscored(QUESTION, "Koror", "why")
    assert kept.reports == [report, failed]
    assert "the sink Broken raised" in caplog.text
    with pytest.raises(ConfigurationError, match="a sink has a method emit"):
        InvEntropy(sinks=[print])  # type: ignore[list-item]


def test_paraphrasing_asks_the_model_without_its_template() -> None:
    class Bare:
        name = "bare"

        async def ask(self, question: str, *, n: int, sampling: Sampling) -> Replies:
            return Replies(("1. Name the capital of Palau.\n2. Palau's capital is called what?",))

    class Templated:
        name, bare = "templated", Bare()

        async def ask(self, question: str, *, n: int, sampling: Sampling) -> Replies:
            assert "capital" in question
            return Replies(("Koror",) * n)

    report = InvEntropy(Templated(), n=2, r=2, perturber="paraphrase").score(QUESTION)
    assert [sibling.question for sibling in report.siblings[1:]] == [
        "Name the capital of Palau.",
        "Palau's capital is called what?",
    ]


def test_text_is_left_out_when_asked() -> None:
    def ask(question: str) -> str:
        if question != QUESTION:
            raise ValueError(f"the key sk-1 is not for {question}")
        return "Koror"

    plain = InvEntropy(ask, n=2, r=2).score(QUESTION).to_dict(text=False)
    assert not {"question", "answer", "siblings", "notes"} & set(plain)
    assert plain["status"] == "degraded"
    assert plain["problems"] == ["2 of 5 answers did not come back"] * 2
    assert not any(word in str(plain) for word in ("Koror", "Palau", "sk-1"))
