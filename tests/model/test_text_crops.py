"""Pictures of single masks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.text_crops import mask_crop


@given(st.integers(0, 9), st.integers(0, 19), st.integers(1, 10), st.integers(1, 20), st.integers(0, 2**32))
def test_a_crop_is_a_square_with_the_whole_mask(top: int, left: int, height: int, width: int, seed: int) -> None:
    image = np.arange(10 * 20 * 3, dtype=np.uint8).reshape(10, 20, 3) | 1  # no pixel is black
    mask = np.zeros((10, 20), dtype=bool)
    mask[top : top + height, left : left + width] = True
    rng = np.random.default_rng(seed)
    crop = mask_crop(image, mask, rng, hide_frac=0.0)
    side = max(min(height, 10 - top), min(width, 20 - left))
    assert crop.picture.shape == (*crop.mask.shape, 3)
    assert crop.mask.shape[0] == crop.mask.shape[1]
    assert side <= crop.mask.shape[0] <= 2 * side + 1
    assert crop.mask.sum() == mask.sum()
    assert sorted(crop.picture[crop.mask].ravel()) == sorted(image[mask].ravel())
    hidden = mask_crop(image, mask, rng, hide_frac=1.0)
    assert not hidden.picture[~hidden.mask].any()
    assert hidden.picture[hidden.mask].all()


def test_half_of_the_crops_show_the_mask_alone() -> None:
    image = np.full((8, 8, 3), 9, dtype=np.uint8)
    mask = np.zeros((8, 8), dtype=bool)
    mask[3:5, 3:5] = mask[3, 2] = True
    rng = np.random.default_rng(0)
    alone = [not (crop := mask_crop(image, mask, rng)).picture[~crop.mask].any() for _ in range(400)]
    assert 0.42 < np.mean(alone) < 0.6
    with pytest.raises(ValueError, match="an empty mask has no box"):
        mask_crop(image, np.zeros((8, 8), dtype=bool), rng)
