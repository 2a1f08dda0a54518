"""Label files that supervision itself writes, against what supervision itself reads of them."""

import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engine import rle as rle_codec
from engine.ingest import ingest
from engine.store import Store
from schemas.rle import Rle
from schemas.tables import GROUND_TRUTH

supervision = pytest.importorskip("supervision")
H, W = 64, 96


def drawn() -> list[np.ndarray]:
    """A rectangle at a border, a disc, a ring and one of two parts."""
    rows, columns = np.mgrid[:H, :W]
    ring = (abs(np.hypot(rows - 40, columns - 70) - 12) <= 4).astype(bool)
    two = np.zeros((H, W), dtype=bool)
    two[2:9, 40:50] = two[12:20, 40:47] = True
    return [(rows < 20) & (columns < 30), np.hypot(rows - 45, columns - 25) <= 11, ring, two]


def data_set(folder: Path) -> Any:
    folder.mkdir()
    picture = folder / "a.png"
    cv2.imwrite(str(picture), np.full((H, W, 3), 90, dtype=np.uint8))
    masks = np.array(drawn())
    found = supervision.Detections(xyxy=supervision.mask_to_xyxy(masks), mask=masks, class_id=np.arange(len(masks)) % 2)
    return supervision.DetectionDataset(
        classes=["cat", "dog"], images=[str(picture)], annotations={str(picture): found}
    )


def came_in(store: Store) -> list[np.ndarray]:
    rows = store.read_table(GROUND_TRUTH).to_pylist()
    return sorted((rle_codec.decode(Rle.of_row(row)) for row in rows), key=lambda mask: mask.tobytes())


def read_back(found: Any) -> list[np.ndarray]:
    (detections,) = found.annotations.values()
    return sorted(detections.mask, key=lambda mask: mask.tobytes())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("approximation", [0.0, 0.75])
def test_pascal_voc_has_pixels_counted_from_one(empty_store: Store, tmp_path: Path, approximation: float) -> None:
    folder = tmp_path / "out"
    data_set(tmp_path / "in").as_pascal_voc(
        images_directory_path=str(folder / "images"),
        annotations_directory_path=str(folder / "annotations"),
        approximation_percentage=approximation,
    )
    ingest(empty_store, [folder])
    theirs = supervision.DetectionDataset.from_pascal_voc(
        images_directory_path=str(folder / "images"), annotations_directory_path=str(folder / "annotations")
    )
    np.testing.assert_array_equal(came_in(empty_store), read_back(theirs))


@pytest.mark.parametrize("approximation", [0.0, 0.75])
def test_coco_has_contours_of_pixels(empty_store: Store, tmp_path: Path, approximation: float) -> None:
    folder = tmp_path / "out"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_set(tmp_path / "in").as_coco(
            images_directory_path=str(folder / "images"),
            annotations_path=str(folder / "annotations.json"),
            approximation_percentage=approximation,
        )
        theirs = supervision.DetectionDataset.from_coco(
            images_directory_path=str(folder / "images"),
            annotations_path=str(folder / "annotations.json"),
            force_masks=True,
        )
    ingest(empty_store, [folder])
    np.testing.assert_array_equal(came_in(empty_store), read_back(theirs))
    if approximation == 0:
        np.testing.assert_array_equal(came_in(empty_store), sorted(drawn(), key=lambda mask: mask.tobytes()))
