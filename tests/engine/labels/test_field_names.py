"""Fields under other names, and COCO files within something else."""

from collections import Counter
from typing import Any

import pytest

from engine.labels.field_names import name_of, usual_file, usual_image, usual_record

COCO: dict[str, Any] = {"images": [], "annotations": []}


@pytest.mark.parametrize(
    "content",
    [
        {"Images": [], "Annotations": []},
        {"IMAGES": [], "annotations": []},
        [COCO],
        {"coco": COCO},
        [{"export": COCO}],
        {"data": {"Images": [], "Annotations": []}},
    ],
)
def test_a_coco_file_is_found_whatever_is_around_it(content: Any) -> None:
    mended = Counter[str]()
    found = usual_file(content, mended)
    assert (found["images"], found["annotations"]) == ([], [])
    assert sum(mended.values()) == 1


@pytest.mark.parametrize(
    "content", [COCO, {"images": []}, [COCO, COCO], {"a": COCO, "b": COCO}, [], {}, 7, None, ["x"]]
)
def test_anything_else_stays_as_it_is(content: Any) -> None:
    mended = Counter[str]()
    assert usual_file(content, mended) is content
    assert not mended


def test_fields_get_their_usual_names_where_one_is_needed() -> None:
    mended = Counter[str]()
    given = {"imageId": 3, "Segmentation": [], "isCrowd": 1, "other": 2}
    found = usual_record(given, "image_id", mended)
    assert found == given | {"image_id": 3, "segmentation": [], "iscrowd": 1}
    assert usual_record({"image_id": 1, "polygon": [1]}, "segmentation", mended)["segmentation"] == [1]
    assert usual_image({"image-id": 3, "Width": 9}, mended) == {"image-id": 3, "Width": 9, "id": 3, "width": 9}
    assert mended == {"names of fields written in another way": 3}


@pytest.mark.parametrize("record", [{"image_id": 1, "imageId": 2}, {"bbox": []}, 7, None])
def test_records_that_have_it_or_have_no_other_stay(record: Any) -> None:
    mended = Counter[str]()
    assert usual_record(record, "image_id", mended) is record
    assert not mended


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({"file_name": "a.jpg", "name": "b.jpg"}, "a.jpg"),
        ({"file_name": "", "coco_url": "http://x/a.jpg"}, "http://x/a.jpg"),
        ({"fileName": "a.jpg"}, "a.jpg"),
        ({"filename": "a.jpg", "url": "b.jpg"}, "a.jpg"),
        ({"image": {"name": "x"}, "image_path": "a.jpg"}, "a.jpg"),
        ({"Name": "a.jpg"}, "a.jpg"),
        ({"file_name": 7}, None),
        ({"file_name": "a\0.jpg"}, None),
        ({"id": 1}, None),
    ],
)
def test_the_name_of_a_picture(record: dict[str, Any], name: str | None) -> None:
    assert name_of(record) == name
