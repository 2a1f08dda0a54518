"""The demo's photographs and their ground truth fit each other."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from engine.coco import read_coco
from flows.demo import photos
from schemas.errors import InputError

COCO: dict[str, Any] = json.loads(photos.ground_truth_path().read_text(encoding="utf-8"))
SEGMENTATIONS = {
    record["file_name"]: [a["segmentation"] for a in COCO["annotations"] if a["image_id"] == record["id"]]
    for record in COCO["images"]
}


def test_every_photograph_is_installed_and_has_the_size_of_its_record() -> None:
    paths = photos.demo_photos()
    assert [path.name for path in paths] == [record["file_name"] for record in COCO["images"]]
    for path, record in zip(paths, COCO["images"], strict=True):
        with Image.open(path) as image:
            assert image.size == (record["width"], record["height"])


def test_two_photographs_are_held_out() -> None:
    splits = [record["split"] for record in COCO["images"]]
    assert splits.count("train") >= 5
    assert splits.count("holdout") == 2


@pytest.mark.parametrize("image", COCO["images"], ids=lambda image: image["file_name"])
def test_masks_decode_and_agree_with_their_records(image: dict[str, Any]) -> None:
    annotations = [a for a in COCO["annotations"] if a["image_id"] == image["id"]]
    for annotation in annotations:
        mask = coco_mask.decode([annotation["segmentation"]])[..., 0]
        assert mask.shape == (image["height"], image["width"])
        assert mask.sum() == annotation["area"] > 100
        assert coco_mask.toBbox(annotation["segmentation"]).tolist() == annotation["bbox"]
        assert annotation["label"].strip() == annotation["label"] != ""


@pytest.mark.parametrize("name", SEGMENTATIONS)
def test_photograph_has_enough_masks_and_none_twice(name: str) -> None:
    masks = SEGMENTATIONS[name]
    assert len(masks) >= 10
    iou = coco_mask.iou(masks, masks, [0] * len(masks))
    assert (iou - np.eye(len(masks))).max() < 0.95


def test_reader_of_coco_files_takes_everything() -> None:
    dataset = read_coco(photos.ground_truth_path(), images_root=photos.photos_folder())
    assert dataset.problems == []
    assert sum(len(image.masks) for image in dataset.images) == len(COCO["annotations"])
    assert all(mask.label for image in dataset.images for mask in image.masks)


def test_missing_photographs_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "photos_folder", lambda: tmp_path)
    with pytest.raises(InputError, match=r"astronaut\.png.*scikit-image"):
        photos.demo_photos()
