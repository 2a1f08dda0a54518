"""Releases as Ultralytics YOLO segmentation data: `images/`, `labels/` with a line for each mask, and `data.yaml`.

    pip install --no-deps -e examples/yolo_exporter
    sam-engine release export RELEASE --format yolo --output yolo
    yolo segment train data=yolo/data.yaml

A line is a class and one polygon, x and y as shares of the picture's sides. Parts and holes of a mask are joined to one
path by bridges of no width, as Ultralytics' own converter from COCO joins parts: filled as it fills, by the even-odd
rule and with its outline, a bridge over background is a line one pixel wide, and all else is the mask.
Pictures that are held out become `val`. Masks have the class of their label, those without one are of class "object".
"""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import yaml
from scipy.spatial import cKDTree

from engine import rle
from engine.release.reader import Release
from schemas.rle import Rle

Path2d = npt.NDArray[np.int64]  # (N, 2), (x, y) of pixels


def export_yolo(release: Release, folder: Path, /) -> None:
    """Fill an empty folder with a release in this form."""
    classes: dict[str, int] = {}
    splits: set[str] = set()
    for picture in release:
        split = "val" if picture.row["split"] == "holdout" else "train"
        splits.add(split)
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
        lines = [
            f"{classes.setdefault(mask.label or 'object', len(classes))} {coordinates(mask.rle)}\n"
            for mask in picture.masks()
        ]
        (folder / "images" / split / f"{picture.name}.jpg").write_bytes(picture.jpeg)
        (folder / "labels" / split / f"{picture.name}.txt").write_text("".join(lines))
    # Ultralytics wants both; a release without held-out pictures is looked at with those it is learned from.
    places = {"train": "train" if "train" in splits else "val", "val": "val" if "val" in splits else "train"}
    data = {key: f"images/{place}" for key, place in places.items()} | {
        "names": {number: name for name, number in classes.items()}
    }
    (folder / "data.yaml").write_text(yaml.safe_dump(data, sort_keys=False))


def coordinates(mask: Rle) -> str:
    """The path of a mask through the middles of its outermost pixels, as shares of the picture's sides."""
    middles = (outline(rle.decode(mask)) + 0.5) / (mask.width, mask.height)
    return " ".join(f"{value:.6f}" for value in middles.flatten())


def outline(mask: npt.NDArray[np.bool_]) -> Path2d:
    """One closed path around all parts and holes of a mask (H, W) that is not empty."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    largest, *others = sorted((contour[:, 0].astype(np.int64) for contour in contours), key=len, reverse=True)
    path: Path2d = largest
    for other in others:
        path = _joined(path, other)
    return path


def _joined(path: Path2d, other: Path2d) -> Path2d:
    """Goes to the other path where the two are nearest, around it, and back."""
    distances, nearest = cKDTree(path).query(other)
    there = int(distances.argmin())
    here = int(nearest[there])
    around = np.roll(other, -there, axis=0)
    return np.concatenate([path[: here + 1], around, around[:1], path[here:]])
