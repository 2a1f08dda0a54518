"""Masks at another size: half of a pixel decides; checked by hand and against exact fractions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine import rle
from engine.release.scaling import JPEG_MAX_SIDE_PX, Scaling
from schemas.errors import InputError


def exact(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Every released pixel counted on its own, in fractions."""
    covered = np.zeros((height, width), dtype=bool)
    step_y, step_x = Fraction(mask.shape[0], height), Fraction(mask.shape[1], width)
    for row in range(height):
        for column in range(width):
            total = Fraction(0)
            for y in range(int(row * step_y), -int(-(row + 1) * step_y // 1)):
                for x in range(int(column * step_x), -int(-(column + 1) * step_x // 1)):
                    share_y = min((row + 1) * step_y, y + 1) - max(row * step_y, y)
                    share_x = min((column + 1) * step_x, x + 1) - max(column * step_x, x)
                    total += share_y * share_x * int(mask[y, x])
            covered[row, column] = total >= step_y * step_x / 2
    return covered


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(3000, 4500, (1500, 2250)), (4950, 3300, (2250, 1500)), (1500, 1600, (1500, 1600)), (1000, 300, (1000, 300))],
)
def test_shortest_side_is_limited_and_never_enlarged(height: int, width: int, expected: tuple[int, int]) -> None:
    scaling = Scaling.to_shortest_side(height, width, shortest_side_px=1500)
    assert (scaling.height, scaling.width) == expected
    assert scaling.is_identity == ((height, width) == expected)


def test_panorama_is_scaled_to_what_jpeg_can_hold() -> None:
    scaling = Scaling.to_shortest_side(1000, 131_000, shortest_side_px=1500)
    assert (scaling.height, scaling.width) == (500, JPEG_MAX_SIDE_PX)


def test_half_covered_pixel_is_in_and_less_is_out() -> None:
    mask = np.zeros((4, 8), dtype=bool)
    mask[0:2, 0] = True  # half of the first 2x2 cell
    mask[0, 2] = True  # a quarter of the second
    mask[2:4, 4:7] = True  # all of the third of the lower row, half of the fourth
    scaled = Scaling(4, 8, 2, 4).masks([rle.encode(mask)])[0]
    assert scaled is not None
    np.testing.assert_array_equal(rle.decode(scaled), [[True, False, False, False], [False, False, True, True]])


def test_mask_too_thin_to_show_is_none() -> None:
    mask = np.zeros((30, 30), dtype=bool)
    mask[:, 10] = True
    assert Scaling(30, 30, 10, 10).masks([rle.encode(mask)])[0] is None


def test_same_size_keeps_the_mask_byte_for_byte() -> None:
    mask = rle.encode(np.eye(7, dtype=bool))
    assert Scaling(7, 7, 7, 7).masks([mask])[0] is mask


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_scaled_mask_equals_exact_coverage(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(2, 14)), data.draw(st.integers(2, 14))
    scaling = Scaling(height, width, data.draw(st.integers(1, height)), data.draw(st.integers(1, width)))
    bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.array(bits).reshape(height, width)
    if not mask.any():
        mask[0, 0] = True
    expected = exact(mask, scaling.height, scaling.width)
    scaled = scaling.masks([rle.encode(mask)])[0]
    found = np.zeros_like(expected) if scaled is None else rle.decode(scaled)
    np.testing.assert_array_equal(found, expected)


def test_many_masks_together_are_as_each_alone_and_a_broken_one_is_told() -> None:
    rng = np.random.default_rng(0)
    masks = [rle.encode(rng.random((30, 40)) < share) for share in rng.uniform(0, 1, 70)]
    masks[::9] = [rle.encode(np.eye(30, 40, k, dtype=bool)) for k in range(len(masks[::9]))]
    scaling = Scaling(30, 40, 9, 11)
    together = scaling.masks(masks)
    assert together == [scaling.masks([mask])[0] for mask in masks]
    assert None in together
    assert scaling.masks([]) == []
    for counts in (b"", masks[1].counts[:-1], b"0"):
        with pytest.raises(InputError, match="RLE counts"):
            scaling.masks([*masks, masks[1]._replace(counts=counts)])


def test_coordinates_shrink_by_each_axis_own_factor() -> None:
    scaling = Scaling(30, 100, 10, 50)
    assert scaling.coordinates([10.0, 30.0, 100.0, 15.0]) == [5.0, 10.0, 50.0, 5.0]
    assert scaling.coordinates([]) == []


def test_picture_shrinks_with_its_masks() -> None:
    pixels = np.zeros((40, 80, 3), dtype=np.uint8)
    pixels[12:28, 20:40] = 255
    scaling = Scaling.to_shortest_side(40, 80, shortest_side_px=10)
    mask = scaling.masks([rle.encode(pixels[..., 0] > 0)])[0]
    assert mask is not None
    np.testing.assert_array_equal(np.asarray(scaling.picture(Image.fromarray(pixels)))[..., 0] > 127, rle.decode(mask))
