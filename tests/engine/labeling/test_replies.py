"""What people said in choices and texts."""

from typing import Any

import pytest

from engine.labeling.replies import annotator_of, seconds_of, text_of, values_of

RESULT: list[Any] = [
    {"from_name": "verdict", "value": {"choices": ["good"]}},
    {"from_name": "comment", "value": {"text": ["two  lines\nof", "text"]}},
    {"from_name": "note", "value": {"text": "by itself"}},
    {"from_name": "note", "value": None},
    {"from_name": "note"},
    {"from_name": "number", "value": {"text": [1, "of 2"]}},
    "no part",
]


def test_values_come_in_lists_and_by_themselves() -> None:
    assert values_of({"result": RESULT}, "verdict", "choices") == ["good"]
    assert values_of({"result": RESULT}, "verdict", "text") == []
    assert values_of({"result": RESULT}, "note", "text") == ["by itself"]
    several = [{"from_name": "rating", "value": {"choices": [7, None, "7"]}}]
    assert values_of({"result": several}, "rating", "choices") == [7, "7"]
    for nothing in ({}, {"result": None}, {"result": "text"}):
        assert values_of(nothing, "note", "text") == []


def test_texts_are_one_line() -> None:
    assert text_of({"result": RESULT}, "comment") == "two lines of text"
    assert text_of({"result": RESULT}, "number") == "1 of 2"
    assert text_of({"result": RESULT}, "other") == ""


@pytest.mark.parametrize(
    ("given", "seconds"), [(4.5, 4.5), (0, 0), (-1, None), (float("nan"), None), ("long", None), (None, None)]
)
def test_seconds_are_a_number_that_is_not_negative(given: Any, seconds: float | None) -> None:
    assert seconds_of({"lead_time": given}) == seconds


def test_people_are_numbers_and_never_names() -> None:
    assert annotator_of({"completed_by": 7}) == "label_studio:7"
    assert annotator_of({"completed_by": {"id": 3, "email": "ann@example.com"}}) == "label_studio:3"
    assert annotator_of({}) == annotator_of({"completed_by": {}}) == ""
