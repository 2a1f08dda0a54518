"""The form of the VGG Image Annotator (VIA 2): an object of pictures, each with its regions."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from engine.labels.importers import Imported

_CORNERS = 72


class ViaImporter:
    """Reads polygons, circles and ellipses, of an export or of a whole project. Rectangles and points are no masks."""

    def recognises(self, content: Any) -> bool:
        """Whether all values are pictures with regions."""
        pictures = _pictures(content)
        return bool(pictures) and all(
            isinstance(picture, dict) and "filename" in picture and isinstance(picture.get("regions"), list | dict)
            for picture in pictures
        )

    def read(self, content: Any, path: Path) -> Imported:
        """The label is the first text among a region's attributes."""
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, picture in enumerate(_pictures(content)):
            images.append({"id": number, "file_name": picture["filename"]})
            regions: Iterable[Any] = picture["regions"]
            for region in regions.values() if isinstance(regions, dict) else regions:
                record = region if isinstance(region, dict) else {}
                annotations.append(
                    {"id": len(annotations), "image_id": number, "label": _label(record.get("region_attributes"))}
                    | {"segmentation": _segmentation(record.get("shape_attributes"))}
                )
        return Imported({"images": images, "annotations": annotations})


def _pictures(content: Any) -> list[Any]:
    if not isinstance(content, dict):
        return []
    pictures = content.get("_via_img_metadata", content)
    return list(pictures.values()) if isinstance(pictures, dict) else []


def _label(attributes: Any) -> str:
    values = attributes.values() if isinstance(attributes, dict) else ()
    return next((value for value in values if isinstance(value, str) and value), "")


def _segmentation(shape: Any) -> Any:
    """One polygon; None for a shape that is no mask."""
    if not isinstance(shape, dict):
        return None
    try:
        if shape.get("name") in ("polygon", "polyline"):
            pairs = zip(shape["all_points_x"], shape["all_points_y"], strict=True)
            return [[float(number) for pair in pairs for number in pair]] if shape["name"] == "polygon" else None
        if shape.get("name") in ("circle", "ellipse"):
            return [_ellipse(shape)]
    except (KeyError, TypeError, ValueError):  # a shape that does not hold what its name needs
        return None
    return None


def _ellipse(shape: dict[str, Any]) -> list[float]:
    radii = (shape["r"], shape["r"]) if shape["name"] == "circle" else (shape["rx"], shape["ry"])
    turn = float(shape.get("theta", 0.0))
    angles = np.arange(_CORNERS) * (2 * math.pi / _CORNERS)
    along, across = float(radii[0]) * np.cos(angles), float(radii[1]) * np.sin(angles)
    x = float(shape["cx"]) + along * math.cos(turn) - across * math.sin(turn)
    y = float(shape["cy"]) + along * math.sin(turn) + across * math.cos(turn)
    corners: list[float] = np.stack([x, y], axis=1).ravel().tolist()
    return corners


IMPORTER = ViaImporter()
