import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from engine import rle
from engine.labeling.regions import brush_region, region_mask, scale_down, scale_up, shown_hw, with_edits
from schemas.errors import InputError

Mask = npt.NDArray[np.bool_]


@st.composite
def shown_masks(draw: st.DrawFn) -> tuple[Mask, tuple[int, int]]:
    """A mask of a shown picture and the size of a full one that is at least as large."""
    mask = draw(arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20))))
    full = tuple(draw(st.integers(side, 4 * side + 3)) for side in mask.shape)
    return mask, (full[0], full[1])


@given(shown_masks())
def test_scaled_up_and_down_again_is_the_same(case: tuple[Mask, tuple[int, int]]) -> None:
    mask, full = case
    shown = rle.encode(mask)
    assert scale_down(scale_up(shown, full), (mask.shape[0], mask.shape[1])) == shown


@given(shown_masks(), st.integers(0, 2**32 - 1))
def test_what_nobody_touched_keeps_its_full_pixels(case: tuple[Mask, tuple[int, int]], seed: int) -> None:
    after, full_hw = case
    full = rle.encode(np.random.default_rng(seed).random(full_hw) < 0.5)
    hw = (after.shape[0], after.shape[1])
    before = scale_down(full, hw)
    assert with_edits(full, before, before) == full
    edited = with_edits(full, before, rle.encode(after))
    assert scale_down(edited, hw) == rle.encode(after)


def test_by_hand() -> None:
    """5 pixels shown as 2: the centre of the third, 2.5, is where the second begins."""
    shown = rle.encode(np.array([[True, False]]))
    assert rle.decode(scale_up(shown, (1, 5))).tolist() == [[True, True, False, False, False]]
    full = rle.encode(np.array([[True, True, False, False, True]]))
    assert rle.decode(scale_down(full, (1, 2))).tolist() == [[True, False]]
    edited = with_edits(full, scale_down(full, (1, 2)), rle.encode(np.array([[True, True]])))
    assert rle.decode(edited).tolist() == [[True, True, True, True, True]]


@pytest.mark.parametrize(
    ("full", "shown"),
    [((1500, 2250), (683, 1024)), ((2250, 1500), (1024, 683)), ((600, 800), (600, 800)), ((3, 9000), (1, 1024))],
)
def test_size_for_the_browser(full: tuple[int, int], shown: tuple[int, int]) -> None:
    assert shown_hw(full, longest_side_px=1024) == shown


def test_a_region_and_back() -> None:
    mask = rle.encode(np.eye(7, 5, dtype=bool))
    region = brush_region(mask, region_id="a", score=0.5, meta={"mask": "12"})
    assert (region["original_height"], region["original_width"]) == (7, 5)
    assert region["meta"] == {"sa": {"mask": "12"}}
    assert region_mask(region, shown_hw=(7, 5)) == mask


@pytest.mark.parametrize("value", [None, {}, {"rle": None}, {"points": [[1, 2]]}])
def test_a_region_without_a_mask(value: object) -> None:
    with pytest.raises(InputError, match="cut off"):
        region_mask({"value": value}, shown_hw=(7, 5))
