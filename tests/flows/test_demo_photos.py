"""The demo's pictures and their ground truth fit each other."""

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

COCO: dict[str, Any] = json.loads(photos.bricks_path().read_text(encoding="utf-8"))
IMAGES: dict[str, dict[str, Any]] = {record["file_name"]: record for record in COCO["images"]}
SIDE_PX = 120


def annotations_of(name: str) -> list[dict[str, Any]]:
    return [a for a in COCO["annotations"] if a["image_id"] == IMAGES[name]["id"]]


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("squares")
    photos.cut_bricks(folder)
    return folder


def test_squares_are_pieces_of_the_photograph_and_are_cut_once(squares: Path) -> None:
    pavement = np.asarray(Image.open(photos.photos_folder() / photos.PAVEMENT))
    records = COCO["images"]
    assert sorted(path.name for path in squares.iterdir()) == sorted(record["file_name"] for record in records)
    for record in records:
        x, y = record["crop_xy"]
        piece = pavement[y : y + record["height"], x : x + record["width"]]
        assert np.array_equal(np.asarray(Image.open(squares / record["file_name"])), piece)
    written = {path: path.stat().st_mtime_ns for path in squares.iterdir()}
    photos.cut_bricks(squares)
    assert {path: path.stat().st_mtime_ns for path in squares.iterdir()} == written


def test_squares_that_are_held_out_lie_apart_from_the_others() -> None:
    columns = {
        split: [r["crop_xy"][0] + side for r in COCO["images"] if r["split"] == split for side in (0, SIDE_PX)]
        for split in ("train", "holdout")
    }
    assert len(columns["train"]) == len(columns["holdout"]) == 2 * 8
    assert min(columns["holdout"]) - max(columns["train"]) >= 32


@pytest.mark.parametrize("name", IMAGES)
def test_masks_decode_and_agree_with_their_records(name: str) -> None:
    image = IMAGES[name]
    for annotation in annotations_of(name):
        mask = coco_mask.decode([annotation["segmentation"]])[..., 0]
        assert mask.shape == (image["height"], image["width"])
        assert mask.sum() == annotation["area"] >= 100
        assert coco_mask.toBbox(annotation["segmentation"]).tolist() == annotation["bbox"]
        assert annotation["label"].strip() == annotation["label"] != ""


@pytest.mark.parametrize("name", IMAGES)
def test_picture_has_enough_masks_and_none_overlap(name: str) -> None:
    masks = [annotation["segmentation"] for annotation in annotations_of(name)]
    assert len(masks) >= 6
    iou = coco_mask.iou(masks, masks, [0] * len(masks))
    assert (iou - np.eye(len(masks))).max() == 0


def test_bricks_are_darker_than_the_mortar_around_them(squares: Path) -> None:
    for record in COCO["images"]:
        grey = np.asarray(Image.open(squares / record["file_name"]))
        bricks = coco_mask.decode([a["segmentation"] for a in annotations_of(record["file_name"])]).any(2)
        assert np.median(grey[~bricks]) - np.median(grey[bricks]) > 25


def test_reader_of_coco_files_takes_everything(squares: Path) -> None:
    dataset = read_coco(photos.bricks_path(), images_root=squares)
    assert dataset.problems == []
    assert sum(len(image.masks) for image in dataset.images) == len(COCO["annotations"])
    assert all(mask.label for image in dataset.images for mask in image.masks)


def test_a_missing_photograph_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "photos_folder", lambda: tmp_path)
    with pytest.raises(InputError, match=r"brick\.png.*scikit-image"):
        photos.cut_bricks(tmp_path)
