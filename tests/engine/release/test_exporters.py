"""Releases in other forms: what goes in comes out."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import supervision
import yaml
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk.converter.brush import decode_rle
from label_studio_sdk.label_interface import LabelInterface
from PIL import Image
from pycocotools.coco import COCO

from engine import rle
from engine.coco import read_coco
from engine.release.build import build_release
from engine.release.exporters import EXPORTERS, export_release
from engine.release.reader import Release
from engine.release.yolo import coordinates
from engine.store import Store
from schemas.errors import InputError


@pytest.fixture
def path(store: Store) -> Path:
    return build_release(store, stages=["fully_automatic", "assisted_manual"]).path


def test_coco_is_read_back_mask_for_mask(path: Path, tmp_path: Path) -> None:
    export_release(path, tmp_path / "coco", form="coco")
    found = read_coco(tmp_path / "coco" / "annotations.json")
    assert found.problems == []
    for image, picture in zip(found.images, Release(path), strict=True):
        assert image.path.read_bytes() == picture.jpeg
        assert (image.coco_id, image.split) == (picture.row["image_id"], picture.row["split"])
        assert [mask.rle for mask in image.masks] == [mask.rle for mask in picture.masks()]
        assert [mask.label for mask in image.masks] == [mask.label for mask in picture.masks()]


def test_pycocotools_reads_it_too(path: Path, tmp_path: Path) -> None:
    export_release(path, tmp_path / "coco", form="coco")
    coco = COCO(tmp_path / "coco" / "annotations.json")
    assert len(coco.anns) == Release(path).manifest.masks
    assert all(coco.annToMask(annotation).sum() == annotation["area"] for annotation in coco.anns.values())
    assert {annotation["category_id"] for annotation in coco.anns.values()} == set(coco.cats)


def test_lvis_has_the_masks_of_coco_and_what_its_own_reader_asks_for(path: Path, tmp_path: Path) -> None:
    """The `lvis` package needs another build of OpenCV; it read such an export, mask for mask, when that was tried."""
    for form in ("coco", "lvis"):
        export_release(path, tmp_path / form, form=form)
    plain, lvis = (COCO(tmp_path / form / "annotations.json") for form in ("coco", "lvis"))
    for number, annotation in lvis.anns.items():
        assert annotation | {"iscrowd": 0} == plain.anns[number]
        assert "iscrowd" not in annotation
    assert lvis.anns.keys() == plain.anns.keys()
    manifest = Release(path).manifest
    (category,) = lvis.dataset["categories"]
    counts = {"image_count": manifest.images, "instance_count": manifest.masks, "frequency": "r"}
    words = {"id": 1, "name": "object", "synonyms": ["object"], "synset": "", "def": ""}
    assert category == words | counts
    for image in lvis.dataset["images"]:
        assert (image["neg_category_ids"], image["not_exhaustive_category_ids"]) == ([], [1])


def test_png_has_a_file_for_each_mask(path: Path, tmp_path: Path) -> None:
    export_release(path, tmp_path / "png", form="png")
    for picture in Release(path):
        assert (tmp_path / "png" / "images" / f"{picture.name}.jpg").read_bytes() == picture.jpeg
        files = tmp_path / "png" / "masks" / picture.name
        assert {file.stem for file in files.iterdir()} == {str(row["id"]) for row in picture.mask_rows}
        for mask, row in zip(picture.masks(), picture.mask_rows, strict=True):
            with Image.open(files / f"{row['id']}.png") as opened:
                np.testing.assert_array_equal(np.asarray(opened.convert("L")) == 255, rle.decode(mask.rle))


def as_ultralytics(line: str, *, height: int, width: int) -> tuple[int, np.ndarray]:
    """Class and mask (H, W) bool of a line of a label file: scaled, cut to whole pixels, filled by OpenCV."""
    number, *values = line.split()
    path = np.array(values, dtype=np.float32).reshape(-1, 2) * (width, height)
    mask = np.zeros((height, width), dtype=np.uint8)
    cv2.fillPoly(mask, path.astype(np.int32).reshape(1, -1, 2), color=1)
    return int(number), mask.astype(bool)


def test_supervision_reads_yolo_mask_for_mask(path: Path, tmp_path: Path) -> None:
    export_release(path, tmp_path / "yolo", form="yolo")
    data = yaml.safe_load((tmp_path / "yolo" / "data.yaml").read_text())
    read = {}
    for split in {data["train"], data["val"]}:
        found = supervision.DetectionDataset.from_yolo(
            images_directory_path=str(tmp_path / "yolo" / split),
            annotations_directory_path=str(tmp_path / "yolo" / split.replace("images", "labels")),
            data_yaml_path=str(tmp_path / "yolo" / "data.yaml"),
            force_masks=True,
        )
        assert found.classes == ["object"]
        read |= {Path(name).stem: detections for name, _, detections in found}
    pictures = {picture.name: picture for picture in Release(path)}
    assert read.keys() == pictures.keys()
    for name, picture in pictures.items():
        np.testing.assert_array_equal(read[name].mask, [rle.decode(mask.rle) for mask in picture.masks()])


def test_ultralytics_would_read_the_same(path: Path, tmp_path: Path) -> None:
    export_release(path, tmp_path / "yolo", form="yolo")
    for picture in Release(path):
        (labels,) = (tmp_path / "yolo" / "labels").glob(f"*/{picture.name}.txt")
        image = Path(str(labels.with_suffix(".jpg")).replace("labels", "images"))
        assert image.read_bytes() == picture.jpeg
        for line, mask in zip(labels.read_text().splitlines(), picture.masks(), strict=True):
            _, found = as_ultralytics(line, height=picture.height, width=picture.width)
            np.testing.assert_array_equal(found, rle.decode(mask.rle))


@pytest.mark.parametrize("box", [(3, 4, 4, 5), (0, 0, 1, 9), (2, 7, 9, 8), (1, 1, 3, 3)])
def test_a_mask_of_a_few_pixels_is_no_box_in_yolo(box: tuple[int, int, int, int]) -> None:
    mask = np.zeros((12, 20), dtype=bool)
    x0, y0, x1, y1 = box
    mask[y0:y1, x0:x1] = True
    line = f"0 {coordinates(rle.encode(mask))}"
    assert len(line.split()) >= 7, "five numbers are a box, six a box and its score"
    np.testing.assert_array_equal(as_ultralytics(line, height=12, width=20)[1], mask)


@given(st.integers(0, 10_000))
def test_yolo_keeps_parts_and_holes_but_for_the_bridges(seed: int) -> None:
    mask = cv2.resize(np.random.default_rng(seed).random((6, 8)), (160, 120), interpolation=cv2.INTER_CUBIC) > 0.6
    if not mask.any():
        return
    _, found = as_ultralytics(f"0 {coordinates(rle.encode(mask))}", height=120, width=160)
    assert not (mask & ~found).any(), "nothing is lost"
    parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] - 1
    assert (found & ~mask).sum() <= 200 * (parts - 1), "a bridge is a line of one pixel's width"
    assert parts > 1 or np.array_equal(found, mask)


LOAD_PARQUET = """
import hashlib, json, sys
import numpy as np
from datasets import load_dataset
from pycocotools import mask
found = {}
for split, rows in load_dataset(sys.argv[1]).items():
    for row in rows:
        pixels = np.asarray(row["image"])
        masks = [mask.decode(each["segmentation"]).astype(bool) for each in row["masks"]]
        shown = hashlib.sha256(pixels.tobytes() + b"".join(each.tobytes("F") for each in masks)).hexdigest()
        others = [[each[name] for name in ("id", "area", "predicted_iou", "label", "stage")] for each in row["masks"]]
        found[row["image_id"]] = [split, shown, others]
print(json.dumps(found))
"""


def test_datasets_decodes_pictures_and_masks_of_parquet(path: Path, tmp_path: Path) -> None:
    export_release(path, tmp_path / "parquet", form="parquet-images")
    environment = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    command = [sys.executable, "-c", LOAD_PARQUET, str(tmp_path / "parquet")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    pictures = list(Release(path))
    assert found.keys() == {str(picture.row["image_id"]) for picture in pictures}
    for picture in pictures:
        split, shown, others = found[str(picture.row["image_id"])]
        assert split == picture.row["split"]
        masks = [rle.decode(mask.rle) for mask in picture.masks()]
        pixels = picture.pixels().tobytes() + b"".join(mask.tobytes("F") for mask in masks)
        assert shown == hashlib.sha256(pixels).hexdigest()
        told = [(each.id, each.area, each.predicted_iou) for each in picture.record.annotations]
        assert others == [
            [number, area, score if score is None else pytest.approx(score), row["label"], row["stage"]]
            for (number, area, score), row in zip(told, picture.mask_rows, strict=True)
        ]


def test_label_studio_shows_every_mask(path: Path, tmp_path: Path) -> None:
    export_release(path, tmp_path / "labelstudio", form="labelstudio")
    tasks = json.loads((tmp_path / "labelstudio" / "tasks.json").read_text())
    name = Release(path).manifest.name
    labels = LabelInterface((tmp_path / "labelstudio" / "labels.xml").read_text())
    for task, picture in zip(tasks, Release(path), strict=True):
        assert task["data"]["image"] == f"/data/local-files/?d={name}/images/{picture.name}.jpg"
        (annotation,) = task["annotations"]
        assert labels.validate_annotation(annotation)
        for region, mask in zip(annotation["result"], picture.masks(), strict=True):
            pixels = decode_rle(region["value"]["rle"]).reshape(picture.height, picture.width, 4)[:, :, 3] > 0
            np.testing.assert_array_equal(pixels, rle.decode(mask.rle))


def test_an_output_that_exists_is_left_alone(path: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(InputError, match="mine: exists already"):
        export_release(path, tmp_path / "mine", form="coco")
    assert (tmp_path / "mine").read_text() == "keep"


def test_an_unknown_form_lists_the_known_ones(path: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="unknown export format 'pascal'; known: coco, lvis, png, yolo, labelstudio, parquet-images"
    ):
        export_release(path, tmp_path / "out", form="pascal")


def test_nothing_is_left_of_an_export_that_fails(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(release: Release, folder: Path, /) -> None:
        (folder / "begun").write_text("")
        raise InputError("this form has no holes")

    monkeypatch.setitem(EXPORTERS._loaded, "half", half)
    before = set(tmp_path.iterdir())
    with pytest.raises(InputError, match="no holes"):
        export_release(path, tmp_path / "out", form="half")
    assert set(tmp_path.iterdir()) == before
