"""V7's form (Darwin json 2.0): one file for each picture, with `item` and `annotations`."""

from pathlib import Path
from typing import Any

import numpy as np

from engine import rle as rle_codec
from engine.labels.importers import Imported
from engine.labels.outlines import ellipse, even_odd
from schemas.errors import InputError


class DarwinImporter:
    """Reads polygons, with their holes, ellipses, and masks of a raster layer. Boxes, lines and keypoints are none."""

    def recognises(self, content: Any) -> bool:
        """Whether it has a named item and annotations."""
        return (
            isinstance(content, dict)
            and isinstance(content.get("annotations"), list)
            and isinstance(content.get("item"), dict)
            and isinstance(content["item"].get("name"), str)
        )

    def read(self, content: Any, path: Path) -> Imported:
        """Raises InputError for videos."""
        item = content["item"]
        listed = item.get("slots")
        slots = [slot for slot in listed if isinstance(slot, dict)] if isinstance(listed, list) else []
        if len(slots) > 1 or any(slot.get("type", "image") != "image" for slot in slots):
            raise InputError(f"{path}: a video or several pictures in one item, which are not read")
        size = [slots[0].get(side) if slots else None for side in ("height", "width")]
        image = {"id": 0, "file_name": item["name"], "height": size[0], "width": size[1]}
        found = [each for each in content["annotations"] if isinstance(each, dict)]
        layers = [each["raster_layer"] for each in found if isinstance(each.get("raster_layer"), dict)]
        drawn = {key: mask for layer in layers for key, mask in _of_layer(layer, size).items()}
        records = [
            {"id": number, "image_id": 0, "label": str(each.get("name", "")), "bbox": _box(each)}
            | {"segmentation": drawn.get(each.get("id")) if "mask" in each else _segmentation(each, size)}
            for number, each in enumerate(found, start=1)
            if not isinstance(each.get("raster_layer"), dict)
        ]
        return Imported({"images": [image], "annotations": records})


def _of_layer(layer: dict[str, Any], size: list[Any]) -> dict[Any, Any]:
    """RLE of each annotation in a raster layer: pairs of a value and how often it comes, row by row."""
    try:
        values, runs = np.array(layer["dense_rle"]).reshape(-1, 2).T
        pixels = np.repeat(values, runs).reshape(int(size[0]), int(size[1]))
        numbers = {key: int(number) for key, number in layer["mask_annotation_ids_mapping"].items()}
    except (KeyError, AttributeError, TypeError, ValueError):  # it does not hold what a layer needs
        return {}
    return {key: rle_codec.encode(pixels == number).to_coco() for key, number in numbers.items()}


def _box(each: dict[str, Any]) -> list[float] | None:
    """XYWH; None where it has none."""
    try:
        return [float(each["bounding_box"][side]) for side in ("x", "y", "w", "h")]
    except (KeyError, TypeError, ValueError):
        return None


def _segmentation(each: dict[str, Any], size: list[Any]) -> Any:
    try:
        if isinstance(each.get("polygon"), dict):
            rings = [[float(c[axis]) for c in ring for axis in ("x", "y")] for ring in each["polygon"]["paths"]]
            whole_size = all(isinstance(side, int) for side in size)
            return even_odd(rings, height=size[0], width=size[1]) if len(rings) > 1 and whole_size else rings
        if isinstance(each.get("ellipse"), dict):
            shape = each["ellipse"]
            centre, radius = shape["center"], shape["radius"]
            corners = ellipse(centre["x"], centre["y"], radius["x"], radius["y"], turn_rad=float(shape.get("angle", 0)))
            return [corners]
    except (KeyError, TypeError, ValueError, InputError):  # a shape that does not hold what its kind needs
        return None
    return None


IMPORTER = DarwinImporter()
