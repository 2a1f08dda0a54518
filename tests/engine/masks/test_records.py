import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from engine import rle
from engine.masks.records import sa1b_record
from schemas.mask import Mask, Prompt
from schemas.sa1b import Sa1bRecord, parse_record


def generated(mask: np.ndarray) -> Mask:
    made = rle.measured(rle.encode(mask))
    prompt = Prompt(points=((3.5, 2.5, 1),))
    return replace(made, predicted_iou=0.9, stability_score=0.97, crop_box=(0, 2, 8, 9), prompt=prompt)


def test_pycocotools_finds_the_same_area_and_box() -> None:
    mask = np.zeros((9, 10), dtype=bool)
    mask[2:5, 1:7] = True
    record = sa1b_record([generated(mask)], image_id=5, file_name="a.jpg", height=9, width=10)
    assert parse_record(record.to_json(), name="a.json") == record
    written = json.loads(record.to_json())
    assert written["image"] == {"image_id": 5, "width": 10, "height": 9, "file_name": "a.jpg"}
    (annotation,) = written["annotations"]
    np.testing.assert_array_equal(coco_mask.decode(annotation["segmentation"]), mask)
    assert annotation["area"] == coco_mask.area(annotation["segmentation"]) == 18
    assert annotation["bbox"] == coco_mask.toBbox(annotation["segmentation"]).tolist() == [1, 2, 6, 3]
    assert annotation["crop_box"] == [0, 2, 8, 7]
    assert annotation["point_coords"] == [[3.5, 2.5]]


def test_ids_follow_from_picture_and_pixels() -> None:
    first, second = np.eye(4, dtype=bool), np.ones((4, 4), dtype=bool)

    def ids(image_id: int, *masks: np.ndarray) -> list[int]:
        record = sa1b_record(map(generated, masks), image_id=image_id, file_name="a.jpg", height=4, width=4)
        return [annotation.id for annotation in record.annotations]

    one, two = ids(5, first, second)
    assert ids(5, second, first, second) == [two, one]
    assert ids(6, first) not in ([one], [two])


def test_parents_are_written_as_ids() -> None:
    outer, inner, corner = np.ones((4, 4), dtype=bool), np.zeros((4, 4), dtype=bool), np.zeros((4, 4), dtype=bool)
    inner[1:3, 1:3] = True
    corner[0, 0] = True
    masks = [generated(mask) for mask in (inner, outer, inner, corner)]
    where = {"image_id": 5, "file_name": "a.jpg", "height": 4, "width": 4}
    plain = sa1b_record(masks, **where)
    record = sa1b_record(iter(masks), **where, parents=[1, None, 1, 1])
    inner_id, outer_id, corner_id = [annotation.id for annotation in record.annotations]
    written = as_written(record)
    found = {annotation["id"]: annotation.pop("parent") for annotation in written["annotations"]}
    assert found == {inner_id: outer_id, outer_id: None, corner_id: outer_id}
    assert written == as_written(plain), "nothing else changes, and without parents there is no such field"
    with pytest.raises(ValueError, match="shorter"):
        sa1b_record(masks, **where, parents=[None])


def as_written(record: Sa1bRecord) -> dict[str, Any]:
    return json.loads(record.to_json())
