"""Masks that wait; that their pixels are those of the whole logits is shown in test_measuring.py."""

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.masks.kernel.windows import Window
from engine.masks.measuring import rasterise, survey
from model.upscaling import Upscaling

SQUARE = Upscaling((1024, 1024), (1024, 1024), (1024, 1024))


def disk(radius: float) -> Tensor:
    """Logits (1, 256, 256) that fall by one per logit from the middle of the picture outwards, 0 at the radius."""
    y, x = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    return radius - torch.hypot(y - 128, x - 128)[None]


def windows_of(logits: Tensor, *, threshold: float = 0.0, offset: float = 1.0) -> list[Window]:
    return survey(logits, SQUARE, threshold=threshold, offset=offset).windows


def test_a_window_takes_a_tenth_of_the_memory_of_the_logits() -> None:
    (window,) = windows_of(disk(100.0))
    assert window.nbytes < disk(100.0).nbytes / 10


def test_a_window_is_cut_to_the_box_of_the_mask() -> None:
    low = torch.full((1, 256, 256), -4.0)
    low[0, 100:104, 50:60] = 4.0
    (window,) = windows_of(low)
    assert (window.y0, window.x0) == (98, 48)
    assert window.logits().shape == (8, 14)


def test_values_are_kept_near_the_border_and_sides_elsewhere() -> None:
    low = disk(60.0)
    (window,) = windows_of(low)
    height, width = window.logits().shape
    true = low[0, window.y0 : window.y0 + height, window.x0 : window.x0 + width].numpy()
    beside, far = np.abs(true) < 0.7, np.abs(true) > 6  # beside: a neighbour is on the other side
    np.testing.assert_array_equal(window.logits()[beside], true[beside])
    np.testing.assert_array_equal(window.logits()[far], np.where(true > 0, window.peak, -window.peak)[far])


@pytest.mark.parametrize("threshold", [-3.5, 0.0, 1e-7, 40.0])
def test_a_window_knows_its_threshold(threshold: float) -> None:
    low = disk(60.0) * (1e-6 if threshold == 1e-7 else 1)
    (window,) = windows_of(low, threshold=threshold)
    full = SQUARE.apply(low[None].expand(1, 3, -1, -1))[0, 0].numpy() > threshold
    x0, y0, x1, y1 = window.box
    np.testing.assert_array_equal(rasterise(window, SQUARE), full[y0 : y1 + 1, x0 : x1 + 1])


def test_what_follows_does_not_change_a_window() -> None:
    low = torch.cat([disk(60.0), disk(30.0)])
    first, _ = windows_of(low)
    before = first.logits()
    low.fill_(5.0)
    np.testing.assert_array_equal(first.logits(), before)
    np.testing.assert_array_equal(first.logits(), windows_of(disk(60.0))[0].logits())
