"""Pictures made smaller have the bytes that Pillow gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.release.lanczos import shrink
from engine.release.scaling import Scaling


def noise(height: int, width: int, seed: int = 0) -> Image.Image:
    """Full contrast, pixel by pixel: the filter swings below 0 and above 255."""
    return Image.fromarray(np.random.default_rng(seed).choice(np.array([0, 1, 128, 255], np.uint8), (height, width, 3)))


def assert_as_pillow(picture: Image.Image, height: int, width: int) -> None:
    expected = picture.resize((width, height), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(np.asarray(shrink(picture, height, width)), np.asarray(expected))


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 300), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_pictures_that_keep_their_shape_are_as_pillow_makes_them(
    height: int, width: int, shortest: int, seed: int
) -> None:
    width = max(width, height // 2 + 4)  # of taller ones versions of Pillow make different things
    scaling = Scaling.to_shortest_side(height, width, shortest_side_px=shortest)
    if not scaling.is_identity:
        assert_as_pillow(noise(height, width, seed), scaling.height, scaling.width)


@pytest.mark.parametrize(
    ("height", "width", "shortest"), [(1000, 1500, 750), (1613, 1210, 1150), (5, 2000, 1), (257, 384, 256)]
)
def test_large_and_long_pictures_are_as_pillow_makes_them(height: int, width: int, shortest: int) -> None:
    scaling = Scaling.to_shortest_side(height, width, shortest_side_px=shortest)
    assert_as_pillow(noise(height, width), scaling.height, scaling.width)


def test_a_tall_picture_is_made_narrower_first() -> None:
    picture = noise(900, 7)
    narrow = picture.resize((3, 900), Image.Resampling.LANCZOS)
    expected = narrow.resize((3, 386), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(np.asarray(shrink(picture, 386, 3)), np.asarray(expected))


def test_a_flat_picture_stays_flat_and_a_picture_is_not_changed() -> None:
    flat = Image.new("RGB", (300, 200), (17, 128, 255))
    assert np.unique(np.asarray(shrink(flat, 77, 115)).reshape(-1, 3), axis=0).tolist() == [[17, 128, 255]]
    picture = noise(40, 60)
    before = picture.tobytes()
    shrink(picture, 20, 30)
    assert picture.tobytes() == before
