"""Reference sets in COCO's format: what is counted, what is left out and why."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import rle
from engine.release.report.properties import sample_concavities
from engine.release.report.references import CocoReference
from schemas.errors import InputError

SQUARE = [[10.0, 10.0, 20.0, 10.0, 20.0, 20.0, 10.0, 20.0]]
RING = np.zeros((50, 100), dtype=bool)
RING[5:8, 5:8] = True
RING[6, 6] = False


def written(path: Path, annotations: list[Any], *, images: list[Any] | None = None, first: str = "images") -> Path:
    if images is None:
        images = [{"id": number, "width": 100, "height": 50, "file_name": f"{number}.jpg"} for number in (1, 2, 3)]
    content = {"images": images, "annotations": annotations}
    path.write_text(json.dumps({first: content.pop(first), **content}))
    return path


def mask(**fields: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": 1, "segmentation": SQUARE, "area": 100, "bbox": [10, 10, 10, 10], **fields}


@pytest.mark.parametrize("first", ["images", "annotations"])
def test_counts_in_either_order_of_the_file(tmp_path: Path, first: str) -> None:
    path = written(tmp_path / "coco.json", [mask(), mask(image_id=2), mask(image_id=2)], first=first)
    found = CocoReference("set", path).properties()
    assert (found.name, found.pictures, found.masks, dict(found.left_out)) == ("set", 3, 3, {})
    np.testing.assert_allclose(found.per_picture()[0], 1)  # of three pictures one has no mask
    assert found.median_per_picture() == 1
    assert found.size_quantile(0.5) == pytest.approx(np.sqrt(100 / 5000), abs=0.001)


def test_what_is_no_mask_of_an_object_is_left_out_and_counted(tmp_path: Path) -> None:
    annotations = [
        mask(),
        mask(iscrowd=1),
        mask(image_id=9),
        mask(image_id=None),
        mask(segmentation=[]),
        mask(segmentation={"size": [50, 100], "counts": "?"}, area=None),
        "text",
    ]
    found = CocoReference("set", written(tmp_path / "coco.json", annotations)).properties()
    assert found.masks == 1
    assert dict(found.left_out) == {
        "groups (iscrowd)": 1,
        "of unknown pictures": 2,
        "without a mask": 1,
        "broken": 2,
    }


def test_area_and_box_are_measured_where_the_file_has_none(tmp_path: Path) -> None:
    segmentation = rle.encode(RING).to_coco()
    told = written(tmp_path / "told.json", [mask(segmentation=segmentation, area=8, bbox=[5, 5, 3, 3])])
    bare = written(tmp_path / "bare.json", [{"image_id": 1, "segmentation": segmentation}])
    first, second = (CocoReference("set", path).properties() for path in (told, bare))
    np.testing.assert_array_equal(first.density(45), second.density(45))
    np.testing.assert_array_equal(first.relative_sizes(50), second.relative_sizes(50))


def test_concavity_is_measured_on_the_masks_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "coco.json", [mask(), mask(segmentation=rle.encode(RING).to_coco(), area=8)])
    reference = CocoReference("set", path)
    sample = reference.properties().sample
    found = sample_concavities(reference, sample, sample.counts())
    np.testing.assert_allclose(sorted(found), [0, 1 / 9])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "broken JSON"),
        ("[]", "no COCO file with masks"),
        ('{"images": [], "annotations": []}', "no COCO file with masks"),
        ('{"images": [{"id": 1, "width": 5}], "annotations": [{"image_id": 1}]}', "no COCO file with masks"),
    ],
)
def test_a_file_without_masks_is_one_line(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "coco.json"
    path.write_text(content)
    with pytest.raises(InputError, match=problem) as error:
        CocoReference("set", path).properties()
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: cannot be read: No such file"):
        CocoReference("set", tmp_path / "none.json").properties()


def test_a_broken_mask_of_the_sample_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "coco.json", [mask(segmentation={"size": [50, 100], "counts": "?"})])
    reference = CocoReference("set", path)
    sample = reference.properties().sample
    with pytest.raises(InputError, match=r"coco\.json: RLE counts"):
        sample_concavities(reference, sample, sample.counts())
