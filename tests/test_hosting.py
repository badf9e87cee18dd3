"""What every integration shares."""

import logging

import pytest

from invent_chain import InvEntropy, hosting
from invent_chain.errors import AskError, AskRefusedError, ConfigurationError, InputError
from invent_chain.sample.request import CountRejectedError


class RefusedError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__("the secret prompt")
        self.status_code = status


def test_a_scorer_with_a_model_of_its_own_is_refused():
    with pytest.raises(ConfigurationError, match="model of its own"):
        hosting.without_model(InvEntropy(lambda question: "x"))
    with pytest.raises(ConfigurationError, match="scorer is a str"):
        hosting.without_model("gaap")  # type: ignore[arg-type]
    scorer = InvEntropy(n=2)
    assert hosting.without_model(scorer) is scorer


@pytest.mark.parametrize(
    ("error", "n", "kind"),
    [
        (RefusedError(401), 1, AskRefusedError),
        (RefusedError(422), 3, CountRejectedError),
        (RefusedError(422), 1, AskError),
        (ValueError("no n"), 2, CountRejectedError),
        (OSError("down"), 2, AskError),
    ],
)
def test_what_a_provider_raises_keeps_its_kind_and_loses_its_words(error, n, kind):
    made = hosting.as_ask_error(error, "model", n=n)
    assert type(made) is kind
    assert "secret" not in str(made)


def test_the_report_of_an_unscored_answer_names_the_error_inside_a_group(caplog):
    scorer = InvEntropy(n=2)
    with caplog.at_level(logging.WARNING):
        found = hosting.unscored(
            scorer, "Where?", "here", ExceptionGroup("", [ExceptionGroup("", [KeyError("secret")])])
        )
    assert found.status == "failed"
    assert found.answer == "here"
    assert found.problems == ("KeyError was raised while scoring: its traceback is in the log at level DEBUG",)
    assert "KeyError was raised" in caplog.text
    assert "secret" not in caplog.text
    known = hosting.unscored(scorer, "Where?", "here", InputError("the question is empty"))
    assert known.problems == ("the question is empty",)
