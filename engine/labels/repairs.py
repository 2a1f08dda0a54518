"""What of a broken record is safe to repair: where only one meaning is possible. Each repair has a name and is counted.

Whole files are tried as they are first, so a clean file costs nothing and its masks stay byte for byte the same.
"""

import ast
import math
from collections import Counter
from typing import Any

from pycocotools import mask as coco_mask

from engine import rle as rle_codec
from schemas.errors import InputError
from schemas.rle import Rle

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
    if _is_flat(segmentation) or (len(segmentation) >= 3 and all(_is_point(part) for part in segmentation)):
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
    if isinstance(part, list) and part and all(_is_point(point) for point in part):
        done["corners as pairs"] += 1
        part = [number for point in part for number in _pair(point)]
    if not _is_flat(part) or len(part) % 2 or len(part) < 6:
        return None
    numbers = [float(number) for number in part]
    return list(zip(numbers[0::2], numbers[1::2], strict=True))


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
