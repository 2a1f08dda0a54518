"""CVAT's own form, "CVAT for images 1.1": an XML file with an element for each picture."""

import math
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from engine import rle as rle_codec
from engine.labels.importers import Imported
from engine.labels.outlines import ellipse
from engine.labels.repairs import whole
from schemas.errors import InputError


class CvatImporter:
    """Reads polygons, masks and ellipses; polygons of one group and label are parts of one object.

    Boxes, lines, points and cuboids are no masks.
    """

    def recognises(self, content: Any) -> bool:
        """Whether the root is `annotations` with pictures or tracks."""
        return (
            isinstance(content, Element)
            and content.tag == "annotations"
            and any(content.find(kind) is not None for kind in ("image", "track", "meta"))
        )

    def read(self, content: Any, path: Path) -> Imported:
        """Raises InputError for the form for videos, whose frames are no pictures of a folder."""
        if content.find("track") is not None:
            raise InputError(f'{path}: tracks of a video; export it from CVAT as "CVAT for images" or as COCO')
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, picture in enumerate(content.iter("image")):
            size = [whole(picture.get(side)) for side in ("height", "width")]
            name = picture.get("name", "")
            images.append({"id": number, "file_name": name, "height": size[0], "width": size[1]})
            for record in _objects(picture, size):
                annotations.append({"id": f"{len(annotations) + 1} ({name})", "image_id": number, **record})
        return Imported({"images": images, "annotations": annotations})


def _objects(picture: Element, size: list[Any]) -> list[dict[str, Any]]:
    """One record for each object, in the order of the file."""
    objects: dict[Any, dict[str, Any]] = {}
    for number, shape in enumerate(each for each in picture if each.tag != "tag"):
        label, group = shape.get("label", ""), shape.get("group_id", "0")
        found = _segmentation(shape, size)
        grouped = group not in ("", "0") and isinstance(found, list)
        known = objects.setdefault((group, label) if grouped else number, {"label": label})
        if shape.tag == "box":
            known["bbox"] = _box(shape)
        known["segmentation"] = [*known.get("segmentation", []), *found] if isinstance(found, list) else found
    return list(objects.values())


def _box(shape: Element) -> list[float] | None:
    """XYWH; None where a side is missing."""
    try:
        x0, y0, x1, y1 = (float(shape.attrib[name]) for name in ("xtl", "ytl", "xbr", "ybr"))
    except (KeyError, ValueError):
        return None
    return [x0, y0, x1 - x0, y1 - y0]


def _segmentation(shape: Element, size: list[Any]) -> Any:
    """Polygons or an RLE; None for a shape that is no mask, or does not hold what its kind needs."""
    try:
        if shape.tag == "polygon":
            pairs = [pair.split(",") for pair in shape.attrib["points"].split(";")]
            return [[float(number) for pair in pairs for number in pair]]
        if shape.tag == "ellipse":
            centre_and_radii = (float(shape.attrib[name]) for name in ("cx", "cy", "rx", "ry"))
            return [ellipse(*centre_and_radii, turn_rad=math.radians(float(shape.get("rotation", 0))))]
        if shape.tag == "mask":
            return _mask(shape, size)
    except (KeyError, ValueError, TypeError, InputError):
        return None
    return None


def _mask(shape: Element, size: list[Any]) -> dict[str, Any]:
    """Its runs go row by row within its box, background first."""
    left, top, width, height = (int(float(shape.attrib[name])) for name in ("left", "top", "width", "height"))
    runs = np.array([int(run) for run in shape.attrib["rle"].split(",")])
    if (runs < 0).any() or runs.sum() != width * height:
        raise ValueError("runs that do not fill their box")
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    return rle_codec.encode_at(pixels, x0=left, y0=top, height=size[0], width=size[1]).to_coco()


IMPORTER = CvatImporter()
