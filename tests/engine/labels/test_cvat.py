"""CVAT for images: its polygons, masks and ellipses."""

from pathlib import Path

import numpy as np
import pytest

from engine.coco import read_coco
from schemas.errors import InputError
from tests.engine.labels.tools import CORNERS, POLYGON, H, W, cvat, labels, masks, points, put, set_folder, square


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return set_folder(tmp_path)


def test_cvat_polygons_and_masks_are_read(folder: Path) -> None:
    mask = '<mask label="dog" source="manual" occluded="0" rle="1, 2, 1, 2" left="20" top="30" width="3" height="2"/>'
    found = read_coco(put(folder, "annotations.xml", cvat(POLYGON + mask)))
    first, second = masks(found)
    assert np.array_equal(first, square())
    expected = np.zeros((H, W), dtype=bool)
    expected[30, 21:23] = expected[31, 21:23] = True  # row by row: off, on, on, off, on, on
    assert np.array_equal(second, expected)
    assert labels(found) == ["cat", "dog"]
    assert not found.problems
    assert not found.mended


def test_cvat_polygons_of_a_group_are_one_object(folder: Path) -> None:
    def part(x: int, label: str, group: int) -> str:
        corners = points([(x, 5), (x + 10, 5), (x + 10, 15), (x, 15)])
        return f'<polygon label="{label}" points="{corners}" group_id="{group}"/>'

    shapes = part(5, "cat", 3) + part(30, "cat", 3) + part(50, "dog", 3) + part(70, "cat", 0) + part(83, "cat", 0)
    found = read_coco(put(folder, "annotations.xml", cvat(shapes)))
    assert [int(mask.sum()) for mask in masks(found)] == [200, 100, 100, 100]


@pytest.mark.parametrize(
    "shape",
    [
        '<box label="cat" xtl="1" ytl="2" xbr="30" ybr="40"/>',
        f'<polyline label="cat" points="{points(CORNERS)}"/>',
        '<points label="cat" points="3,4"/>',
        '<cuboid label="cat" xtl1="1"/>',
        '<mask label="cat" rle="1, 2" left="20" top="30" width="3" height="2"/>',
        '<polygon label="cat"/>',
    ],
)
def test_cvat_shapes_that_are_no_masks_are_named(folder: Path, shape: str) -> None:
    found = read_coco(put(folder, "annotations.xml", cvat(shape + POLYGON)))
    assert len(masks(found)) == 1
    (problem,) = found.problems
    assert (problem.kind, "annotation 1 (a.jpg)" in problem.source) == ("mask", True)


def test_a_cvat_ellipse_has_the_area_of_one(folder: Path) -> None:
    shape = '<ellipse label="cat" cx="40" cy="30" rx="20" ry="10" rotation="90"/>'
    (mask,) = masks(read_coco(put(folder, "annotations.xml", cvat(shape))))
    assert mask.sum() == pytest.approx(np.pi * 200, rel=0.03)
    assert np.flatnonzero(mask.any(axis=1)).size > np.flatnonzero(mask.any(axis=0)).size, "turned by 90 degrees"


def test_cvat_for_videos_is_named(folder: Path) -> None:
    path = put(folder, "annotations.xml", "<annotations><meta/><track id='0'><box frame='0'/></track></annotations>")
    with pytest.raises(InputError, match='tracks of a video; export it from CVAT as "CVAT for images"'):
        read_coco(path)
