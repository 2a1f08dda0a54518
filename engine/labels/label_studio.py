"""Label Studio's own JSON: a list of tasks with what annotators drew, brush strokes and outlines."""

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from engine.images import SUFFIXES
from engine.labeling.brush import brush_to_rle
from engine.labels.importers import Imported
from engine.labels.repairs import whole
from schemas.errors import InputError

_CORNERS = 72
_NO_DRAWING = frozenset({"choices", "rating", "textarea", "relation", "taxonomy", "labels"})


class LabelStudioImporter:
    """Brush strokes, polygons and ellipses of annotations not cancelled. Boxes and points are no masks."""

    def recognises(self, content: Any) -> bool:
        """Whether these are tasks with annotations, each with a result."""
        return isinstance(content, list) and bool(content) and all(map(_is_task, content))

    def read(self, content: Any, path: Path) -> Imported:
        """The picture is the first text of a task's data that names a file."""
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, task in enumerate(content):
            image: dict[str, Any] = {"id": number, "file_name": _picture(task["data"])}
            images.append(image)
            for result, annotator in _results(task):
                found = result.get("value")
                value: dict[str, Any] = found if isinstance(found, dict) else {}
                height, width = whole(result.get("original_height")), whole(result.get("original_width"))
                if isinstance(height, int) and isinstance(width, int):
                    image |= {"height": height, "width": width}
                annotations.append(
                    {"id": str(result.get("id", len(annotations))), "image_id": number, "annotator": annotator}
                    | {"label": _label(value), "segmentation": _segmentation(value, height, width)}
                    | {"bbox": _box(value, height, width)}
                )
        return Imported({"images": images, "annotations": annotations})


def _is_task(task: Any) -> bool:
    return isinstance(task, dict) and isinstance(task.get("data"), dict) and isinstance(_annotations(task), list)


def _annotations(task: dict[str, Any]) -> Any:
    return task.get("annotations", task.get("completions"))


def _results(task: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    for annotation in _annotations(task):
        if not isinstance(annotation, dict) or annotation.get("was_cancelled"):
            continue
        who = annotation.get("completed_by", "")
        annotator = str(who.get("email", who.get("id", "")) if isinstance(who, dict) else who)
        results = annotation.get("result")
        for result in results if isinstance(results, list) else []:
            if isinstance(result, dict) and str(result.get("type")) not in _NO_DRAWING:
                yield result, annotator


def _picture(data: dict[str, Any]) -> str | None:
    named = [
        value
        for value in (data.get("image"), data.get("img"), *data.values())
        if isinstance(value, str) and value and not value.startswith("[")
    ]
    of_pictures = [value for value in named if PurePosixPath(value.partition("?")[0]).suffix.lower() in SUFFIXES]
    return next(iter([*of_pictures, *named]), None)


def _label(value: dict[str, Any]) -> str:
    lists = (labels for key, labels in value.items() if key.endswith("labels") and isinstance(labels, list))
    return next((str(labels[0]) for labels in lists if labels), "")


def _box(value: dict[str, Any], height: Any, width: Any) -> list[float] | None:
    """XYWH in pixels of a rectangle that is not turned; None for another shape."""
    if "rle" in value or value.get("rotation"):
        return None
    try:
        sides = zip(("x", "y", "width", "height"), (width, height, width, height), strict=True)
        return [float(value[name]) * side / 100 for name, side in sides]
    except (KeyError, TypeError, ValueError):
        return None


def _segmentation(value: dict[str, Any], height: Any, width: Any) -> Any:
    """An RLE or polygons; None for a shape that is no mask."""
    try:
        if "rle" in value:
            return brush_to_rle(value["rle"], height=height, width=width).to_coco()
        if "points" in value:
            return [
                [
                    share * side / 100
                    for point in value["points"]
                    for share, side in zip(point, (width, height), strict=True)
                ]
            ]
        if "radiusX" in value:
            return [_ellipse(value, height, width)]
    except (InputError, KeyError, TypeError, ValueError, IndexError):  # a shape that does not hold what its kind needs
        return None
    return None


def _ellipse(value: dict[str, Any], height: int, width: int) -> list[float]:
    turn, angles = math.radians(value.get("rotation", 0)), np.arange(_CORNERS) * (2 * math.pi / _CORNERS)
    along = value["radiusX"] * width / 100 * np.cos(angles)
    across = value["radiusY"] * height / 100 * np.sin(angles)
    x = value["x"] * width / 100 + along * math.cos(turn) - across * math.sin(turn)
    y = value["y"] * height / 100 + along * math.sin(turn) + across * math.cos(turn)
    corners: list[float] = np.stack([x, y], axis=1).ravel().tolist()
    return corners


IMPORTER = LabelStudioImporter()
