"""What an address asks for."""

import pytest

from engine.release.explorer.filters import SORTS, Filters, Range, parse_filters, parse_range, parse_sort
from schemas.errors import InputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5-0.9", Range(0.5, 0.9)),
        ("0.5-", Range(0.5)),
        ("-0.9", Range(None, 0.9)),
        ("-", Range()),
        ("0-1", Range(0, 1)),
    ],
)
def test_ranges(text: str, expected: Range) -> None:
    assert parse_range("iou", text) == expected


@pytest.mark.parametrize("text", ["a", "0.5", "0.5-a", "nan-1", "-inf", "0.1-0.2-0.3", "1e999-"])
def test_what_is_no_range_is_named(text: str) -> None:
    with pytest.raises(InputError, match=f"iou={text}: expected two numbers"):
        parse_range("iou", text)


def test_a_query_without_filters_is_everything() -> None:
    assert parse_filters({"sort": ["iou"], "stage": []}) == Filters()
    assert Filters().where() == ("true", [])
    assert not Filters().of_masks


def test_values_never_stand_in_the_sql() -> None:
    told = "'; DROP TABLE masks; --"
    filters = parse_filters({"stage": [told], "iou": ["0.25-0.5"]})
    condition, values = filters.where()
    assert values == [told, 0.25, 0.5]
    assert "DROP" not in condition
    assert condition.count("?") == 3


def test_a_split_leaves_whole_pictures_out() -> None:
    assert not parse_filters({"split": ["train"]}).of_masks
    assert parse_filters({"split": ["train"], "origin": ["manual"]}).of_masks


def test_equal_filters_have_equal_keys() -> None:
    asked = {"size": ["-0.5"], "iou": ["0.5-"], "stage": ["a", "b", "a"]}
    assert parse_filters(asked).key() == parse_filters(dict(reversed(asked.items()))).key()
    assert parse_filters(asked).key() != parse_filters(asked | {"iou": ["0.6-"]}).key()


def test_orders() -> None:
    assert [parse_sort(name) for name in SORTS] == list(SORTS)
    with pytest.raises(InputError, match="sort=best: choose one of number, iou"):
        parse_sort("best")


def test_not_too_many_choices() -> None:
    with pytest.raises(InputError, match="at most 100"):
        parse_filters({"stage": [str(number) for number in range(101)]})
