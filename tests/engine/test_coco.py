import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from engine import rle as rle_codec
from engine.coco import read_coco
from schemas.errors import InputError
from tests.pictures import shapes, write_coco


def changed(path: Path, change: Any) -> Path:
    """The COCO file after `change(content)`."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def test_images_and_masks_are_those_of_the_file(tmp_path: Path) -> None:
    dataset = read_coco(write_coco(tmp_path, count=3, splits={1: "holdout"}))
    assert dataset.problems == []
    assert [(image.coco_id, image.split) for image in dataset.images] == [(0, None), (1, "holdout"), (2, None)]
    for number, image in enumerate(dataset.images):
        _, masks = shapes(number)
        assert image.path == tmp_path / "shapes" / f"{number}.png"
        assert (image.height, image.width) == masks[0].shape
        for got, wanted in zip(image.masks, masks, strict=True):
            np.testing.assert_array_equal(rle_codec.decode(got.rle), wanted)
            assert (got.label, got.iscrowd, got.annotator) == ("ellipse", False, "")


def test_polygons_labels_crowds_and_annotators(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["annotations"] = [
            {"id": 5, "image_id": 0, "category_id": 1, "segmentation": [[10, 10, 20, 10, 20, 30, 10, 30]]},
            {"id": 6, "image_id": 0, "category_id": 1, "iscrowd": 1, "annotator": 2}
            | {"segmentation": {"size": [64, 96], "counts": [0, 64, 64 * 95]}},
        ]

    dataset = read_coco(changed(write_coco(tmp_path, count=1), change))
    polygon, crowd = dataset.images[0].masks
    assert rle_codec.area(polygon.rle) == 10 * 20
    assert polygon.label == "object"
    assert (crowd.iscrowd, crowd.annotator) == (True, "2")
    assert (crowd.category_id, crowd.frequency) == (1, "")
    np.testing.assert_array_equal(rle_codec.box(crowd.rle), [0, 0, 1, 64])


def test_categories_of_lvis_have_a_frequency(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["categories"] = [{"id": 1, "name": "cup", "frequency": "c"}]
        content["annotations"][0]["category_id"] = 77

    unknown, *others = read_coco(changed(write_coco(tmp_path, count=1), change)).images[0].masks
    assert (unknown.category_id, unknown.frequency) == (77, "")
    assert others
    assert {(mask.category_id, mask.frequency) for mask in others} == {(1, "c")}


def test_each_broken_thing_is_one_line_and_the_rest_stays(tmp_path: Path) -> None:
    good = {"image_id": 0, "category_id": 1, "segmentation": {"size": [64, 96], "counts": [10, 5, 64 * 96 - 15]}}
    wrong: list[tuple[Any, str]] = [
        ({"id": 1, "image_id": 0}, "segmentation"),
        ({**good, "id": 2, "segmentation": {"size": [64, 96], "counts": [10, 5]}}, "runs sum to 15"),
        ({**good, "id": 3, "segmentation": {"size": [64, 96], "counts": "\u00e9"}}, "not ASCII"),
        ({**good, "id": 4, "segmentation": {"size": [96, 64], "counts": [6144]}}, "size [96, 64] is not"),
        ({**good, "id": 5, "segmentation": {"size": [64, 96], "counts": [6144]}}, "the mask is empty"),
        ({**good, "id": 6, "segmentation": []}, "empty list of polygons"),
        ({**good, "id": 60, "segmentation": [], "bbox": [1, 2, 3, 4]}, "sam-engine masks makes masks of boxes"),
        ({**good, "id": 7, "segmentation": [[1, 2, 3]]}, "at least 3 points"),
        ({**good, "id": 8, "image_id": 99}, "image_id 99 is not among the images"),
        ({"id": 9}, "no image_id"),
        ("text", "expected an object, found str"),
    ]

    def change(content: dict[str, Any]) -> None:
        content["annotations"] = [*(record for record, _ in wrong), {**good, "id": 77}]

    path = changed(write_coco(tmp_path, count=1), change)
    dataset = read_coco(path)
    assert len(dataset.images[0].masks) == 1
    assert len(dataset.problems) == len(wrong)
    for problem, (record, reason) in zip(dataset.problems, wrong, strict=True):
        assert problem.kind == "mask"
        assert reason in problem.reason
        assert "\n" not in problem.reason
        name = record["id"] if isinstance(record, dict) else f"number {len(wrong)}"
        assert problem.source == f"{path}: annotation {name}"


def test_bad_image_records_are_named_once_with_their_masks(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["images"][0]["file_name"] = "gone.png"
        content["images"][1]["height"] = 0
        content["images"][2]["split"] = "test"
        content["images"].append(dict(content["images"][3]))
        content["images"].append({"id": 50, "height": 3, "width": 3})
        content["images"].append({"file_name": "x"})

    path = changed(write_coco(tmp_path, count=4), change)
    dataset = read_coco(path)
    assert [image.coco_id for image in dataset.images] == [3]
    assert dataset.images[0].masks
    assert [problem.kind for problem in dataset.problems] == ["image"] * 6
    for problem, said in zip(
        dataset.problems,
        ["gone.png: no such file", "whole numbers above 0", "train, holdout", "used twice", "no file_name", "no id"],
        strict=True,
    ):
        assert said in problem.reason
    count = sum(record["image_id"] == 0 for record in json.loads(path.read_text())["annotations"])
    assert dataset.problems[0].reason.endswith(f"(its masks are left out with it: {count})")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not valid JSON"),
        ("[1]", "expected an object, found list"),
        ('{"images": []}', 'needs a list "annotations"'),
        ('{"images": {}, "annotations": []}', 'needs a list "images"'),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_a_file_that_is_none_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "coco.json"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_coco(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone.json: cannot read the file: No such file"):
        read_coco(tmp_path / "gone.json")


def test_images_root_is_where_pictures_are(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "pictures", count=1).rename(tmp_path / "elsewhere.json")
    assert read_coco(path).images == []
    assert len(read_coco(path, images_root=tmp_path / "pictures").images) == 1


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_KEYS = ["id", "image_id", "file_name", "height", "width", "segmentation", "iscrowd", "label", "split"]
_RECORD = st.dictionaries(st.sampled_from(_KEYS), _JSON)
_RECORDS = st.lists(_RECORD | _JSON, max_size=3)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(images=_RECORDS, annotations=_RECORDS, categories=_JSON)
def test_any_json_gives_lines_not_crashes(tmp_path: Path, images: Any, annotations: Any, categories: Any) -> None:
    path = tmp_path / "any.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    dataset = read_coco(path)
    assert dataset.images == []  # no file of such a name exists
    assert len(dataset.problems) >= len(images)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(record=_RECORD)
def test_any_annotation_of_a_good_image_is_read_or_named(tmp_path: Path, record: dict[str, Any]) -> None:
    path = write_coco(tmp_path, count=1)
    changed(path, lambda content: content.update(annotations=[record | {"image_id": 0}]))
    dataset = read_coco(path)
    assert len(dataset.images[0].masks) + len(dataset.problems) == 1


def test_real_files_read_as_pycocotools_reads_them(shared_data: Path) -> None:
    path = shared_data / "coco_mini" / "val.json"
    dataset, peer = read_coco(path), COCO(str(path))
    assert dataset.problems == []
    assert [image.coco_id for image in dataset.images] == list(peer.imgs)
    for image in dataset.images[::7]:
        annotations = peer.imgToAnns[image.coco_id]
        assert len(image.masks) == len(annotations)
        for mask, annotation in zip(image.masks, annotations, strict=True):
            np.testing.assert_array_equal(rle_codec.decode(mask.rle), peer.annToMask(annotation).astype(bool))
            assert mask.label == annotation["label"]
            assert mask.iscrowd == bool(annotation["iscrowd"])
