import json

import numpy as np
from pycocotools import mask as coco_mask

from engine import rle
from engine.masks.generator import GeneratedMask
from engine.masks.records import sa1b_record
from schemas.sa1b import parse_record


def generated(mask: np.ndarray) -> GeneratedMask:
    return GeneratedMask(
        rle.encode(mask), (1, 2, 6, 4), int(mask.sum()), 0.9, 0.97, crop_box_xyxy=(0, 2, 8, 9), point_xy=(3.5, 2.5)
    )


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
