"""What of a broken record is safe to repair: where only one meaning is possible. Each repair has a name and is counted.

Whole files are tried as they are first, so a clean file costs nothing and its masks stay byte for byte the same.
"""

import ast
import json
import math
import re
from collections import Counter
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from engine import rle as rle_codec
from engine.labels.outlines import even_odd
from schemas.errors import InputError
from schemas.rle import Rle

# Key of a segmentation of pairs, a pixel counted from 1 and how many from there, as tables of masks have them.
FIRST_AND_COUNT = "first_and_count"
_OUTSIDE = 0.1  # of its side, that a corner in shares may lie outside of the picture
Points = list[tuple[float, float]]


def whole(value: Any) -> Any:
    """The whole number that a float (120.0) or a text ("120") stands for; anything else as it is."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.isascii():
        digits = value.strip().removesuffix(".0")
        if digits.isdigit() and len(digits) <= 18 and str(int(digits)) == digits:
            return int(digits)
    return value


def mask_of(segmentation: Any, height: int, width: int, mended: Counter[str]) -> Rle:
    """A segmentation as `engine.rle.from_coco` reads it, after repair where it cannot.

    Raises the InputError of the unrepaired form where nothing safe can be done.
    """
    if isinstance(segmentation, str):
        segmentation = _of_text(segmentation, height, width, mended)
    if isinstance(segmentation, dict) and FIRST_AND_COUNT in segmentation:
        return _of_pairs(segmentation[FIRST_AND_COUNT], height, width, mended)
    segmentation = _in_pixels(segmentation, height, width, mended)
    try:
        return rle_codec.from_coco(segmentation, height, width)
    except InputError as error:
        done: Counter[str] = Counter()
        repaired = _repaired(segmentation, height, width, done)
        if not done:
            raise
        try:
            found = _united(repaired, height, width)
        except InputError:
            raise error from None
        mended.update(done)
        return found


def _of_text(segmentation: str, height: int, width: int, mended: Counter[str]) -> Any:
    """What a text holds: JSON, corners as "x,y x,y", WKT, or compressed counts that fill the picture; else the text."""
    found: Any = segmentation
    if rings := _rings_of_wkt(segmentation):
        found = even_odd(rings, height=height, width=width)
    elif corners := _corners_of_text(segmentation):
        found = [corners]
    else:
        with suppress(ValueError, RecursionError):
            found = json.loads(segmentation)
    if isinstance(found, str):
        with suppress(InputError):
            found = rle_codec.from_coco({"counts": found}, height, width).to_coco()
    if found is not segmentation:
        mended["segmentation written as text"] += 1
    return found


def _corners_of_text(text: str) -> list[float]:
    """x, y, x, y, ... of pairs with a comma, apart by spaces or semicolons; none of numbers in any other order."""
    pairs = [pair.split(",") for pair in re.split(r"[\s;]+", text.strip(" \t\r\n;"))]
    if len(pairs) < 3 or not all(len(pair) == 2 and all(map(_is_number, pair)) for pair in pairs):
        return []
    return [float(number) for pair in pairs for number in pair]


def _rings_of_wkt(text: str) -> list[list[float]]:
    """The rings of POLYGON ((x y, x y, ...), ...) or MULTIPOLYGON; none of anything else."""
    if not re.match(r"\s*(MULTI)?POLYGON\s*\(", text, re.IGNORECASE):
        return []
    rings = [re.split(r"[\s,]+", ring.strip()) for ring in re.findall(r"\(([^()]*)\)", text)]
    return [[float(word) for word in ring] for ring in rings if all(map(_is_number, ring)) and len(ring) % 2 == 0]


def _of_pairs(numbers: list[int], height: int, width: int, mended: Counter[str]) -> Rle:
    """The pixels go column by column, or row by row where the mask has a shorter border so.

    Raises InputError where a pixel is not in the picture.
    """
    firsts, counts = np.array(numbers, dtype=np.float64).reshape(-1, 2).T  # float: a text may have any number
    if not len(firsts) or (firsts < 1).any() or (firsts - 1 + counts > height * width).any():
        raise InputError(f"runs of pixels that are not in a picture of {width}x{height} px")
    changes = np.zeros(height * width + 1, dtype=np.int64)
    np.add.at(changes, (firsts - 1).astype(np.int64), 1)
    np.add.at(changes, (firsts - 1 + counts).astype(np.int64), -1)
    pixels = np.cumsum(changes[:-1]) > 0
    by_columns, by_rows = pixels.reshape(width, height).T, pixels.reshape(height, width)
    if _border(by_rows) < _border(by_columns):
        mended["runs of pixels that go row by row"] += 1
        return rle_codec.encode(np.ascontiguousarray(by_rows))
    return rle_codec.encode(np.ascontiguousarray(by_columns))


def _border(mask: npt.NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(mask[1:] != mask[:-1]) + np.count_nonzero(mask[:, 1:] != mask[:, :-1]))


def _in_pixels(segmentation: Any, height: int, width: int, mended: Counter[str]) -> Any:
    """Polygons whose corners all lie in 0 to 1, or nearly, which would cover a pixel, as shares of the sides."""
    if not isinstance(segmentation, list) or min(height, width) < 3 or not all(map(_is_flat, segmentation)):
        return segmentation
    numbers = [float(number) for part in segmentation for number in part]
    if not numbers or all(number.is_integer() for number in numbers):
        return segmentation
    if not all(-_OUTSIDE <= number <= 1 + _OUTSIDE for number in numbers):
        return segmentation
    mended["corners as shares of the picture"] += 1
    sides = (width, height)
    return [[float(number) * sides[place % 2] for place, number in enumerate(part)] for part in segmentation]


def _united(repaired: Any, height: int, width: int) -> Rle:
    if not (isinstance(repaired, list) and repaired and isinstance(repaired[0], dict)):
        return rle_codec.from_coco(repaired, height, width)
    parts = [rle_codec.from_coco(part, height, width).coco() for part in repaired]
    merged = coco_mask.merge(parts)
    return rle_codec.from_coco({"size": [height, width], "counts": merged["counts"]}, height, width)


def _repaired(segmentation: Any, height: int, width: int, done: Counter[str]) -> Any:
    if isinstance(segmentation, dict):
        return _repaired_rle(segmentation, done)
    if not isinstance(segmentation, list) or not segmentation:
        return segmentation
    if all(isinstance(part, dict) and "counts" in part for part in segmentation):
        done["list of RLE united"] += 1
        return [_repaired_rle(part, done) for part in segmentation]
    if _is_flat(segmentation) or _are_triples(segmentation) or _are_points(segmentation):
        done["flat list of corners read as one polygon"] += 1
        segmentation = [segmentation]
    polygons = [_polygon(part, done) for part in segmentation]
    good = [polygon for polygon in polygons if polygon is not None]
    if good and len(good) < len(polygons):
        done["part of fewer than 3 corners left out beside good ones"] += len(polygons) - len(good)
    clipped = [_clipped(polygon, height, width, done) for polygon in good]
    return [polygon for polygon in clipped if polygon]


def _repaired_rle(record: dict[str, Any], done: Counter[str]) -> dict[str, Any]:
    fixed = dict(record)
    counts, size = record.get("counts"), record.get("size")
    if size is None and "size" in record:
        fixed.pop("size")
        done["RLE without a size"] += 1
    elif isinstance(size, list) and any(isinstance(side, float | str) for side in size):
        fixed["size"] = [whole(side) for side in size]
        done["RLE size as float or text"] += 1
    if isinstance(counts, str) and counts[:2] in ("b'", 'b"'):
        try:
            fixed["counts"] = ast.literal_eval(counts)
            done["RLE counts written as b'..'"] += 1
        except (ValueError, SyntaxError):
            return fixed
    elif isinstance(counts, list) and any(isinstance(count, float | str) for count in counts):
        fixed["counts"] = [whole(count) for count in counts]
        done["RLE counts as float or text"] += 1
    return fixed


def _polygon(part: Any, done: Counter[str]) -> Points | None:
    """The corners of a part; None where it has fewer than 3 or is none."""
    if _are_triples(part):
        done["third number of each corner left out, always the same"] += 1
        part = [point[:2] for point in part]
    if isinstance(part, list) and part and all(_is_point(point) for point in part):
        done["corners as pairs"] += 1
        part = [number for point in part for number in _pair(point)]
    if not _is_flat(part) or len(part) % 2 or len(part) < 6:
        return None
    numbers = [float(number) for number in part]
    return list(zip(numbers[0::2], numbers[1::2], strict=True))


def _are_points(part: list[Any]) -> bool:
    return len(part) >= 3 and all(_is_point(point) for point in part)


def _are_triples(part: Any) -> bool:
    """Whether these are corners with a third number that is the same for all."""
    if not isinstance(part, list) or not all(isinstance(each, list) and len(each) == 3 for each in part):
        return False
    return len(part) >= 3 and all(_is_point(each[:2]) for each in part) and all(each[2] == part[0][2] for each in part)


def _is_flat(part: Any) -> bool:
    return isinstance(part, list) and len(part) >= 6 and all(_is_number(number) for number in part)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    try:
        return math.isfinite(float(value))
    except (ValueError, OverflowError):
        return False


def _is_point(value: Any) -> bool:
    if isinstance(value, dict):
        return _is_number(value.get("x")) and _is_number(value.get("y"))
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _pair(point: Any) -> tuple[Any, Any]:
    return (point["x"], point["y"]) if isinstance(point, dict) else (point[0], point[1])


def _clipped(polygon: Points, height: int, width: int, done: Counter[str]) -> list[float]:
    """The corners x, y, x, y, ...; cut to the picture where one lies far outside, which pycocotools cannot walk to."""
    if any(not (-width <= x <= 2 * width and -height <= y <= 2 * height) for x, y in polygon):
        done["corners far outside cut to the picture"] += 1
        for axis, limit, sign in ((0, 0, 1), (0, width, -1), (1, 0, 1), (1, height, -1)):
            polygon = _cut(polygon, axis, limit, sign)
    return [number for corner in polygon for number in corner]


def _cut(polygon: Points, axis: int, limit: float, sign: int) -> Points:
    """The part of a polygon on one side of a line along an axis (Sutherland and Hodgman)."""
    kept: Points = []
    for before, corner in zip(polygon[-1:] + polygon[:-1], polygon, strict=True):
        inside, was_inside = (sign * (point[axis] - limit) >= 0 for point in (corner, before))
        if inside != was_inside:
            share = (limit - before[axis]) / (corner[axis] - before[axis])
            kept.append((before[0] + share * (corner[0] - before[0]), before[1] + share * (corner[1] - before[1])))
        if inside:
            kept.append(corner)
    return kept
