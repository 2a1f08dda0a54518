import json
from typing import Any

import pytest

from schemas.errors import InputError
from schemas.mask import Mask, Prompt
from schemas.rle import Rle
from schemas.sa1b import Sa1bAnnotation, Sa1bRecord, image_record, parse_record

# A picture of 3 x 2 pixels with a mask of 3 of them, written the way segment-anything's generator writes it.
PUBLISHED: dict[str, Any] = {
    "image": {"image_id": 7, "width": 3, "height": 2, "file_name": "sa_7.jpg"},
    "annotations": [
        {
            "id": 1234567890123456789,
            "segmentation": {"size": [2, 3], "counts": "132"},
            "bbox": [0.0, 0.0, 2.0, 2.0],
            "area": 3,
            "predicted_iou": 0.9123,
            "stability_score": 0.97,
            "crop_box": [0.0, 0.0, 3.0, 2.0],
            "point_coords": [[0.75, 1.25]],
        }
    ],
}


def annotation(**changes: Any) -> Sa1bAnnotation:
    fields: dict[str, Any] = {
        "rle": Rle(2, 3, b"132"),
        "area": 3,
        "box": (0, 0, 2, 2),
        "crop_box": (0, 0, 3, 2),
        "prompt": Prompt(points=((0.75, 1.25, 1),)),
        "predicted_iou": 0.9123,
        "stability_score": 0.97,
    }
    annotation_id = changes.pop("annotation_id", 1234567890123456789)
    return Mask(**(fields | changes)).to_sa1b(annotation_id)


def record(*annotations: Sa1bAnnotation) -> Sa1bRecord:
    image = image_record(image_id=7, width=3, height=2, file_name="sa_7.jpg")
    return Sa1bRecord(image=image, annotations=list(annotations))


def broken(path: str, value: Any) -> bytes:
    """The published record with one field replaced."""
    copy = json.loads(json.dumps(PUBLISHED))
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    target = copy
    for part in parents:
        target = target[part]
    target[last] = value
    return json.dumps(copy).encode()


def test_our_record_is_the_published_one_field_by_field() -> None:
    data = record(annotation()).to_json()
    assert json.loads(data) == PUBLISHED
    assert list(json.loads(data)["annotations"][0]) == list(PUBLISHED["annotations"][0])


def test_what_is_written_is_read_back() -> None:
    written = record(annotation(), annotation(annotation_id=2, prompt=Prompt()))
    assert parse_record(written.to_json(), name="sa_7.json") == written


def test_boxes_become_xywh() -> None:
    made = annotation(box=(1, 0, 3, 2), crop_box=(1, 1, 3, 2))
    assert made.bbox == (1, 0, 2, 2)
    assert made.crop_box == (1, 1, 2, 1)


def test_what_nobody_measured_is_null() -> None:
    made = annotation(predicted_iou=float("nan"), stability_score=float("nan"))
    data = json.loads(record(made).to_json())["annotations"][0]
    assert data["predicted_iou"] is None
    assert data["stability_score"] is None


def test_a_parent_is_written_last_and_only_where_it_was_given() -> None:
    given = (
        annotation().model_copy(update={"parent": 5}),
        annotation(annotation_id=5).model_copy(update={"parent": None}),
    )
    written = record(*given, annotation(annotation_id=6)).to_json()
    nested, outermost, unknown = json.loads(written)["annotations"]
    assert nested == PUBLISHED["annotations"][0] | {"parent": 5}
    assert list(nested)[-1] == "parent"
    assert outermost["parent"] is None
    assert "parent" not in unknown
    assert parse_record(written, name="sa_7.json").to_json() == written


def test_bytes_without_parents_are_those_of_before_there_were_any() -> None:
    written = record(annotation(predicted_iou=float("nan"))).to_json()
    assert written == json.dumps(json.loads(broken("annotations.0.predicted_iou", None)), ensure_ascii=False).encode()
    assert parse_record(written, name="sa_7.json").to_json() == written


def test_a_prompt_that_was_more_than_points_on_the_object_stands_whole_beside_them() -> None:
    points = Prompt(points=((0.75, 1.25, 1), (2.5, 0.5, 0)), mask=Rle(2, 3, b"6"))
    written = record(annotation(prompt=Prompt(box=(0.5, 0, 2.5, 2))), annotation(annotation_id=5, prompt=points))
    boxed, mended = json.loads(written.to_json())["annotations"]
    assert boxed == PUBLISHED["annotations"][0] | {"point_coords": [], "prompt": {"box": [0.5, 0, 2, 2]}}
    assert mended["point_coords"] == [[0.75, 1.25]]
    assert mended["prompt"] == {
        "points": [[0.75, 1.25, 1], [2.5, 0.5, 0]],
        "segmentation": {"size": [2, 3], "counts": "6"},
    }
    assert parse_record(written.to_json(), name="sa_7.json") == written


def test_fields_of_other_tools_are_ignored() -> None:
    assert parse_record(broken("image.licence", "CC BY"), name="sa_7.json") == record(annotation())


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("image.width", 0, "image.width: Input should be greater than or equal to 1"),
        ("image.width", "wide", "image.width: Input should be a valid integer"),
        ("annotations.0.bbox", [0, 0, 2], "annotations.0.bbox.3: Field required"),
        ("annotations.0.bbox", [0, 0, -2, 2], "annotations.0.bbox.2: Input should be greater"),
        ("annotations.0.area", 7, "annotation 1234567890123456789: area 7 is larger than the picture"),
        ("annotations.0.area", 2.5, "annotations.0.area"),
        ("annotations.0.predicted_iou", "good", "annotations.0.predicted_iou"),
        ("annotations.0.segmentation", [[0, 0, 1, 1, 0, 1]], "annotations.0.segmentation"),
        (
            "annotations.0.segmentation.size",
            [3, 2],
            r"annotation 1234567890123456789: its mask is of size \[3, 2\], the picture of \[2, 3\]",
        ),
        ("annotations.0.segmentation.counts", "", "annotations.0.segmentation.counts"),
        ("annotations.0.parent", "seven", "annotations.0.parent: Input should be a valid integer"),
        ("annotations.0.point_coords", [[1, 2, 3]], "annotations.0.point_coords.0"),
        ("annotations", None, "annotations: Input should be a valid array"),
        ("annotations", PUBLISHED["annotations"] * 2, "annotation 1234567890123456789 occurs twice"),
    ],
)
def test_a_broken_record_is_named_with_its_field(path: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=rf"^sa_7\.json: not an SA-1B record: {message}"):
        parse_record(broken(path, value), name="sa_7.json")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"image": NaN}'])
def test_what_is_no_record_at_all_is_named(data: bytes) -> None:
    with pytest.raises(InputError, match=r"^sa_7\.json: not an SA-1B record: "):
        parse_record(data, name="sa_7.json")


def test_a_record_is_read() -> None:
    assert parse_record(json.dumps(PUBLISHED), name="sa_7.json") == record(annotation())
