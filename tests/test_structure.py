"""Agreement of structured answers, part by part."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from invent_chain import InvEntropy
from invent_chain.structure import agreement_by_part


def test_parts_are_compared_by_their_path() -> None:
    answer = {"tool": "weather", "arguments": {"city": "Paris", "days": 2, "units": ["C", "F"], "now": True}}
    others = [
        {"tool": "weather", "arguments": {"city": " paris", "days": 3, "units": ["C"], "now": 1}},
        {"tool": "search", "arguments": {"city": "Lyon", "days": 2, "units": ["C", "F"], "now": True}},
    ]
    assert agreement_by_part(json.dumps(answer), list(map(json.dumps, others))) == {
        "tool": 0.5,
        "arguments.city": 0.5,
        "arguments.days": 0.5,
        "arguments.units.0": 1.0,
        "arguments.units.1": 0.5,
        "arguments.now": 0.5,
    }


def test_an_answer_without_structure_agrees_on_no_part() -> None:
    assert agreement_by_part('{"a": 1, "b": {}}', ["no idea", '{"a": 1}', '```json\n{"a": 1, "b": {}}\n```']) == {
        "a": 2 / 3,
        "b": 1 / 3,
    }


def test_nothing_to_compare() -> None:
    assert agreement_by_part("Paris", ['{"a": 1}']) == {}
    assert agreement_by_part('{"a": 1}', []) == {}
    assert agreement_by_part("42", ["42"]) == {}
    assert agreement_by_part("{broken", ["{broken"]) == {}
    assert agreement_by_part("[" * 100_000, ["x"]) == {}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
    )
)
def test_equal_answers_agree_on_everything(value: object) -> None:
    text = json.dumps({"value": value})
    assert set(agreement_by_part(text, [text, text]).values()) <= {1.0}


def test_the_report_carries_it() -> None:
    report = InvEntropy(lambda _question: '{"city": "Paris"}', n=2, r=2).score("Which city?", answer='{"city": "Lyon"}')
    assert report.structure == {"city": 0.0}
    assert report.from_json(report.to_json()) == report
