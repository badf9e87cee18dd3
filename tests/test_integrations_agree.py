"""The same model, question, seed and answers give the same report, whichever framework they come through."""

from __future__ import annotations

from typing import Any

from llama_index.core.llms import CompletionResponse

from invent_chain import InvEntropy
from langchain_invent import UncertainChatModel
from llama_index.evaluation.invent import UncertainLLM
from tests.langchain_invent.fakes import scripted
from tests.llama_index_invent.test_engines import Scripted

QUESTION = "Which river flows through the old town of Prague?"


def answer_to(question: str) -> str:
    """Agree on some rewordings and not on others, by the text alone."""
    if question == QUESTION:
        return "The Vltava"
    return ("The Vltava", "the river Elbe", "It is the Vltava.")[len(question) % 3]


class Known(Scripted):
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=answer_to(prompt))


def plain(report: dict[str, Any]) -> dict[str, Any]:
    report["usage"].pop("seconds")
    for count in ("prompt_tokens", "completion_tokens"):  # the scripted models differ in what they say of these
        report["usage"].pop(count)
    return report


def test_one_report_through_every_door() -> None:
    def scorer(ask: Any = None) -> InvEntropy:
        return InvEntropy(ask, n=5, r=2, seed=3)

    model = scripted(lambda messages, _number: answer_to(messages[-1].text))
    chained = UncertainChatModel(model=model, scorer=scorer(), text=True).invoke(QUESTION)
    indexed = UncertainLLM(Known(), scorer=scorer(), text=True).complete(QUESTION)
    reports = [plain(chained.response_metadata["invent"]), plain(indexed.additional_kwargs["invent"])]
    direct = plain(scorer(answer_to).score(QUESTION, answer="The Vltava").to_dict())
    for report in reports:
        report["fingerprint"]["model"] = direct["fingerprint"]["model"]
        report["usage"]["requests"] = direct["usage"]["requests"]  # one framework has `n` in a request, one has not
        report["notes"] = direct["notes"]
        assert report == direct
    assert 0.0 < direct["score"] < 1.0
