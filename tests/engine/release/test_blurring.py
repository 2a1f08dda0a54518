"""What is blurred cannot be told apart any more; everything else stays."""

import numpy as np
import pytest

from engine.release.blurring import blurred, padded


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([20, 30, 40, 50], (16, 26, 44, 54)),
        ([20.4, 30.6, 40.4, 50.6], (16, 26, 45, 55)),
        ([0, 0, 10, 10], (0, 0, 12, 12)),
        ([95, 70, 100, 80], (94, 68, 100, 80)),
    ],
)
def test_a_box_is_padded_by_a_fifth_of_its_sides_within_the_picture(
    box: list[float], expected: tuple[int, int, int, int]
) -> None:
    assert padded(np.array(box, dtype=np.float32), height=80, width=100) == expected


def test_pixels_outside_the_boxes_stay_and_the_picture_given_is_not_changed() -> None:
    picture = noise(90, 120)
    before = picture.copy()
    result = blurred(picture, [(10, 20, 50, 70), (100, 80, 120, 90)])
    np.testing.assert_array_equal(picture, before)
    changed = (result != picture).any(axis=2)
    inside = np.zeros((90, 120), dtype=bool)
    inside[20:70, 10:50] = inside[80:90, 100:120] = True
    assert not changed[~inside].any()
    assert changed[inside].mean() > 0.95


@pytest.mark.parametrize("side", [12, 40, 300])
def test_of_a_box_of_any_size_only_a_few_colours_are_left(side: int) -> None:
    """What two patterns of equal means look like there, differs by little of what they differed by before."""
    one, other = noise(side, side, seed=1), noise(side, side, seed=2)
    x0 = y0 = side // 8
    x1 = y1 = side - x0
    results = [blurred(each, [(0, 0, side, side)])[y0:y1, x0:x1].astype(float) for each in (one, other)]
    before = np.abs(one[y0:y1, x0:x1].astype(float) - other[y0:y1, x0:x1]).mean()
    assert np.abs(results[0] - results[1]).mean() < before / 2.5
    # Neighbouring pixels are nearly equal: nothing finer than a quarter of the side is there.
    steps = np.abs(np.diff(results[0], axis=1)).mean()
    assert steps < np.abs(np.diff(one[y0:y1, x0:x1].astype(float), axis=1)).mean() / side * 8


def test_what_is_drawn_finer_than_a_cell_leaves_no_trace() -> None:
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 200
    result = blurred(stripes, [(0, 0, 64, 64)])[8:56, 8:56]
    assert result.min() == result.max() == 100


def test_edges_are_smooth() -> None:
    picture = np.zeros((200, 200, 3), dtype=np.uint8)
    picture[:, 100:] = 250  # half of what is blurred, so that the blur differs from it
    result = blurred(picture, [(50, 50, 150, 150)])[60:140].astype(int)
    assert np.abs(np.diff(result[:, :70], axis=1)).max() < 40
