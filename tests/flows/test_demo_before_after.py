"""What the demo says of its first and its last model."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from engine import rle as rle_codec
from flows.demo import before_after
from flows.demo.before_after import BeforeAfter, Change, as_table
from schemas.rle import Rle


def square(x: int, y: int, side: int = 10) -> Rle:
    mask = np.zeros((40, 40), dtype=bool)
    mask[y : y + side, x : x + side] = True
    return rle_codec.encode(mask)


def measured(alone: list[list[Rle]]) -> before_after._Measured:
    return before_after._Measured({}, [], alone)


PICTURE = before_after._HeldOut("one", np.zeros((40, 40, 3), np.uint8), [square(0, 0), square(20, 20)], [])


@pytest.mark.parametrize(
    ("masks", "expected"),
    [
        ([], [0, 0]),
        ([square(1, 0)], [1, 0]),  # IoU 9 / 11
        ([square(0, 0, 20)], [0, 0]),  # IoU 1 / 4
        ([square(20, 20), square(0, 0), square(0, 0)], [1, 1]),
        ([square(20, 20), square(21, 20)], [0, 1]),  # the second mask of a brick shows no other
    ],
)
def test_an_object_is_found_where_one_mask_shows_it(masks: list[Rle], expected: list[int]) -> None:
    assert before_after._objects_found([PICTURE], measured([masks])).tolist() == expected


def test_the_interval_is_of_the_paired_difference() -> None:
    first = np.array([0.1, 0.9] * 20)
    change = before_after._change("x", first, first + 0.25)
    assert (change.count, change.before, change.after) == (40, pytest.approx(0.5), pytest.approx(0.75))
    assert (change.low, change.high) == (pytest.approx(0.25), pytest.approx(0.25))


def test_the_sheet_has_a_row_of_six_for_each_picture() -> None:
    clicked = [[rle_codec.decode(mask) for mask in PICTURE.truth]]
    result = before_after._Measured({}, clicked, [list(PICTURE.truth)])
    one = before_after._drawn([PICTURE], result, result)
    two = before_after._drawn([PICTURE, PICTURE], *[before_after._Measured({}, clicked * 2, [[], []])] * 2)
    assert one.shape[1] == two.shape[1] > 6 * 300
    assert two.shape[0] > 1.8 * one.shape[0]
    assert not np.array_equal(one, two[: len(one)])


def test_the_table_fits_a_terminal_of_80_columns() -> None:
    changes = [Change("bricks found without a click", 157, 0.4561, 0.4432, -0.0312, 0.0043)]
    found = BeforeAfter(Path("x.png"), "nano", "semi_automatic-1-0123ab", (113, 75), (40, 66), (0.56, 0.5512), changes)
    console = Console(width=80, record=True)
    console.print(as_table(found))
    text = console.export_text()
    row = next(line for line in text.splitlines() if line.startswith("bricks found"))
    assert row.split()[-6:] == ["0.456", "0.443", "-0.013", "(-0.03", "to", "+0.00)"]
    assert "…" not in text
    assert "without a click: 113 before (40 show a brick), 75 after (66)" in text
    assert "one click: 0.560 before, 0.551 after" in text
