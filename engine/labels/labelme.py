"""labelme's form: one JSON file for each picture, with `shapes` and `imagePath`."""

import base64
import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from engine import rle as rle_codec
from engine.labels.importers import Imported
from engine.labels.mask_pictures import read_samples
from schemas.errors import InputError

_CIRCLE_CORNERS = 72


class LabelmeImporter:
    """Reads polygons, circles and masks; shapes of one `group_id` and label are parts of one object.

    Rectangles, points and lines are no masks.
    """

    def recognises(self, content: Any) -> bool:
        """Whether there is a list of shapes and the name of a picture."""
        return isinstance(content, dict) and isinstance(content.get("shapes"), list) and "imagePath" in content

    def read(self, content: Any, path: Path) -> Imported:
        """One annotation for each object, named by the place of its first shape."""
        size = (content.get("imageHeight"), content.get("imageWidth"))
        name = content["imagePath"] or f"{path.stem}.png"
        image = {"id": 0, "file_name": name, "height": size[0], "width": size[1]}
        objects: dict[Any, dict[str, Any]] = {}
        for number, shape in enumerate(content["shapes"]):
            record = shape if isinstance(shape, dict) else {}
            parts = _parts(record, size)
            whose: Any = (repr(record.get("group_id")), str(record.get("label")))
            if record.get("group_id") is None or not isinstance(parts, list):
                whose = number
            box = _box(record)
            known = objects.setdefault(whose, {"id": number, "image_id": 0, "label": str(record.get("label", ""))})
            if box is not None:
                known["bbox"] = box
            known["segmentation"] = known.get("segmentation", []) + parts if isinstance(parts, list) else parts
        data = content.get("imageData")
        embedded = {name: data} if isinstance(name, str) and isinstance(data, str) and data else {}
        return Imported({"images": [image], "annotations": list(objects.values())}, embedded=embedded)


def _box(shape: dict[str, Any]) -> list[float] | None:
    """XYWH of a rectangle; None for another shape."""
    if shape.get("shape_type") != "rectangle":
        return None
    try:
        (x0, y0), (x1, y1) = ((float(x), float(y)) for x, y in shape["points"])
    except (KeyError, TypeError, ValueError):  # it does not hold two corners
        return None
    return [min(x0, x1), min(y0, y1), abs(x1 - x0), abs(y1 - y0)]


def _parts(shape: dict[str, Any], size: tuple[Any, Any]) -> Any:
    """A COCO segmentation: a list of polygons, or an RLE; None for a shape that is no mask."""
    points: list[Any] = shape.get("points") or []
    kind = shape.get("shape_type", "polygon")
    try:
        if kind == "polygon":
            return [[float(number) for point in points for number in point]]
        if kind == "circle":
            (x, y), (edge_x, edge_y) = points
            radius = math.hypot(edge_x - x, edge_y - y)
            angles = np.arange(_CIRCLE_CORNERS) * (2 * math.pi / _CIRCLE_CORNERS)
            return [np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1).ravel().tolist()]
        if kind == "mask":
            return _mask(shape, size)
    except (KeyError, IndexError, TypeError, ValueError, InputError):  # a shape that does not hold what its type needs
        return None
    return None


def _mask(shape: dict[str, Any], size: tuple[Any, Any]) -> dict[str, Any] | None:
    samples = read_samples(io.BytesIO(base64.b64decode(shape["mask"])), "L")
    left, top = (round(number) for number in shape["points"][0])
    if samples is None:
        return None
    return rle_codec.encode_at(samples > 0, x0=left, y0=top, height=int(size[0]), width=int(size[1])).to_coco()


IMPORTER = LabelmeImporter()
