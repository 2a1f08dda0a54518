"""Masks that lie elsewhere than the boxes of their file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import rle as rle_codec
from engine.coco import read_coco
from engine.labels.box_check import BoxCheck
from schemas.rle import Rle
from tests.pictures import encoded


def square() -> Rle:
    """Columns 20 to 59 and rows 10 to 49 of 96 x 64 px."""
    mask = np.zeros((64, 96), dtype=bool)
    mask[10:50, 20:60] = True
    return rle_codec.encode(mask)


def note(box: Any, *, count: int = 3, good: int = 0) -> str:
    check = BoxCheck()
    for number in range(count):
        check.add({"bbox": [20, 10, 40, 40] if number < good else box}, square())
    return check.note()


@pytest.mark.parametrize("box", [[20, 10, 40, 40], [20, 10, 60, 50], [25.5, 12, 20, 20], [0, 0, 96, 64]])
def test_boxes_around_their_masks_are_no_news(box: list[float]) -> None:
    assert note(box) == ""


def test_most_of_several_have_to_lie_elsewhere() -> None:
    far = [70, 55, 20, 5]
    assert note(far).startswith("3 of 3 masks that were looked at lie outside of the boxes")
    assert note(far, count=2) == ""
    assert note(far, count=4, good=2) == ""
    assert note(far, count=5, good=2).startswith("3 of 5 masks")
    assert note(far, count=500).startswith("200 of 200 masks")
    assert note([20, 10, 2, 2]).startswith("3 of 3 masks"), "a point of the mask is not the mask"


@pytest.mark.parametrize(
    "box", [None, [], [1, 2, 3], "box", [0.2, 0.1, 0.4, 0.4], ["70", "50", "20", "5"], [0, 0, 0, 0]]
)
def test_what_is_no_box_in_pixels_does_not_count(box: Any) -> None:
    assert note(box) == ""


def test_corners_in_percent_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(np.zeros((640, 960, 3), dtype=np.uint8)))
    part = {"image_id": 1, "segmentation": [[20, 10, 60, 10, 60, 50, 20, 50]], "bbox": [192, 64, 384, 256]}
    content = {"images": [{"id": 1, "file_name": "a.png", "width": 960, "height": 640}], "annotations": [part] * 3}
    (tmp_path / "a.json").write_text(json.dumps(content))
    (said,) = read_coco(tmp_path / "a.json").notes
    assert said.startswith(f"{tmp_path / 'a.json'}: 3 of 3 masks that were looked at lie outside")
