"""Pascal VOC's form: an XML file for each picture, and a PNG with the number of the object at each pixel.

Other tools write polygons into the same form: RectLabel and Roboflow as x1, y1, x2, y2, ..., the first LabelMe as `pt`,
and a PNG for each object in `Masks`.
"""

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
import numpy.typing as npt

from engine import rle as rle_codec
from engine.labels.importers import Imported
from engine.labels.mask_pictures import inside, read_indices, read_samples
from engine.labels.outlines import filled
from engine.labels.repairs import whole

_VOID = 255  # the border between objects
_OBJECTS, _CLASSES = "SegmentationObject", "SegmentationClass"


class VocImporter:
    """Reads the objects of SegmentationObject/NAME.png beside the folder of the XML file, and polygons in the file.

    Boxes are no masks, and SegmentationClass alone does not tell one object from another.
    """

    def recognises(self, content: Any) -> bool:
        """Whether the root is `annotation` with the name of a picture."""
        return isinstance(content, Element) and content.tag == "annotation" and content.find("filename") is not None

    def read(self, content: Any, path: Path) -> Imported:
        """One annotation for each object; without a mask where only its box is known."""
        height = _number(content, "size/height", "imagesize/nrows")
        width = _number(content, "size/width", "imagesize/ncols")
        image = {
            "id": 0,
            "file_name": (content.findtext("filename") or "").strip(),
            "height": height,
            "width": width,
        }
        size, of_pixels = (height, width), _is_of_supervision(content)
        pngs = {kind: _beside(path, kind, f"{path.stem}.png") for kind in (_OBJECTS, _CLASSES)}
        png = pngs[_OBJECTS]
        own = {
            number: _beside(path, "Masks", name.strip())
            for number, each in enumerate(content.iter("object"), start=1)
            if (name := each.findtext("segm/mask"))
        }
        numbers = read_indices(png) if png else None
        annotations = [
            {"id": number, "image_id": 0, "label": (each.findtext("name") or "").strip()}
            | _mask_and_box(each, number, numbers, own.get(number), size if of_pixels else None)
            for number, each in enumerate(content.iter("object"), start=1)
            if (each.findtext("deleted") or "").strip() != "1"
        ]
        annotations += _unnamed(numbers, len(annotations))
        mask_files = frozenset(png for png in (*pngs.values(), *own.values()) if png)
        return Imported({"images": [image], "annotations": annotations}, mask_files)


def _beside(path: Path, kind: str, name: str) -> Path | None:
    """The file of that name in a folder `kind` beside the `Annotations` that the XML file is in, in the same subset."""
    for folder in path.parents:
        if folder.name.lower() == "annotations":
            return inside(folder.parent / kind / path.parent.relative_to(folder), name)
    return None


def _number(content: Element, *names: str) -> Any:
    """The first of these elements that says something, as a whole number."""
    texts = ((content.findtext(name) or "").strip() for name in names)
    return whole(next((text for text in texts if text), None))


def _is_of_supervision(content: Element) -> bool:
    """Whether supervision wrote it: corners are pixels of the mask's contour, counted from 1, in polygons and boxes."""
    if (content.findtext("source/database"), content.findtext("folder")) != ("roboflow.ai", "VOC"):
        return False
    with_polygons = [each for each in content.iter("object") if each.find("polygon") is not None]
    return bool(with_polygons) and all(map(_has_pixels, with_polygons))


def _has_pixels(each: Element) -> bool:
    """Whether its box goes from the first to the last pixel of its polygon."""
    corners = [number for polygon in each.iter("polygon") for number in _corners(polygon)]
    if not corners:
        return False
    xs, ys = corners[0::2], corners[1::2]
    box = [whole(each.findtext(f"bndbox/{name}")) for name in ("xmin", "ymin", "xmax", "ymax")]
    return box == [round(value) for value in (min(xs), min(ys), max(xs), max(ys))]


def _mask_and_box(
    each: Element,
    number: int,
    numbers: npt.NDArray[np.int64] | None,
    own: Path | None,
    size_of_pixels: tuple[Any, Any] | None,
) -> dict[str, Any]:
    """size_of_pixels: height and width where corners are pixels, counted from 1."""
    found = _segmentation(each, number, numbers, own)
    if isinstance(found, list) and size_of_pixels and all(isinstance(side, int) for side in size_of_pixels):
        rings = [[number - 1 for number in ring] for ring in found]
        found = filled(rings, height=size_of_pixels[0], width=size_of_pixels[1])
    return {"segmentation": found, "bbox": _box(each)}


def _box(each: Element) -> list[float] | None:
    """XYWH of its box, whose pixels are counted from 1 to the last; None where it has none."""
    try:
        x0, y0, x1, y1 = (float(each.findtext(f"bndbox/{name}") or "") for name in ("xmin", "ymin", "xmax", "ymax"))
    except ValueError:
        return None
    return [x0 - 1, y0 - 1, x1 - x0 + 1, y1 - y0 + 1]


def _segmentation(each: Element, number: int, numbers: npt.NDArray[np.int64] | None, own: Path | None) -> Any:
    if own is not None:
        samples = read_samples(own, "L")
        return None if samples is None else rle_codec.encode(samples > 0).to_coco()
    if numbers is not None:
        found = numbers == number
        return rle_codec.encode(found).to_coco() if found.any() else None
    polygons = [corners for polygon in each.iter("polygon") if (corners := _corners(polygon))]
    return polygons or None


def _unnamed(numbers: npt.NDArray[np.int64] | None, named: int) -> list[dict[str, Any]]:
    """Objects of the PNG that the file does not list."""
    if numbers is None:
        return []
    further = [int(number) for number in np.unique(numbers) if named < number != _VOID]
    return [
        {"id": number, "image_id": 0, "segmentation": rle_codec.encode(numbers == number).to_coco()}
        for number in further
    ]


def _corners(polygon: Element) -> list[float]:
    """x, y, x, y, ...; nothing where it has none."""
    try:
        if points := polygon.findall("pt"):
            return [float(point.findtext(axis) or "") for point in points for axis in ("x", "y")]
        count = sum(child.tag[:1] == "x" and child.tag[1:].isdigit() for child in polygon)
        return [float(polygon.findtext(f"{axis}{n}") or "") for n in range(1, count + 1) for axis in ("x", "y")]
    except ValueError:  # a corner that is no number, or half of one
        return []


IMPORTER = VocImporter()
