"""The main job on real parts: the bundled model behind its server, and a real sentence encoder."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from invent_chain import InvEntropy, OpenAIAsk
from invent_chain.demo import MODEL_NAME, MOST_CHOICES, BundledModel
from invent_chain.embed import bundled_minilm
from invent_chain.errors import InventError
from invent_chain.types import UncertaintyReport

TEMPLATE = "{question} Answer concisely and return only the name."


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with BundledModel() as model:
        yield model.base_url


@pytest.fixture(scope="module")
def report(base_url: str) -> UncertaintyReport:
    with openai.OpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
        extra = {"temperature": 0.0, "max_tokens": 32}
        ask = OpenAIAsk(client, model=MODEL_NAME, template=TEMPLATE, extra=extra, max_n=MOST_CHOICES)
        with InvEntropy(ask, similarity=bundled_minilm(), max_tokens=32) as scorer:
            return scorer.score("Which river flows through the old town of Prague?")


def test_a_question_goes_in_and_everything_comes_out(report: UncertaintyReport) -> None:
    assert report.status == "ok", report.problems
    assert report.answer.strip()
    assert 0.0 <= report.score <= 1.0
    assert len(report.siblings) == 10
    assert [len(s.answers) for s in report.siblings] == [23, *[3] * 9]
    assert all("Prague" in s.question for s in report.siblings)
    assert set(report.measures) == {
        "inv_entropy",
        "ni_entropy",
        "nr_inv_entropy",
        "wd_px_py",
        "max_py_x",
        "normalised",
        "support",
        "consensus",
    }
    assert report.decision.action in report.explain()
    assert UncertaintyReport.from_json(report.to_json()) == report


def test_one_request_brings_as_many_replications_as_the_server_has_slots(report: UncertaintyReport) -> None:
    assert report.usage.requests == 1 + 2 + 9, "the answer, 22 replications by 16 slots, nine siblings"


@pytest.mark.anyio
async def test_the_async_client_gives_the_same_kind_of_report(base_url: str) -> None:
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
        ask = OpenAIAsk(client, model=MODEL_NAME, template=TEMPLATE)
        scorer = InvEntropy(ask, n=2, r=2, max_tokens=16)
        report = await scorer.ascore("What is the capital of France?", answer="Paris")
    assert report.status == "ok", report.problems
    assert report.usage.requests == 3
    assert report.answer == "Paris"


def test_paraphrasing_by_the_model_itself(base_url: str) -> None:
    with openai.OpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
        ask = OpenAIAsk(client, model=MODEL_NAME)
        with InvEntropy(ask, perturber="paraphrase", n=3, r=2, max_tokens=16) as scorer:
            report = scorer.score("What is the capital of France?", answer="Paris")
    assert report.status in {"ok", "degraded"}
    assert report.usage.requests == 1 + len(report.siblings)


def test_the_address_is_known_only_while_it_runs() -> None:
    with pytest.raises(InventError, match="with BundledModel"):
        _ = BundledModel().base_url
