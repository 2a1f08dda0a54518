import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from engine import rle
from schemas.errors import InputError
from schemas.mask import Mask
from schemas.rle import Rle

masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


@st.composite
def patchy_masks(draw: st.DrawFn) -> np.ndarray:
    """Masks of rectangles, up to 300 px a side: long runs, whose differences need more than one byte."""
    height, width = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    mask = np.zeros((height, width), dtype=bool)
    for _ in range(draw(st.integers(0, 4))):
        y, x = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        mask[y : y + draw(st.integers(1, 300)), x : x + draw(st.integers(1, 300))] ^= True
    return mask


any_mask = masks | patchy_masks()


def by_pycocotools(mask: np.ndarray) -> dict:
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))


@given(any_mask)
def test_encode_gives_the_bytes_of_pycocotools(mask: np.ndarray) -> None:
    assert rle.encode(mask).counts == by_pycocotools(mask)["counts"]


@given(any_mask)
def test_decode_undoes_encode(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(rle.decode(rle.encode(mask)), mask)


@given(any_mask)
def test_area_and_box_are_those_of_pycocotools(mask: np.ndarray) -> None:
    peer = by_pycocotools(mask)
    x, y, w, h = coco_mask.toBbox(peer)
    encoded = rle.encode(mask)
    assert rle.area(encoded) == coco_mask.area(peer)
    box = rle.box(encoded)
    assert rle.measured(encoded) == Mask(encoded, rle.area(encoded), box, (0, 0, encoded.width, encoded.height))
    np.testing.assert_array_equal(box, [x, y, x + w, y + h])


@given(st.lists(hnp.arrays(bool, (9, 7)), min_size=1, max_size=4), st.lists(hnp.arrays(bool, (9, 7)), max_size=4))
@settings(max_examples=50)
def test_iou_matrix_counts_pixels(first: list[np.ndarray], second: list[np.ndarray]) -> None:
    found = rle.iou_matrix([rle.encode(m) for m in first], [rle.encode(m) for m in second])
    expected = [[(a & b).sum() / max(1, (a | b).sum()) for b in second] for a in first]
    np.testing.assert_allclose(found, np.reshape(expected, (len(first), len(second))))


def test_iou_matrix_refuses_masks_of_different_images() -> None:
    with pytest.raises(InputError, match="one size"):
        rle.iou_matrix([rle.encode(np.ones((2, 3), dtype=bool))], [rle.encode(np.ones((3, 2), dtype=bool))])


@given(any_mask, st.data())
def test_encode_at_equals_encoding_the_pasted_mask(mask: np.ndarray, data: st.DataObject) -> None:
    x0, y0, right, bottom = (data.draw(st.integers(0, 20)) for _ in range(4))
    full = np.pad(mask, ((y0, bottom), (x0, right)))
    found = rle.encode_at(mask, x0=x0, y0=y0, height=full.shape[0], width=full.shape[1])
    assert found == rle.encode(full)
    assert found.counts == by_pycocotools(full)["counts"]


def test_encode_at_refuses_a_mask_that_sticks_out() -> None:
    with pytest.raises(InputError, match="does not fit"):
        rle.encode_at(np.ones((2, 2), dtype=bool), x0=3, y0=0, height=4, width=4)


def test_counts_by_hand() -> None:
    # Column by column: 0 1 | 1 1 | 0 0 are runs 1, 3, 2; one byte each, 48 + length.
    mask = np.array([[0, 1, 0], [1, 1, 0]], dtype=bool)
    assert rle.encode(mask) == Rle(2, 3, b"132")
    assert rle.runs(Rle(2, 3, b"132")).tolist() == [1, 3, 2]
    # A run of 16 needs two groups: 10000 would read as negative, so 10000 with the more-bit (48 + 48), then 0.
    assert rle.encode(np.zeros((16, 1), dtype=bool)).counts == b"`0"


def test_to_coco_is_what_pycocotools_reads() -> None:
    mask = np.eye(5, dtype=bool)
    np.testing.assert_array_equal(coco_mask.decode(rle.encode(mask).to_coco()), mask)


@given(any_mask)
def test_from_coco_reads_every_form_of_rle(mask: np.ndarray) -> None:
    encoded = rle.encode(mask)
    h, w = mask.shape
    counts = rle.runs(encoded).tolist()
    for form in (encoded.to_coco(), {"counts": encoded.counts}, {"size": [h, w], "counts": counts}):
        assert rle.from_coco(form, h, w) == encoded


def test_from_coco_makes_equal_masks_equal_bytes() -> None:
    untidy = {"size": [2, 3], "counts": [1, 2, 0, 1, 2, 0]}
    assert rle.from_coco(untidy, 2, 3) == Rle(2, 3, b"132")
    assert rle.from_coco({"size": [2, 2], "counts": [0, 0, 0, 4]}, 2, 2) == rle.encode(np.ones((2, 2), dtype=bool))


def test_from_coco_reads_polygons() -> None:
    square = [2.0, 1.0, 6.0, 1.0, 6.0, 4.0, 2.0, 4.0]
    found = rle.from_coco([square], 8, 9)
    expected = np.zeros((8, 9), dtype=bool)
    expected[1:4, 2:6] = True
    np.testing.assert_array_equal(rle.decode(found), expected)
    two = rle.from_coco([square, [0, 5, 3, 5, 3, 8, 0, 8]], 8, 9)
    expected[5:8, 0:3] = True
    np.testing.assert_array_equal(rle.decode(two), expected)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [2, 3], "counts": "13"}, "runs sum to 4, a 2x3 mask has 6"),
        ({"size": [2, 3], "counts": "1322"}, "sum to"),
        ({"size": [2, 3], "counts": ""}, "empty"),
        ({"size": [2, 3], "counts": []}, "sum to 0"),
        ({"size": [2, 3], "counts": "13`"}, "cut off"),
        ({"size": [2, 3], "counts": "1 2"}, "cannot occur"),
        ({"size": [2, 3], "counts": "é"}, "not ASCII"),
        ({"size": [2, 3], "counts": "``````````0"}, "too long"),
        ({"size": [2, 3], "counts": "O7"}, "negative"),
        ({"size": [2, 3], "counts": [7, -1]}, "run 1 has a negative length"),
        ({"size": [2, 3], "counts": [1.5, 4.5]}, "whole numbers"),
        ({"size": [2, 3], "counts": [10**30]}, "whole numbers"),
        ({"size": [2, 3], "counts": None}, "expected a string or a list"),
        ({"size": [3, 2], "counts": "132"}, r"not that of the image, \[2, 3\]"),
        ({"size": 6, "counts": "132"}, "not that of the image"),
        ({"size": [2, 3]}, "expected an RLE"),
        ("132", "expected an RLE"),
        (None, "expected an RLE"),
        ([], "empty list"),
        ([[0, 0, 1, 1]], "at least 3 points"),
        ([[0, 0, 1, 1, 2]], "at least 3 points"),
        ([[0, 0, 1, 1, 2, float("nan")]], "far outside"),
        ([[0, 0, 1e12, 1, 2, 2]], "far outside"),
        ([["a", 0, 1, 1, 2, 2]], "expected numbers"),
        ([0, 0, 1, 1, 2, 2], "at least 3 points"),
    ],
)
def test_broken_segmentations_are_named(segmentation: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rle.from_coco(segmentation, 2, 3)


@given(st.binary(max_size=12))
def test_no_bytes_decode_to_a_mask_of_another_size(counts: bytes) -> None:
    try:
        found = rle.decode(Rle(4, 5, counts))
    except InputError:
        return
    assert found.shape == (4, 5)
    np.testing.assert_array_equal(found, coco_mask.decode({"size": [4, 5], "counts": counts}))


def test_decode_refuses_broken_counts() -> None:
    with pytest.raises(InputError, match="sum to"):
        rle.decode(Rle(2, 2, b"9"))


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (4,), (1, 2, 3)])
def test_encode_refuses_what_is_no_mask(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError):
        rle.encode(np.zeros(shape, dtype=bool))
