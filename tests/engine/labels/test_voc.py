"""Pascal VOC: objects of its pictures, and polygons in its form."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.coco import read_coco
from engine.ingest import ingest
from engine.store import Store
from tests.engine.labels.tools import CORNERS, H, W, labels, masks, put, set_folder, square, voc, voc_object
from tests.pictures import encoded


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return set_folder(tmp_path)


def voc_folder(tmp_path: Path, *, kind: str = "SegmentationObject") -> Path:
    root = tmp_path / "VOC2012"
    for name in ("JPEGImages", "Annotations", kind, "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True)
    (root / "JPEGImages" / "a.jpg").write_bytes(encoded(np.full((H, W, 3), 90, dtype=np.uint8), "JPEG"))
    numbers = np.zeros((H, W), dtype=np.uint8)
    numbers[square()], numbers[square(60, 20, 80, 30)], numbers[:, 55] = 1, 2, 255
    picture = Image.fromarray(numbers, mode="P")
    picture.putpalette([value for number in range(256) for value in (number, 255 - number, 7)])
    picture.save(root / kind / "a.png")
    put(root, "Annotations/a.xml", voc(voc_object("cat") + voc_object("dog")))
    put(root, "ImageSets/Segmentation/train.txt", "a\n")
    return root


def test_voc_objects_are_those_of_the_png(empty_store: Store, tmp_path: Path) -> None:
    root = voc_folder(tmp_path)
    report = ingest(empty_store, [root])
    assert (report.added, report.masks) == (1, 2), report.rejected
    assert not report.rejected
    rows = empty_store.read_table("ground_truth").to_pylist()
    assert sorted((row["label"], row["area"]) for row in rows) == [("cat", 1200), ("dog", 200)]


def test_voc_with_classes_alone_names_each_object_and_takes_no_mask_for_a_picture(
    empty_store: Store, tmp_path: Path
) -> None:
    report = ingest(empty_store, [voc_folder(tmp_path, kind="SegmentationClass")])
    assert (report.added, report.masks, len(report.rejected)) == (1, 0, 2)


def test_voc_objects_that_the_file_does_not_list_come_in_too(tmp_path: Path) -> None:
    root = voc_folder(tmp_path)
    path = put(root, "Annotations/a.xml", voc(voc_object("cat")))
    found = read_coco(path, images_root=root / "JPEGImages")
    assert [int(mask.sum()) for mask in masks(found)] == [1200, 200]
    assert labels(found) == ["cat", ""]


@pytest.mark.parametrize(
    "polygon",
    [
        "".join(f"<x{n}>{x}</x{n}><y{n}>{y}</y{n}>" for n, (x, y) in enumerate(CORNERS, start=1)),
        "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in CORNERS),
    ],
    ids=["RectLabel and Roboflow", "LabelMe"],
)
def test_polygons_in_the_form_of_voc_are_read(folder: Path, polygon: str) -> None:
    found = read_coco(put(folder, "a.xml", voc(voc_object("cat", f"<polygon>{polygon}</polygon>") + voc_object("box"))))
    assert np.array_equal(masks(found)[0], square())
    (problem,) = found.problems
    assert problem.kind == "mask"


@pytest.mark.parametrize("form", ["labelme", "voc"])
def test_a_picture_that_was_renamed_with_its_label_file(folder: Path, form: str) -> None:
    corners = [list(corner) for corner in CORNERS]
    shapes = [{"label": "cat", "points": corners, "shape_type": "polygon", "group_id": None}]
    labelme: Any = {"shapes": shapes, "imagePath": "IMG_1.jpg", "imageHeight": H, "imageWidth": W}
    polygon = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in CORNERS)
    as_voc = voc(voc_object("cat", f"<polygon>{polygon}</polygon>")).replace("a.jpg", "IMG_1.jpg")
    path = put(folder, "a.json", labelme) if form == "labelme" else put(folder, "a.xml", as_voc)
    found = read_coco(path)
    assert np.array_equal(masks(found)[0], square())
    assert found.mended == {"picture by the label file's own name": 1}
    other = read_coco(path.rename(folder / f"b{path.suffix}"))
    assert [problem.kind for problem in other.problems] == ["image"]
