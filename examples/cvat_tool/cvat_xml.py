"""CVAT's file format "CVAT for images 1.1": pictures with their masks, read and written.

A `<mask>` holds run lengths, background first and row by row, of the box `left top width height`; a `<polygon>` points
"x,y;x,y". Other shapes have no area of their own that annotators drew and are told as problems.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from xml.etree import ElementTree as Xml

import numpy as np
import numpy.typing as npt

from engine import rle as rle_codec
from schemas.errors import InputError
from schemas.rle import Rle

VERSION = "1.1"
_NO_AREA = ("box", "polyline", "points", "cuboid", "skeleton", "ellipse")


@dataclass(frozen=True)
class CvatShape:
    """A mask of a picture. attributes: of the label, by name. source: "manual", "auto" or what else the file says."""

    label: str
    rle: Rle
    attributes: dict[str, str] = field(default_factory=dict)
    source: str = "manual"


@dataclass(frozen=True)
class CvatImage:
    """name: of the picture's file. problems: one line for each shape that could not be read."""

    name: str
    height: int
    width: int
    shapes: tuple[CvatShape, ...] = ()
    problems: tuple[str, ...] = ()


def read_annotations(data: bytes, *, name: str) -> list[CvatImage]:
    """The pictures of a file; name: its own, for messages. Raises InputError where it is no such file."""
    if b"<!DOCTYPE" in data:
        raise InputError(f"{name}: has a document type, which files of CVAT have not")
    try:
        root = Xml.fromstring(data)
    except Xml.ParseError as error:
        raise InputError(f"{name}: not XML: {error}") from error
    version = root.findtext("version")
    if root.tag != "annotations" or version != VERSION:
        raise InputError(f'{name}: expected "CVAT for images {VERSION}", found <{root.tag}> of version {version}')
    return [_read_image(image, f"{name}: image {image.get('name')}") for image in root.iter("image")]


def write_annotations(images: Iterable[CvatImage], *, labels: Iterable[str], attribute: str) -> bytes:
    """A file to upload to a task. labels: of the task. attribute: a text that every label has beside."""
    root = Xml.Element("annotations")
    Xml.SubElement(root, "version").text = VERSION
    listed = Xml.SubElement(Xml.SubElement(Xml.SubElement(root, "meta"), "task"), "labels")
    for label in labels:
        described = Xml.SubElement(listed, "label")
        Xml.SubElement(described, "name").text = label
        own = Xml.SubElement(Xml.SubElement(described, "attributes"), "attribute")
        for key, value in (("name", attribute), ("mutable", "False"), ("input_type", "text"), ("default_value", "")):
            Xml.SubElement(own, key).text = value
    for number, image in enumerate(images):
        size = {"width": str(image.width), "height": str(image.height)}
        element = Xml.SubElement(root, "image", {"id": str(number), "name": image.name, **size})
        for shape in image.shapes:
            _write_mask(element, shape)
    Xml.indent(root)
    data: bytes = Xml.tostring(root, encoding="utf-8", xml_declaration=True)
    return data


def _read_image(element: Xml.Element, where: str) -> CvatImage:
    try:
        height, width = int(element.attrib["height"]), int(element.attrib["width"])
        name = element.attrib["name"]
    except (KeyError, ValueError) as error:
        raise InputError(f"{where}: has no name, or no width and height in pixels") from error
    shapes, problems = [], []
    for number, shape in enumerate(element, start=1):
        try:
            if shape.tag in _NO_AREA:
                raise InputError(f"a {shape.tag} has no mask; draw it with the brush or as a polygon")
            if shape.tag in ("mask", "polygon"):
                shapes.append(_read_shape(shape, height, width))
        except (KeyError, ValueError) as error:
            problems.append(f"{where}: shape {number}: {error}")
    return CvatImage(name, height, width, tuple(shapes), tuple(problems))


def _read_shape(shape: Xml.Element, height: int, width: int) -> CvatShape:
    read = _read_mask if shape.tag == "mask" else _read_polygon
    attributes = {each.get("name", ""): each.text or "" for each in shape.iter("attribute")}
    return CvatShape(shape.attrib["label"], read(shape, height, width), attributes, shape.get("source", "manual"))


def _read_mask(shape: Xml.Element, height: int, width: int) -> Rle:
    runs = np.array([int(run) for run in shape.attrib["rle"].split(",")], dtype=np.int64)
    left, top, w, h = (int(float(shape.attrib[key])) for key in ("left", "top", "width", "height"))
    if (runs < 0).any() or runs.sum() > h * w:
        raise InputError(f"its runs are {runs.sum()} pixels long, its box has {h * w}")
    inside = np.zeros(h * w, dtype=bool)
    values = np.arange(len(runs)) % 2 == 1
    inside[: runs.sum()] = np.repeat(values, runs)
    # the part of the box that lies in the picture: CVAT lets brushes go over its edge
    rows, columns = slice(max(0, -top), max(0, height - top)), slice(max(0, -left), max(0, width - left))
    return rle_codec.encode_at(
        inside.reshape(h, w)[rows, columns], x0=max(0, left), y0=max(0, top), height=height, width=width
    )


def _read_polygon(shape: Xml.Element, height: int, width: int) -> Rle:
    path = [float(value) for point in shape.attrib["points"].split(";") for value in point.split(",")]
    return rle_codec.from_coco([path], height, width)


def _write_mask(image: Xml.Element, shape: CvatShape) -> None:
    x0, y0, x1, y1 = rle_codec.box(shape.rle)
    inside = rle_codec.decode(shape.rle)[y0:y1, x0:x1]
    box = {"left": str(x0), "top": str(y0), "width": str(x1 - x0), "height": str(y1 - y0)}
    runs = ", ".join(str(run) for run in _runs(inside))
    known = {"label": shape.label, "source": shape.source, "occluded": "0", "z_order": "0"}
    element = Xml.SubElement(image, "mask", {**known, "rle": runs, **box})
    for name, value in shape.attributes.items():
        Xml.SubElement(element, "attribute", {"name": name}).text = value


def _runs(inside: npt.NDArray[np.bool_]) -> Iterator[int]:
    """Background first, row by row."""
    groups = [(value, len(list(run))) for value, run in groupby(inside.flatten().tolist())]
    if groups and groups[0][0]:
        yield 0
    for _, length in groups:
        yield length
