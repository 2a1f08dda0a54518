"""The project file of the VGG Image Annotator 3: files, views of them, and what was drawn on each view."""

import math
from pathlib import Path
from typing import Any

from engine.labels.embedded import is_data_url
from engine.labels.importers import Imported
from engine.labels.outlines import circle, ellipse
from schemas.errors import InputError

# Kinds of shapes; 1 is a point, 5 a line, 6 a polyline.
_RECTANGLE, _CIRCLE, _ELLIPSE, _POLYGON, _EXTREME_RECTANGLE, _EXTREME_CIRCLE = 2, 3, 4, 7, 8, 9
_IMAGE = 2  # type of a file; 4 is a video, 8 a sound


class Via3Importer:
    """Reads polygons, circles and ellipses. Rectangles, points and lines are no masks."""

    def recognises(self, content: Any) -> bool:
        """Whether it is a project with files, views and what lies on them."""
        return isinstance(content, dict) and all(
            isinstance(content.get(key), dict) for key in ("project", "file", "view", "metadata")
        )

    def read(self, content: Any, path: Path) -> Imported:
        """The picture of a view is its first file; the label is the first attribute that is chosen or written.

        Raises InputError where no file is a picture.
        """
        files = {str(key): each for key, each in content["file"].items() if isinstance(each, dict)}
        if files and not any(each.get("type", _IMAGE) == _IMAGE for each in files.values()):
            raise InputError(f"{path}: labels of videos or sounds; export the frames as pictures")
        images: list[dict[str, Any]] = []
        embedded: dict[str, str] = {}
        for key, view in content["view"].items():
            shown = view.get("fid_list") if isinstance(view, dict) else None
            file = files.get(str(shown[0])) if isinstance(shown, list) and shown else None
            if file is None:
                continue
            name, source = str(file.get("fname") or ""), str(file.get("src") or "")
            if is_data_url(source):
                name = name or f"{path.stem}-{key}.png"
                embedded[name], source = source, name
            images.append({"id": f"view {key}", "file_name": source or name})
        options = _options(content.get("attribute"))
        annotations = [
            {
                "id": str(key),
                "image_id": f"view {each.get('vid')}",
                "label": _label(each.get("av"), options),
                **_drawn(each["xy"]),
            }
            for key, each in content["metadata"].items()
            if isinstance(each, dict) and each.get("xy")
        ]
        return Imported({"images": images, "annotations": annotations}, embedded=embedded)


def _options(attributes: Any) -> dict[str, dict[str, Any]]:
    """What each attribute's choices are called, by the attribute's id."""
    found = attributes if isinstance(attributes, dict) else {}
    return {
        str(key): each["options"]
        for key, each in found.items()
        if isinstance(each, dict) and isinstance(each.get("options"), dict)
    }


def _label(values: Any, options: dict[str, dict[str, Any]]) -> str:
    for key, value in values.items() if isinstance(values, dict) else ():
        if isinstance(value, str) and value:
            return str(options.get(str(key), {}).get(value, value))
    return ""


def _drawn(xy: Any) -> dict[str, Any]:
    """`segmentation`, None for a shape that is no mask; `bbox` of a rectangle."""
    try:
        kind, *numbers = (float(number) for number in xy)
        if kind == _POLYGON:
            return {"segmentation": [numbers]}
        if kind == _CIRCLE:
            cx, cy, radius = numbers
            return {"segmentation": [circle(cx, cy, radius)]}
        if kind == _ELLIPSE:
            cx, cy, rx, ry = numbers
            return {"segmentation": [ellipse(cx, cy, rx, ry)]}
        if kind == _EXTREME_CIRCLE:
            return {"segmentation": [circle(*_through(*numbers))]}
        if kind in (_RECTANGLE, _EXTREME_RECTANGLE):
            return {"segmentation": None, "bbox": _box(kind, numbers)}
    except (TypeError, ValueError, ZeroDivisionError):  # a shape that does not hold what its kind needs
        pass
    return {"segmentation": None}


def _box(kind: float, numbers: list[float]) -> list[float]:
    """XYWH, as a rectangle has it; of four points on its sides the box around them."""
    if kind == _RECTANGLE:
        return numbers
    xs, ys = numbers[0::2], numbers[1::2]
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _through(x1: float, y1: float, x2: float, y2: float, x3: float, y3: float) -> tuple[float, float, float]:
    """Centre and radius of the circle through three points. Raises ZeroDivisionError where they lie in a line."""
    first, second = complex(x2 - x1, y2 - y1), complex(x3 - x1, y3 - y1)
    cross = 2 * (first.conjugate() * second).imag
    centre = -1j * (abs(first) ** 2 * second - abs(second) ** 2 * first) / cross
    return x1 + centre.real, y1 + centre.imag, math.hypot(centre.real, centre.imag)


IMPORTER = Via3Importer()
