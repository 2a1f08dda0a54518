"""Tables of labels as JSON; test_fairness.py and test_geography.py read them as CSV."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.label_tables import read_labels
from schemas.errors import InputError

KEYS = ("annotation_id", "id")


def read(content: Any, folder: Path) -> tuple[str, dict[int, dict[str, str]]]:
    path = folder / "groups.json"
    path.write_text(json.dumps(content))
    return read_labels(path, KEYS)


def test_json_has_rows_or_labels_by_id(tmp_path: Path) -> None:
    rows = [{"annotation_id": 7, "age": "old", "tone": 0}, {"annotation_id": "8", "age": None}]
    assert read(rows, tmp_path) == ("annotation_id", {7: {"age": "old", "tone": "0"}, 8: {"age": "", "tone": ""}})
    assert read({"7": {"age": " old "}, "8": {"tone": 3}}, tmp_path) == (
        "id",
        {7: {"age": "old", "tone": ""}, 8: {"age": "", "tone": "3"}},
    )
    assert read({"7": "old", "8": "young"}, tmp_path) == ("id", {7: {"group": "old"}, 8: {"group": "young"}})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "needs a header with annotation_id or id and .* found nothing"),
        (5, "expected a list of objects, one a row, or an object of labels by id"),
        ([7], "expected a list of objects"),
        ({"7": ["old", "tall"]}, "group holds more than one value"),
        ([{"id": 7, "a": "x"}, {"a": "y"}], "id '' is no whole number"),
    ],
)
def test_json_that_cannot_be_used_is_one_line(content: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        read(content, tmp_path)


def test_a_file_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match=r"a\.json: not valid JSON"):
        read_labels(tmp_path / "a.json", KEYS)
