import contextlib
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import rle as rle_codec
from engine.labels.repairs import mask_of, whole
from schemas.errors import InputError

H, W = 8, 9
SQUARE = [2, 1, 5, 1, 5, 7, 2, 7]


def square() -> np.ndarray:
    mask = np.zeros((H, W), dtype=bool)
    mask[1:7, 2:5] = True
    return mask


RLE = rle_codec.encode(square()).to_coco()
RUNS = rle_codec.runs(rle_codec.encode(square())).tolist()


@pytest.mark.parametrize(
    "segmentation",
    [
        [SQUARE, [7, 7, 8, 8]],
        [SQUARE, []],
        [SQUARE, [1, 2, 3]],
        [SQUARE, [900, 900, 950, 900, 950, 950]],
        [[[2, 1], [5, 1], [5, 7], [2, 7]]],
        [[2, 1], [5, 1], [5, 7], [2, 7]],
        [{"x": 2, "y": 1}, {"x": 5, "y": 1}, {"x": 5, "y": 7}, {"x": 2, "y": 7}],
        SQUARE,
        [RLE],
        [{"size": [H, W], "counts": RUNS}, RLE],
        {"size": None, "counts": RLE["counts"]},
        {"size": [str(H), f"{W}.0"], "counts": RLE["counts"]},
        {"size": [H, W], "counts": [float(run) for run in RUNS]},
        {"size": [H, W], "counts": repr(str(RLE["counts"]).encode())},
    ],
)
def test_what_has_one_meaning_is_repaired_and_counted(segmentation: Any) -> None:
    mended = Counter[str]()
    found = mask_of(segmentation, H, W, mended)
    np.testing.assert_array_equal(rle_codec.decode(found), square())
    assert mended


def test_what_is_whole_is_not_touched() -> None:
    mended = Counter[str]()
    for segmentation in (RLE, [SQUARE], {"size": [H, W], "counts": RUNS}, {"counts": RLE["counts"]}):
        np.testing.assert_array_equal(rle_codec.decode(mask_of(segmentation, H, W, mended)), square())
    assert not mended


def test_corners_far_outside_are_cut_to_the_picture() -> None:
    mended = Counter[str]()
    found = mask_of([[-1000, 2, 1000, 2, 1000, 6, -1000, 6]], H, W, mended)
    wanted = np.zeros((H, W), dtype=bool)
    wanted[2:6] = True
    np.testing.assert_array_equal(rle_codec.decode(found), wanted)
    assert mended == {"corners far outside cut to the picture": 1}


@pytest.mark.parametrize(
    "segmentation",
    [
        None,
        7,
        [],
        [[]],
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [["a"] * 6],
        [[float("nan")] * 6],
        [[900, 900, 950, 900, 950, 950]],
        {"size": [W, H], "counts": RUNS},
        {"size": [H, W], "counts": "b'\\x"},
    ],
)
def test_what_has_no_one_meaning_is_refused(segmentation: Any) -> None:
    mended = Counter[str]()
    with pytest.raises(InputError):
        mask_of(segmentation, H, W, mended)
    assert not mended


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(120.0, 120), ("120", 120), ("120.0", 120), ("007", "007"), (1.5, 1.5), ("abc", "abc"), (None, None), (3, 3)],
)
def test_whole_numbers_in_disguise(value: Any, wanted: Any) -> None:
    assert whole(value) == wanted
    assert type(whole(value)) is type(wanted)


@given(st.recursive(st.none() | st.floats() | st.integers() | st.text(max_size=4), lambda i: st.lists(i, max_size=7)))
def test_any_value_is_a_mask_or_refused(value: Any) -> None:
    with contextlib.suppress(InputError):
        assert rle_codec.decode(mask_of(value, H, W, Counter())).shape == (H, W)
