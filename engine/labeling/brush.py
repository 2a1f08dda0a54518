"""Label Studio's run-length encoding of brush masks, to and from masks and COCO RLE.

A bit stream, highest bit first, of the picture's RGBA bytes row by row; a mask is its alpha channel. Header: 32 bits
number of words N = height * width * 4; 5 bits word size - 1 (always 8 bits); four times 4 bits, sizes - 1 of the
numbers that lengths are written with. Then blocks until N words are out: 1 bit (1 a run of one word, 0 literal words),
2 bits which of the four sizes, as many bits length - 1, then the word of the run or the literal words. Zeros to a whole
byte.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine import rle as coco_rle
from schemas.errors import InputError
from schemas.rle import Rle

ALPHA_THRESHOLD = 128  # strokes of people have soft edges: at least half opaque is foreground
_CHANNELS = 4
_OPAQUE = 255
_WORD_BITS = 8
_COUNT_BITS = 32
_WORD_SIZE_BITS = 5
_SIZE_BITS = 4
_SIZES = (3, 4, 8, 16)  # bits of a length, as the browser writes them
_HEADER_BITS = _COUNT_BITS + _WORD_SIZE_BITS + len(_SIZES) * _SIZE_BITS
_LONGEST_RUN = 2 ** _SIZES[-1]
_LONGEST_BLOCK_BYTES = 5  # 1 + 2 + 16 + 8 bits from any bit of a byte on


def encode_brush(mask: npt.NDArray[np.bool_]) -> list[int]:
    """A (height, width) bool mask as bytes 0..255: opaque where it is set, transparent elsewhere.

    Raises InputError if the mask is not two-dimensional or has no pixels.
    """
    if mask.ndim != 2 or mask.size == 0:
        raise InputError(f"a mask has two axes (height, width) and at least one pixel, this one has shape {mask.shape}")
    starts = np.concatenate([[0], _changes(mask.astype(bool, copy=False))])
    words = np.zeros(len(starts), dtype=np.int64)
    words[0 if mask[0, 0] else 1 :: 2] = _OPAQUE
    lengths = np.diff(starts, append=mask.size) * _CHANNELS
    pieces = -(-lengths // _LONGEST_RUN)
    last = np.cumsum(pieces) - 1
    split = np.full(int(last[-1]) + 1, _LONGEST_RUN)
    split[last] = lengths - (pieces - 1) * _LONGEST_RUN
    return _written(mask.size * _CHANNELS, split - 1, np.repeat(words, pieces))


def decode_brush(values: Sequence[int], *, height: int, width: int) -> npt.NDArray[np.bool_]:
    """The (height, width) bool mask that bytes 0..255 stand for: at least half opaque pixels.

    Raises InputError if they are no such stream, are cut off, or are of a picture of another size.
    """
    stream = _Stream(values)
    n_words = stream.take(_COUNT_BITS)
    if n_words != height * width * _CHANNELS:
        raise InputError(
            f"a brush mask of {n_words / _CHANNELS:g} pixels, and the picture has {width}x{height} = {height * width}; "
            "it was made on a picture of another size"
        )
    if stream.take(_WORD_SIZE_BITS) + 1 != _WORD_BITS:
        raise InputError("a brush mask whose words are not of 8 bits; no version of Label Studio writes such")
    sizes = [stream.take(_SIZE_BITS) + 1 for _ in _SIZES]
    words, ends = _read_blocks(stream, sizes, n_words)
    # The alpha of pixel i is word 4 i + 3: so many of them lie in a block that begins at one word and ends at another.
    alphas = np.diff(ends // _CHANNELS, prepend=0)
    return np.repeat(words >= ALPHA_THRESHOLD, alphas).reshape(height, width)


def rle_to_brush(mask: Rle) -> list[int]:
    """The same mask in Label Studio's encoding."""
    return encode_brush(coco_rle.decode(mask))


def brush_to_rle(values: Sequence[int], *, height: int, width: int) -> Rle:
    """The same mask as COCO RLE. Raises InputError as `decode_brush` does."""
    return coco_rle.encode(decode_brush(values, height=height, width=width))


def _changes(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Where a mask, row by row, changes: the numbers of the pixels that differ from the one before."""
    if not mask.flags.f_contiguous:
        pixels = mask.reshape(-1)
        return np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    # Read as it lies, column by column: to turn it over would take several times as long.
    columns, (height, width) = mask.T, mask.shape
    x, y = np.divmod(np.flatnonzero(columns[1:] != columns[:-1]), height)
    at_row_starts = np.flatnonzero(columns[0, 1:] != columns[-1, :-1]) + 1
    return np.sort(np.concatenate([y * width + x + 1, at_row_starts * width]))


def _written(n_words: int, lengths: npt.NDArray[np.int64], words: npt.NDArray[np.int64]) -> list[int]:
    """The stream of runs of `lengths` + 1 equal words."""
    which = np.searchsorted([2**size for size in _SIZES], lengths, side="right")
    sizes = np.array(_SIZES)[which]
    blocks = (((1 << 2 | which) << sizes | lengths) << _WORD_BITS) | words
    n_bits = 1 + 2 + sizes + _WORD_BITS
    ends = _HEADER_BITS + np.cumsum(n_bits)
    starts = ends - n_bits
    out = np.zeros(-(-int(ends[-1]) // 8) + _LONGEST_BLOCK_BYTES)
    first_bytes = starts >> 3
    # Each block, pushed to its place within the bytes that it touches; no two share a bit, so that adding is joining.
    blocks <<= 8 * _LONGEST_BLOCK_BYTES - (starts & 7) - n_bits
    for place in range(_LONGEST_BLOCK_BYTES):
        part = blocks >> 8 * (_LONGEST_BLOCK_BYTES - 1 - place) & 0xFF
        out += np.bincount(first_bytes + place, weights=part, minlength=len(out))
    header = n_words << _WORD_SIZE_BITS | _WORD_BITS - 1
    for size in _SIZES:
        header = header << _SIZE_BITS | size - 1
    header_bytes = -(-_HEADER_BITS // 8)
    out[:header_bytes] += np.frombuffer((header << 8 * header_bytes - _HEADER_BITS).to_bytes(header_bytes), np.uint8)
    written: list[int] = out[: -(-int(ends[-1]) // 8)].astype(np.uint8).tolist()
    return written


def _read_blocks(
    stream: "_Stream", sizes: list[int], n_words: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Words, and how many words are out after each; a literal word is a block of its own."""
    words: list[int] = []
    ends: list[int] = []
    done = 0
    while done < n_words:
        is_run = stream.take(1)
        length = stream.take(sizes[stream.take(2)]) + 1
        if done + length > n_words:
            raise InputError(f"a brush mask with more than the {n_words} words that it announces; it is damaged")
        if is_run:
            words.append(stream.take(_WORD_BITS))
            ends.append(done + length)
        else:
            words += stream.take_words(length)
            ends += range(done + 1, done + length + 1)
        done += length
    return np.array(words), np.array(ends)


class _Stream:
    """Bits of a list of bytes, highest first."""

    def __init__(self, values: Sequence[int]) -> None:
        wrong = "a brush mask is a list of whole numbers from 0 to 255; this one is not"
        if isinstance(values, int):  # of which bytes() would make so many zeros
            raise InputError(wrong)
        try:
            self._bytes = bytes(values)
        except (TypeError, ValueError) as error:
            raise InputError(wrong) from error
        self._at = 0

    def take(self, n_bits: int) -> int:
        """The next bits, at most 32, as a number."""
        start, end = self._at, self._at + n_bits
        if end > 8 * len(self._bytes):
            raise InputError("a brush mask that is cut off; it is damaged")
        self._at = end
        last = (end + 7) >> 3
        return int.from_bytes(self._bytes[start >> 3 : last]) >> (8 * last - end) & ((1 << n_bits) - 1)

    def take_words(self, count: int) -> list[int]:
        """The next `count` words of 8 bits."""
        start, self._at = self._at, self._at + count * _WORD_BITS
        if self._at > 8 * len(self._bytes):
            raise InputError("a brush mask that is cut off; it is damaged")
        raw = np.frombuffer(self._bytes, np.uint8, offset=start >> 3, count=count + (1 if start & 7 else 0))
        shift = start & 7
        if not shift:
            return [int(word) for word in raw]
        wide = raw[:-1].astype(np.uint16) << 8 | raw[1:]
        return [int(word) for word in wide >> (8 - shift) & 0xFF]
