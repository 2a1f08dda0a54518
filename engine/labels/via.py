"""The form of the VGG Image Annotator (VIA 2): an object of pictures, each with its regions; or a table of regions."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from engine.labels.importers import Imported
from engine.labels.outlines import ellipse


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
        """The label is the first text among a region's attributes, or the first that is ticked."""
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
                    | {"bbox": _box(record.get("shape_attributes"))}
                )
        return Imported({"images": images, "annotations": annotations})


def _pictures(content: Any) -> list[Any]:
    if not isinstance(content, dict):
        return []
    pictures = content.get("_via_img_metadata", content)
    return list(pictures.values()) if isinstance(pictures, dict) else []


def _label(attributes: Any) -> str:
    values = list(attributes.values()) if isinstance(attributes, dict) else []
    values += [name for value in values if isinstance(value, dict) for name, chosen in value.items() if chosen is True]
    return next((value for value in values if isinstance(value, str) and value), "")


def _box(shape: Any) -> list[float] | None:
    """XYWH of a rectangle; None for another shape."""
    try:
        return [float(shape[side]) for side in ("x", "y", "width", "height")] if shape["name"] == "rect" else None
    except (KeyError, TypeError, ValueError):
        return None


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
    return ellipse(float(shape["cx"]), float(shape["cy"]), float(radii[0]), float(radii[1]), turn_rad=turn)


class ViaTableImporter:
    """Reads the same from a .csv with a line for each region, whose attributes are JSON."""

    def recognises(self, content: Any) -> bool:
        """Whether the lines have VIA's columns."""
        first = content[0] if isinstance(content, list) and content else None
        return isinstance(first, dict) and "region_shape_attributes" in first and _file_column(first) is not None

    def read(self, content: Any, path: Path) -> Imported:
        """A line without a region names a picture without masks."""
        column = _file_column(content[0]) or ""
        pictures: dict[str, Any] = {}
        for line in content:
            name = line.get(column) or ""
            regions = pictures.setdefault(name, {"filename": name, "regions": []})["regions"]
            shape = _object(line.get("region_shape_attributes"))
            if shape != {}:
                regions.append({"shape_attributes": shape, "region_attributes": _object(line.get("region_attributes"))})
        return IMPORTER.read(pictures, path)


def _file_column(line: dict[str, Any]) -> str | None:
    return next((name for name in ("filename", "#filename") if name in line), None)


def _object(text: Any) -> Any:
    """What a JSON text holds; None where it is none."""
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return None


IMPORTER = ViaImporter()
TABLE_IMPORTER = ViaTableImporter()
