"""A release as YOLO segmentation data, for ultralytics and others: `images/`, `labels/`, and `data.yaml`.

A line of a label file is a class and one polygon, x and y as shares of the picture's sides. Parts and holes of a mask
are joined to one path by bridges of no width, as ultralytics' own converter from COCO joins parts: filled by
the even-odd rule and with its outline, a bridge over background is a line one pixel wide, and all else the mask.
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
_NO_LABEL = "object"
# Within its pixel: ultralytics cuts numbers to whole pixels, supervision rounds them, and both are to give the pixel.
_INSIDE_PX = 0.25
_FEWEST = 3  # corners of a path: a line of fewer numbers is read as a box


def export_yolo(release: Release, folder: Path) -> None:
    """Masks have the class of their label, those without one are of class "object". Pictures held out become `val`."""
    classes: dict[str, int] = {}
    splits: set[str] = set()
    for picture in release:
        split = "val" if picture.row["split"] == "holdout" else "train"
        splits.add(split)
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
        lines = [
            f"{classes.setdefault(mask.label or _NO_LABEL, len(classes))} {coordinates(mask.rle)}\n"
            for mask in picture.masks()
        ]
        (folder / "images" / split / f"{picture.name}.jpg").write_bytes(picture.jpeg)
        (folder / "labels" / split / f"{picture.name}.txt").write_text("".join(lines))
    # Ultralytics wants both; a release without held-out pictures is looked at with those it is learned from.
    places = {"train": "train" if "train" in splits else "val", "val": "val" if "val" in splits else "train"}
    data = {key: f"images/{place}" for key, place in places.items()} | {
        "names": {number: name for name, number in classes.items()}
    }
    (folder / "data.yaml").write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")


def coordinates(mask: Rle) -> str:
    """The path of a mask that is not empty through its outermost pixels, as shares of the picture's sides."""
    path = outline(rle.decode(mask))
    path = np.concatenate([path, path[-1:].repeat(max(0, _FEWEST - len(path)), axis=0)])
    return " ".join(f"{value:.6f}" for value in ((path + _INSIDE_PX) / (mask.width, mask.height)).flatten())


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
