"""COCO run-length encoding: the form in which every mask is kept.

A mask is read column by column, top to bottom; runs of background and foreground alternate, background first. The
compressed form (`counts`) is what pycocotools calls a "compressed RLE": every run length from the fourth on is stored
as its difference to the run two places before, in groups of 5 bits, each group one printable byte.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from schemas.errors import InputError
from schemas.mask import Mask
from schemas.rle import Rle

MAX_PIXELS = 2**32 - 1
_FIRST_BYTE = 48
_MORE_BIT = 0x20
_SIGN_BIT = 0x10
_MAX_GROUPS = 7  # 35 bits: a difference of two 32-bit run lengths and its sign


def encode(mask: npt.NDArray[np.bool_]) -> Rle:
    """Encode a (height, width) bool mask. Byte for byte what pycocotools makes of it.

    Raises InputError if the mask is not two-dimensional or has no pixels.
    """
    if mask.ndim != 2:
        raise InputError(f"a mask has two axes (height, width), this array has shape {mask.shape}")
    return encode_at(mask, x0=0, y0=0, height=mask.shape[0], width=mask.shape[1])


def encode_at(mask: npt.NDArray[np.bool_], *, x0: int, y0: int, height: int, width: int) -> Rle:
    """Encode a (h, w) bool mask that lies at column x0, row y0 of an otherwise empty height x width mask.

    The full mask is never made. Raises InputError if the part does not lie inside.
    """
    _check_size(height, width)
    h, w = mask.shape
    if x0 < 0 or y0 < 0 or x0 + w > width or y0 + h > height:
        raise InputError(f"a {h}x{w} mask at row {y0}, column {x0} does not fit into {height}x{width}")
    padded = np.zeros((w, h + 2), dtype=bool)
    padded[:, 1:-1] = mask.T
    columns, rows = np.nonzero(padded[:, 1:] != padded[:, :-1])
    edges = (x0 + columns) * height + y0 + rows
    starts, ends = edges[0::2], edges[1::2]
    # A run that reaches the foot of a column goes on at the head of the next.
    joined = ends[:-1] == starts[1:]
    starts = starts[np.concatenate([[True], ~joined])] if len(starts) else starts
    ends = ends[np.concatenate([~joined, [True]])] if len(ends) else ends
    return from_runs(np.diff(np.stack([starts, ends], axis=1).ravel(), prepend=0, append=height * width), height, width)


def decode(rle: Rle) -> npt.NDArray[np.bool_]:
    """The (height, width) bool mask. Raises InputError if the counts are broken."""
    lengths = runs(rle)
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(rle.width, rle.height).T


def area(rle: Rle) -> int:
    """Foreground pixels. Raises InputError if the counts are broken."""
    return _area(runs(rle))


def box(rle: Rle) -> tuple[int, int, int, int]:
    """XYXY, right and bottom exclusive, as COCO counts boxes; zeros for an empty mask.

    Raises InputError if the counts are broken.
    """
    return _box(runs(rle), rle.height)


def measured(rle: Rle) -> Mask:
    """A mask of which nothing is known but its pixels: area and box are counted, the whole picture is its crop.

    Raises InputError if the counts are broken.
    """
    lengths = runs(rle)
    return Mask(rle, _area(lengths), _box(lengths, rle.height), (0, 0, rle.width, rle.height))


def iou_matrix(first: Sequence[Rle], second: Sequence[Rle]) -> npt.NDArray[np.float64]:
    """(len(first), len(second)) intersection over union of masks of one size; 0 where both are empty.

    Raises InputError if the sizes differ.
    """
    sizes = {(rle.height, rle.width) for rle in (*first, *second)}
    if len(sizes) > 1:
        raise InputError(f"masks of one image have one size, these have {sorted(sizes)}")
    if not first or not second:
        return np.zeros((len(first), len(second)))
    found = coco_mask.iou([rle.coco() for rle in first], [rle.coco() for rle in second], [0] * len(second))
    return np.asarray(found, dtype=np.float64)


def runs(rle: Rle) -> npt.NDArray[np.int64]:
    """The run lengths, background first. Raises InputError if the counts are broken or do not fill the mask."""
    _check_size(rle.height, rle.width)
    return _checked_runs(_parse(rle.counts), rle.height, rle.width)


def from_runs(lengths: npt.ArrayLike, height: int, width: int) -> Rle:
    """Make an Rle of run lengths, background first; runs of length 0 are merged away, so equal masks are equal bytes.

    Raises InputError if a length is negative or if they do not sum to height * width.
    """
    _check_size(height, width)
    checked = _checked_runs(np.asarray(lengths, dtype=np.int64).reshape(-1), height, width)
    return Rle(height, width, _format(_merge_empty(checked)))


def from_coco(segmentation: Any, height: int, width: int) -> Rle:
    """Read a COCO segmentation: compressed RLE (counts str or bytes), uncompressed RLE (counts list) or polygons.

    The result is canonical: equal masks give equal bytes. Raises InputError that says what is broken.
    """
    _check_size(height, width)
    if isinstance(segmentation, list):
        return _from_polygons(segmentation, height, width)
    if not isinstance(segmentation, dict) or "counts" not in segmentation:
        raise InputError(f"segmentation: expected an RLE or a list of polygons, found {_brief(segmentation)}")
    size = segmentation.get("size", [height, width])
    if size not in ([height, width], (height, width)):
        raise InputError(f"segmentation: its size {_brief(size)} is not that of the image, [{height}, {width}]")
    counts = segmentation["counts"]
    if isinstance(counts, str):
        try:
            counts = counts.encode("ascii")
        except UnicodeEncodeError as error:
            raise InputError(f"RLE counts: not ASCII at character {error.start}") from error
    if isinstance(counts, bytes):
        return from_runs(_parse(counts), height, width)
    if isinstance(counts, list) and all(isinstance(c, int) and abs(c) <= MAX_PIXELS for c in counts):
        return from_runs(counts, height, width)
    raise InputError(f"RLE counts: expected a string or a list of whole numbers, found {_brief(counts)}")


def _area(lengths: npt.NDArray[np.int64]) -> int:
    return int(lengths[1::2].sum())


def _box(lengths: npt.NDArray[np.int64], height: int) -> tuple[int, int, int, int]:
    ends = np.cumsum(lengths)[1::2]
    starts = ends - lengths[1::2]
    filled = ends > starts
    starts, last = starts[filled], ends[filled] - 1
    if len(starts) == 0:
        return 0, 0, 0, 0
    columns, last_columns = starts // height, last // height
    top, bottom = int((starts % height).min()), int((last % height).max())
    if (columns < last_columns).any():  # a run over the foot of a column touches both the bottom and the top row
        top, bottom = 0, height - 1
    return int(columns.min()), top, int(last_columns.max()) + 1, bottom + 1


def _from_polygons(polygons: list[Any], height: int, width: int) -> Rle:
    if not polygons:
        raise InputError("segmentation: an empty list of polygons")
    # pycocotools walks every edge pixel by pixel: a coordinate far outside would never end.
    bounds = np.array([[-width, -height], [2 * width, 2 * height]])
    for polygon in polygons:
        try:
            points = np.asarray(polygon, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"polygon: expected numbers x, y, x, y, ..., found {_brief(polygon)}") from error
        if points.ndim != 1 or len(points) % 2 or len(points) < 6:
            raise InputError(f"polygon: expected at least 3 points as x, y, x, y, ..., found {_brief(polygon)}")
        corners = points.reshape(-1, 2)
        if not np.isfinite(corners).all() or (corners < bounds[0]).any() or (corners > bounds[1]).any():
            raise InputError(f"polygon: a corner lies far outside the {width}x{height} image: {_brief(polygon)}")
    merged = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    return from_runs(_parse(merged["counts"]), height, width)


def _check_size(height: int, width: int) -> None:
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise InputError(f"a mask needs at least one and at most {MAX_PIXELS} pixels, not {height}x{width}")


def _checked_runs(lengths: npt.NDArray[np.int64], height: int, width: int) -> npt.NDArray[np.int64]:
    if (lengths < 0).any():
        raise InputError(f"RLE counts: run {int(np.argmax(lengths < 0))} has a negative length")
    if lengths.sum() != height * width:
        raise InputError(f"RLE counts: runs sum to {int(lengths.sum())}, a {height}x{width} mask has {height * width}")
    return lengths


def _merge_empty(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    if (lengths[1:] > 0).all():
        return lengths
    values: npt.NDArray[np.int64] = np.arange(len(lengths)) % 2
    values = values[lengths > 0]
    heads = np.flatnonzero(np.diff(values, prepend=-1))
    merged = np.add.reduceat(lengths[lengths > 0], heads)
    return np.concatenate([[0], merged]) if values[0] == 1 else merged


def _parse(counts: bytes) -> npt.NDArray[np.int64]:
    """Run lengths of compressed counts; may be negative where the counts are broken."""
    groups = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - _FIRST_BYTE
    if len(groups) == 0:
        raise InputError("RLE counts: empty")
    if (groups < 0).any() or (groups >= 64).any():
        where = int(np.argmax((groups < 0) | (groups >= 64)))
        raise InputError(f"RLE counts: byte {where} ({counts[where : where + 1]!r}) cannot occur in them")
    last = (groups & _MORE_BIT) == 0
    if not last[-1]:
        raise InputError("RLE counts: cut off in the middle of a number")
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    n_groups = ends - starts + 1
    if n_groups.max() > _MAX_GROUPS:
        raise InputError(f"RLE counts: a number of {int(n_groups.max())} groups is too long")
    place = np.arange(len(groups)) - np.repeat(starts, n_groups)
    values = np.add.reduceat((groups & 0x1F) << (5 * place), starts)
    values -= np.where(groups[ends] & _SIGN_BIT, np.int64(1) << (5 * n_groups), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def _format(lengths: npt.NDArray[np.int64]) -> bytes:
    rest = lengths.copy()
    rest[3:] -= lengths[1:-2]
    out = np.zeros((len(rest), _MAX_GROUPS), dtype=np.uint8)
    used = np.zeros(out.shape, dtype=bool)
    more = np.ones(len(rest), dtype=bool)
    for place in range(_MAX_GROUPS):
        group = rest & 0x1F
        rest = rest >> 5
        used[:, place] = more
        more = more & (rest != np.where(group & _SIGN_BIT, -1, 0))
        out[:, place] = group + np.where(more, _MORE_BIT, 0) + _FIRST_BYTE
        if not more.any():
            break
    return out[used].tobytes()


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
