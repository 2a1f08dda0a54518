"""Pictures of segments, by their colours or, in grey ones of 8 and 16 bits, by their numbers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine import rle as rle_codec
from engine.coco import read_coco
from tests.pictures import encoded

H, W = 40, 60


def segments(numbers: tuple[int, ...]) -> np.ndarray:
    pixels = np.zeros((H, W), dtype=np.int64)
    pixels[5:15, 5:25], pixels[20:30, 30:35] = numbers
    return pixels


@pytest.mark.parametrize(
    ("numbers", "kind"),
    [((5, 261), "RGB"), ((70_000, 3), "RGB"), ((26_001, 7), "uint16"), ((5, 9), "uint8"), ((300, 70_000), "int32")],
)
def test_segments_of_colours_and_of_numbers(tmp_path: Path, numbers: tuple[int, ...], kind: str) -> None:
    ids = segments(numbers)
    (tmp_path / "a.jpg").write_bytes(encoded(np.zeros((H, W, 3), dtype=np.uint8)))
    pixels = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)
    (tmp_path / "panoptic").mkdir()
    name = "a.tif" if kind == "int32" else "a.png"
    Image.fromarray(pixels if kind == "RGB" else ids.astype(kind)).save(tmp_path / "panoptic" / name)
    record: dict[str, Any] = {"image_id": 1, "file_name": name}
    record |= {"segments_info": [{"id": number, "category_id": 1} for number in numbers]}
    images = [{"id": 1, "file_name": "a.jpg", "width": W, "height": H}]
    (tmp_path / "panoptic.json").write_text(json.dumps({"images": images, "annotations": [record]}))
    dataset = read_coco(tmp_path / "panoptic.json")
    assert dataset.problems == []
    found = [rle_codec.decode(mask.rle) for mask in dataset.images[0].masks]
    np.testing.assert_array_equal(found, [ids == number for number in numbers])


def test_a_segment_that_has_no_number_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(np.zeros((H, W, 3), dtype=np.uint8)))
    (tmp_path / "a.png").write_bytes(encoded(np.zeros((H, W, 3), dtype=np.uint8)))
    record = {"image_id": 1, "file_name": "a.png", "segments_info": [{"id": [1]}, "x", {"id": 7}]}
    images = [{"id": 1, "file_name": "a.jpg", "width": W, "height": H}]
    (tmp_path / "p.json").write_text(json.dumps({"images": images, "annotations": [record]}))
    dataset = read_coco(tmp_path / "p.json")
    assert dataset.images[0].masks == []
    assert len(dataset.problems) == 3
