"""Hull and concavity of masks, by hand and beside OpenCV."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from engine import rle
from engine.release.report.hulls import concavity, measure_shapes
from schemas.errors import InputError
from schemas.rle import Rle

Mask = npt.NDArray[np.bool_]

masks = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(lambda size: arrays(bool, size))


def hull_of(points: npt.NDArray[np.int64]) -> float:
    """By OpenCV; points: (N, 2) as (x, y)."""
    return float(cv2.contourArea(cv2.convexHull(points.astype(np.int32))))


def centres(mask: Mask) -> npt.NDArray[np.int64]:
    return np.argwhere(mask)[:, ::-1]


def corners(mask: Mask) -> npt.NDArray[np.int64]:
    return np.concatenate([centres(mask) + offset for offset in ((0, 0), (0, 1), (1, 0), (1, 1))])


def drawn(*rows: str) -> Mask:
    return np.array([[cell == "#" for cell in row] for row in rows])


def test_an_l_of_three_pixels_by_hand() -> None:
    mask = drawn("....", ".#..", ".##.", "....")
    shapes = measure_shapes([rle.encode(mask)])
    assert [int(one[0]) for one in shapes] == [3, 1, 2, 2]  # the hull of three centres: half a pixel
    # Of the corners: the square of four pixels without the triangle of half a pixel.
    np.testing.assert_allclose(concavity([rle.encode(mask)]), [1 - 3 / 3.5])


def test_a_ring_is_as_concave_as_its_hole() -> None:
    np.testing.assert_allclose(concavity([rle.encode(drawn("###", "#.#", "###"))]), [1 / 9])


@pytest.mark.parametrize("mask", [np.ones((1, 1), bool), np.ones((5, 7), bool), np.eye(6, 9, dtype=bool)[:1]])
def test_rectangles_have_no_concavity(mask: Mask) -> None:
    assert concavity([rle.encode(mask)]).tolist() == [0.0]


def test_an_empty_mask_has_no_shape() -> None:
    empty = rle.encode(np.zeros((4, 5), dtype=bool))
    assert [int(one[0]) for one in measure_shapes([empty])] == [0, 0, 0, 0]
    assert np.isnan(concavity([empty])).all()


def test_no_masks() -> None:
    assert concavity([]).shape == (0,)


@given(st.lists(masks, min_size=1, max_size=4))
def test_hulls_are_those_of_opencv(drawings: list[Mask]) -> None:
    drawings = [drawing for drawing in drawings if drawing.any()]
    encoded = [rle.encode(drawing) for drawing in drawings]
    shapes = measure_shapes(encoded)
    boxes = [rle.box(one) for one in encoded]
    assert shapes.area.tolist() == [int(drawing.sum()) for drawing in drawings]
    assert (shapes.twice_hull / 2).tolist() == [hull_of(centres(drawing)) for drawing in drawings]
    assert shapes.width.tolist() == [x1 - x0 for x0, _, x1, _ in boxes]
    assert shapes.height.tolist() == [y1 - y0 for _, y0, _, y1 in boxes]
    expected = [1 - drawing.sum() / hull_of(corners(drawing)) for drawing in drawings]
    np.testing.assert_allclose(concavity(encoded), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_large_blobs_are_those_of_opencv(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.random((700, 900)), (0, 0), 25)
    mask = noise > np.quantile(noise, 0.7)
    shapes = measure_shapes([rle.encode(mask)])
    assert shapes.twice_hull[0] / 2 == hull_of(centres(mask))


@pytest.mark.parametrize("counts", [b"", b"5", b"1" * 9, b"o", b" ", b"oooooooo1", b"0?0"])
def test_broken_counts_are_refused(counts: bytes) -> None:
    with pytest.raises(InputError, match="RLE counts"):
        concavity([Rle(2, 2, b"04"), Rle(3, 4, counts)])
