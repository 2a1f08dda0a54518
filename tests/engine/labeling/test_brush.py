import json

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from label_studio_sdk.converter.brush import decode_rle, encode_rle
from pycocotools import mask as coco_mask

from engine import rle
from engine.labeling.brush import brush_to_rle, decode_brush, encode_brush, rle_to_brush
from schemas.errors import InputError

Mask = npt.NDArray[np.bool_]

masks = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(lambda shape: arrays(bool, shape))


def rgba(mask: Mask) -> npt.NDArray[np.uint8]:
    return np.repeat(mask.reshape(-1).astype(np.uint8) * 255, 4)


def as_sdk_writes(words: npt.NDArray[np.uint8]) -> list[int]:
    written: list[int] = encode_rle(words)
    return written


def large(kind: str) -> Mask:
    y, x = np.mgrid[:1500, :2250]
    if kind == "disk":
        return (y - 700) ** 2 + (x - 1200) ** 2 < 500**2
    if kind == "full":
        return np.ones((1500, 2250), dtype=bool)
    if kind == "empty":
        return np.zeros((1500, 2250), dtype=bool)
    return np.sin(y / 30) * np.cos(x / 40) > 0.3


@given(masks)
def test_there_and_back(mask: Mask) -> None:
    np.testing.assert_array_equal(decode_brush(encode_brush(mask), height=mask.shape[0], width=mask.shape[1]), mask)


@given(masks)
def test_the_sdk_reads_what_we_write(mask: Mask) -> None:
    np.testing.assert_array_equal(np.asarray(decode_rle(encode_brush(mask))), rgba(mask))


@given(masks)
def test_we_write_what_the_sdk_writes(mask: Mask) -> None:
    ours, theirs = encode_brush(mask), as_sdk_writes(rgba(mask))
    assert theirs in (ours, [*ours, 0])  # the SDK adds a byte where the stream ends with one


@given(masks)
def test_coco_and_back(mask: Mask) -> None:
    coco = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    height, width = mask.shape
    assert brush_to_rle(encode_brush(mask), height=height, width=width).counts == coco["counts"]
    assert rle_to_brush(rle.encode(mask)) == encode_brush(mask)


@pytest.mark.parametrize("kind", ["disk", "full", "empty", "waves"])
def test_large_masks(kind: str) -> None:
    """Runs longer than one block can hold."""
    mask = large(kind)
    ours = encode_brush(mask)
    np.testing.assert_array_equal(decode_brush(ours, height=1500, width=2250), mask)
    assert as_sdk_writes(rgba(mask)) in (ours, [*ours, 0])


def test_by_hand() -> None:
    """One opaque pixel: 4 words of 255, one run of size 3 bits, length - 1 = 3."""
    bits = f"{4:032b}" + f"{7:05b}" + f"{2:04b}{3:04b}{7:04b}{15:04b}" + "1" + "00" + f"{3:03b}" + f"{255:08b}"
    bits += "0" * (-len(bits) % 8)
    expected = [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]
    assert encode_brush(np.ones((1, 1), dtype=bool)) == expected


@given(arrays(np.uint8, st.integers(1, 60).map(lambda n: 4 * n)))
def test_any_bytes_that_the_sdk_writes(words: npt.NDArray[np.uint8]) -> None:
    """Noise has no runs: the SDK writes literal words, and soft edges have any alpha."""
    found = decode_brush(as_sdk_writes(words), height=1, width=len(words) // 4)
    np.testing.assert_array_equal(found[0], words[3::4] >= 128)


@pytest.mark.parametrize("lead", [0, 1, 2, 3, 5, 7])
def test_literal_words_at_any_bit(lead: int) -> None:
    """Runs of 14 bits move the literal words that follow to other bits of a byte."""
    bits = f"{4 * (lead + 2):032b}" + f"{7:05b}" + f"{2:04b}{3:04b}{7:04b}{15:04b}"
    bits += ("1" + "00" + f"{3:03b}" + f"{0:08b}") * lead
    literal = [1, 2, 3, 127, 9, 8, 7, 128]
    bits += "0" + "00" + f"{7:03b}" + "".join(f"{word:08b}" for word in literal)
    bits += "0" * (-len(bits) % 8)
    values = [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]
    assert decode_brush(values, height=1, width=lead + 2)[0].tolist() == [False] * lead + [False, True]


def test_what_json_brings() -> None:
    mask = large("disk")[::10, ::10]
    values = json.loads(json.dumps(encode_brush(mask)))
    np.testing.assert_array_equal(decode_brush(values, height=150, width=225), mask)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "cut off"),
        ([0, 0, 0], "cut off"),
        (encode_brush(np.eye(9, dtype=bool))[:-3], "cut off"),
        (encode_brush(np.eye(8, dtype=bool)), "another size"),
        ([*encode_brush(np.eye(9, dtype=bool))[:4], 255], "not of 8 bits"),
        ([300], "0 to 255"),
        (2**70, "0 to 255"),
        (["a"], "0 to 255"),
    ],
)
def test_what_is_no_mask(values: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        decode_brush(values, height=9, width=9)


def test_more_words_than_announced() -> None:
    bits = f"{4:032b}" + f"{7:05b}" + f"{2:04b}{3:04b}{7:04b}{15:04b}" + "1" + "00" + f"{7:03b}" + f"{255:08b}"
    bits += "0" * (-len(bits) % 8)
    with pytest.raises(InputError, match="more than the 4 words"):
        decode_brush([int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)], height=1, width=1)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (5,), (2, 3, 4)])
def test_shapes_that_are_no_mask(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="two axes"):
        encode_brush(np.zeros(shape, dtype=bool))
