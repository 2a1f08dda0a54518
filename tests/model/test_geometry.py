import numpy as np
import torch
from hypothesis import given
from hypothesis.extra import numpy as hnp

from engine import rle
from model.geometry import box_area, mask_boxes


def test_boxes_end_on_the_last_pixel() -> None:
    mask = torch.zeros((2, 5, 7), dtype=torch.bool)
    mask[0, 1, 2] = mask[0, 3, 5] = True
    assert mask_boxes(mask).tolist() == [[2, 1, 5, 3], [0, 0, 0, 0]]


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_boxes_are_those_of_coco_less_one_pixel(mask: np.ndarray) -> None:
    x0, y0, x1, y1 = rle.box(rle.encode(mask))
    expected = [x0, y0, x1 - 1, y1 - 1] if mask.any() else [0, 0, 0, 0]
    assert mask_boxes(torch.as_tensor(mask)[None])[0].tolist() == expected


def test_no_masks_have_no_boxes() -> None:
    assert mask_boxes(torch.zeros((0, 4, 4), dtype=torch.bool)).shape == (0, 4)


def test_box_area() -> None:
    assert box_area(torch.tensor([[1, 2, 4, 8], [3, 3, 3, 9]])).tolist() == [18, 0]
