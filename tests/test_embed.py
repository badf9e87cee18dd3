"""How texts are compared, on a real encoder and a real server."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invent_chain.embed import (
    CallableEncoder,
    CosineSimilarity,
    LexicalEncoder,
    NLISimilarity,
    OpenAIEncoder,
    SentenceTransformerEncoder,
    as_similarity,
    bundled_minilm,
    drop_echo,
)
from invent_chain.errors import ConfigurationError, EmbeddingError, MissingExtraError
from tests.loopback import Loopback, closed_port_url


class Recording:
    """Remembers what it was asked to encode."""

    def __init__(self, rows: Any = None) -> None:
        self.calls: list[list[str]] = []
        self._rows = rows

    def encode(self, texts: Sequence[str]) -> Any:
        self.calls.append(list(texts))
        return np.eye(len(texts)) if self._rows is None else self._rows


def test_the_real_encoder_knows_meaning_and_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    similarity = CosineSimilarity(bundled_minilm())
    capfd.readouterr()
    (a,) = similarity.compare(["The car broke down.", "The automobile stopped working.", "I like cheese."])
    assert a[0, 1] > a[0, 2] + 0.1
    assert capfd.readouterr().out == ""


def test_one_batch_gives_what_single_texts_give() -> None:
    encoder = bundled_minilm()
    texts = ["one", "two words", "and a longer text with more words"]
    assert encoder.encode(texts) == pytest.approx(np.vstack([encoder.encode([text]) for text in texts]), abs=1e-5)


def test_every_distinct_text_is_encoded_once_in_one_batch() -> None:
    encoder = Recording()
    first, second = CosineSimilarity(encoder).compare(["a", "b", "a"], ["b", "c"])
    assert [sorted(call) for call in encoder.calls] == [["a", "b", "c"]]
    assert first.tolist() == [[1.0, 0.5, 1.0], [0.5, 1.0, 0.5], [1.0, 0.5, 1.0]]
    assert second.shape == (2, 2)


@pytest.mark.parametrize(
    ("kind", "unrelated", "opposite"),
    [("shifted", 0.5, 0.0), ("absolute", 0.0, 1.0), ("exponential", math.exp(-2), math.exp(-4))],
)
def test_kinds_of_cosine(kind: Any, unrelated: float, opposite: float) -> None:
    rows = np.array([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])
    similarity = CosineSimilarity(Recording(rows), kind=kind)
    (a,) = similarity.compare(["x", "y", "z"])
    assert a[0] == pytest.approx([1.0, unrelated, opposite])
    assert similarity.floor == pytest.approx(unrelated)
    assert kind in similarity.name


@given(st.lists(st.text(max_size=30), min_size=1, max_size=6), st.sampled_from(["shifted", "absolute", "exponential"]))
def test_similarities_are_symmetric_and_in_range(texts: list[str], kind: Any) -> None:
    (a,) = CosineSimilarity(LexicalEncoder(), kind=kind).compare(texts)
    assert a.shape == (len(texts), len(texts))
    assert np.array_equal(a, a.T)
    assert np.all((a >= 0) & (a <= 1))
    assert np.all(np.diagonal(a) == 1.0)


@pytest.mark.parametrize(
    "rows",
    [
        np.full((2, 3), np.nan),
        np.array([[1.0, np.inf], [1.0, 1.0]]),
        np.ones((3, 2)),
        np.ones(2),
        np.empty((2, 0)),
        "text",
        [["a"], ["b"]],
    ],
)
def test_an_encoder_that_returns_no_embeddings(rows: Any) -> None:
    with pytest.raises(EmbeddingError):
        CosineSimilarity(Recording(rows)).compare(["a", "b"])


def test_zero_huge_and_tiny_embeddings() -> None:
    rows = np.array([[0.0, 0.0], [1e300, 0.0], [1e-300, 0.0]])
    (a,) = CosineSimilarity(Recording(rows)).compare(["zero", "huge", "tiny"])
    assert a == pytest.approx(np.array([[1.0, 0.5, 0.5], [0.5, 1.0, 1.0], [0.5, 1.0, 1.0]]))


def test_the_lexical_encoder_says_what_it_is_and_works_in_any_language() -> None:
    similarity = as_similarity(None)
    assert similarity.lexical  # type: ignore[attr-defined]
    (a,) = similarity.compare(["Koror", "KOROR!", "Melekeok", "帕劳的首都", "帕劳的首都是"])
    assert a[0, 1] > 0.9 > 0.6 > a[0, 2]
    assert a[3, 4] > a[0, 3]


class TestEndpoint:
    def test_embeddings_come_in_the_order_of_the_texts(self) -> None:
        with Loopback() as server, openai.OpenAI(base_url=server.base_url, api_key="k", max_retries=0) as client:
            encoder = OpenAIEncoder(client, model="m", batch_size=2)
            rows = encoder.encode(["a", "b", "c"])
            again = encoder.encode(["c"])
        assert rows.shape[0] == 3
        assert rows[2] == pytest.approx(again[0])

    def test_a_server_that_is_down(self) -> None:
        with (
            openai.OpenAI(base_url=closed_port_url(), api_key="sk-secret", max_retries=0) as client,
            pytest.raises(EmbeddingError) as caught,
        ):
            OpenAIEncoder(client, model="m").encode(["private text"])
        assert "127.0.0.1" in str(caught.value)
        assert "secret" not in str(caught.value)
        assert "private" not in str(caught.value)

    def test_an_async_client(self) -> None:
        with pytest.raises(ConfigurationError, match=r"openai\.OpenAI"):
            OpenAIEncoder(openai.AsyncOpenAI(api_key="k"), model="m")


class TestEntailment:
    def test_the_mean_of_both_directions_each_pair_once(self) -> None:
        calls: list[list[tuple[str, str]]] = []

        class Model:
            config = SimpleNamespace(id2label={0: "contradiction", 1: "ENTAILMENT", 2: "neutral"})

            def predict(self, pairs: Any, **_: Any) -> np.ndarray:
                calls.append([tuple(pair) for pair in pairs])
                return np.array([[0.0, 2.0 if s < t else 0.0, 0.0] for s, t in pairs])

        one, other = NLISimilarity(Model()).compare(["a", "b", "a"], ["b", "a"])
        assert len(calls) == 1
        assert sorted(calls[0]) == [("a", "b"), ("b", "a")]
        mean = (math.exp(2) / (math.exp(2) + 2) + 1 / 3) / 2
        assert one == pytest.approx(np.array([[1, mean, 1], [mean, 1, mean], [1, mean, 1]]))
        assert other[0, 1] == pytest.approx(mean)

    def test_a_model_without_the_label(self) -> None:
        model = SimpleNamespace(config=SimpleNamespace(id2label={0: "no", 1: "yes"}), predict=lambda pairs, **_: None)
        with pytest.raises(ConfigurationError, match="entailment"):
            NLISimilarity(model).compare(["a", "b"])


@pytest.mark.parametrize(
    ("answer", "question", "left"),
    [
        ("The capital of Palau is Koror.", "What is the capital of Palau?", "Koror"),
        ("Koror", "What is the capital of Palau?", "Koror"),
        ("red", "Is it red or blue?", "red"),
        ("It is not red", "Is it red?", "not"),
        ("帕劳的首都是科罗尔", "帕劳的首都是什么", "帕劳的首都是科罗尔"),
        ("In 1948", "What happened in 1948?", "In 1948"),
    ],
)
def test_drop_echo(answer: str, question: str, left: str) -> None:
    assert drop_echo(answer, question).strip(" .") in {left, left.removeprefix("In ")}


@pytest.mark.parametrize(
    ("what", "name"),
    [
        (None, "lexical"),
        ("all-MiniLM-L6-v2", "all-MiniLM-L6-v2"),
        (LexicalEncoder(64), "lexical"),
        (SentenceTransformerEncoder("a/b"), "b"),
        (CallableEncoder(lambda texts: np.ones((len(texts), 1)), name="mine"), "mine"),
    ],
)
def test_as_similarity(what: Any, name: str) -> None:
    assert name in as_similarity(what).name  # type: ignore[attr-defined]


@pytest.mark.parametrize("what", [3, object(), LexicalEncoder])
def test_what_is_no_similarity(what: Any) -> None:
    with pytest.raises(ConfigurationError):
        as_similarity(what)


def test_a_folder_that_does_not_exist(tmp_path: Any) -> None:
    with pytest.raises(EmbeddingError, match="nowhere"):
        SentenceTransformerEncoder(str(tmp_path / "nowhere")).encode(["a"])


@pytest.mark.parametrize("encoder", [SentenceTransformerEncoder, NLISimilarity])
def test_a_missing_extra_is_told_before_anything_is_asked(encoder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'invent-chain\[sbert\]'"):
        encoder("some/model")
