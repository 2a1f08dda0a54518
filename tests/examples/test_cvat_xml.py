"""CVAT's XML files: masks and polygons come back pixel for pixel, what cannot be read is told."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from engine import rle
from schemas.errors import InputError
from tests.distributions import install_example

# As CVAT itself writes a task of one picture, 6 pixels wide and 4 high.
FILE = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><id>7</id><labels><label><name>object</name></label></labels></task></meta>
  <image id="0" name="a/photo 1.jpg" width="6" height="4">
    <mask label="object" source="semi-auto" occluded="0" rle="1, 2, 3, 2" left="2" top="1"
      width="4" height="2" z_order="0">
      <attribute name="made_from">prefilled-3</attribute>
    </mask>
    <polygon label="object" source="manual" occluded="0" points="0.00,0.00;3.00,0.00;3.00,2.00;0.00,2.00" z_order="0">
    </polygon>
    <box label="object" source="manual" occluded="0" xtl="0.0" ytl="0.0" xbr="2.0" ybr="2.0" z_order="0"></box>
    <tag label="object" source="manual"></tag>
  </image>
</annotations>
"""


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_example("cvat_tool", tmp_path / "site", monkeypatch)


def test_a_file_of_cvat_is_read() -> None:
    from cvat_xml import read_annotations

    (image,) = read_annotations(FILE.encode(), name="job.xml")
    assert (image.name, image.height, image.width) == ("a/photo 1.jpg", 4, 6)
    brush, polygon = image.shapes
    expected = np.zeros((4, 6), dtype=bool)
    expected[1, 3:5] = expected[2, 4:6] = True
    np.testing.assert_array_equal(rle.decode(brush.rle), expected)
    assert (brush.attributes, brush.source) == ({"made_from": "prefilled-3"}, "semi-auto")
    np.testing.assert_array_equal(rle.decode(polygon.rle), np.pad(np.ones((2, 3), dtype=bool), ((0, 2), (0, 3))))
    (problem,) = image.problems
    assert problem == "job.xml: image a/photo 1.jpg: shape 3: a box has no mask; draw it with the brush or as a polygon"


@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 30))
def test_masks_come_back_pixel_for_pixel_and_are_what_cvat_takes_them_for(seed: int, height: int, width: int) -> None:
    from cvat_xml import CvatImage, CvatShape, read_annotations, write_annotations

    rng = np.random.default_rng(seed)
    masks = [rng.random((height, width)) < share for share in (0.1, 0.5, 1.0)]
    shapes = tuple(
        CvatShape("a & b", rle.encode(mask), {"made_from": f"<{n}>"}) for n, mask in enumerate(masks) if mask.any()
    )
    image = CvatImage('it"s.jpg', height, width, shapes)
    data = write_annotations([image], labels=["a & b"], attribute="made_from")
    assert read_annotations(data, name="x") == [image]
    for element, shape in zip(_masks(data), shapes, strict=True):
        np.testing.assert_array_equal(_as_cvat(element, height, width), rle.decode(shape.rle))


def _masks(data: bytes) -> list[dict[str, str]]:
    from xml.etree import ElementTree

    return [element.attrib for element in ElementTree.fromstring(data).iter("mask")]


def _as_cvat(mask: dict[str, str], height: int, width: int) -> np.ndarray:
    """The runs of a mask are to CVAT those of COCO's uncompressed form, column by column of the transposed box."""
    left, top, w, h = (int(mask[key]) for key in ("left", "top", "width", "height"))
    counts: Any = {"counts": [int(run) for run in mask["rle"].split(", ")], "size": [w, h]}
    full = np.zeros((height, width), dtype=bool)
    full[top : top + h, left : left + w] = coco_mask.decode(coco_mask.frPyObjects(counts, w, h)).T
    return full


def test_a_brush_over_the_edge_is_cut_at_it() -> None:
    from cvat_xml import read_annotations

    over = FILE.replace('rle="1, 2, 3, 2" left="2" top="1"', 'rle="0, 8" left="-2" top="3"')
    np.testing.assert_array_equal(
        np.argwhere(rle.decode(read_annotations(over.encode(), name="x")[0].shapes[0].rle)), [[3, 0], [3, 1]]
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("1, 2, 3, 2", "1, 2, 3, 9", "shape 1: its runs are 15 pixels long, its box has 8"),
        ("1, 2, 3, 2", "1, two", "shape 1: invalid literal"),
        ("0.00,0.00;3.00,0.00;3.00,2.00;0.00,2.00", "0,0;1,1", "shape 2: "),
    ],
)
def test_a_broken_shape_is_told_and_the_others_are_read(old: str, new: str, said: str) -> None:
    from cvat_xml import read_annotations

    (image,) = read_annotations(FILE.replace(old, new).encode(), name="x")
    assert len(image.shapes) == 1
    assert said in image.problems[0]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<annotations>", "x: not XML"),
        (b"<annotations><version>1.0</version></annotations>", "found <annotations> of version 1.0"),
        (b"<!DOCTYPE a><annotations/>", "document type"),
        (b"<annotations><version>1.1</version><image name='a'/></annotations>", "image a: has no name, or no width"),
    ],
)
def test_what_is_no_such_file_is_an_error(data: bytes, said: str) -> None:
    from cvat_xml import read_annotations

    with pytest.raises(InputError, match=said):
        read_annotations(data, name="x")
