"""Masks as regions of Label Studio and back, and between the picture that annotators see and the one it was made of.

Pictures are scaled down for the browser. A pixel of the full picture belongs to the pixel of the shown one that its
centre lies in; scaled down, a mask takes the full pixel under the centre of each shown one. So a mask that was scaled
up and down again is the same, and what nobody touched keeps the pixels that it had in full.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from engine import rle as rle_codec
from engine.labeling.brush import brush_to_rle, encode_brush, rle_to_brush
from engine.labeling.contexts import OUR_TAGS, Tags
from schemas.labeling import META
from schemas.rle import Rle

Mask = npt.NDArray[np.bool_]
Hw = tuple[int, int]


def brush_region(
    mask: Rle | Mask,
    *,
    region_id: str,
    score: float | None = None,
    meta: dict[str, Any] | None = None,
    tags: Tags = OUR_TAGS,
) -> dict[str, Any]:
    """A region that shows a mask of the size of the shown picture.

    mask: an Rle, or (H, W) bool. meta: our own data, kept under `META`. tags: names in the labelling config.
    """
    height, width = (mask.height, mask.width) if isinstance(mask, Rle) else mask.shape
    brush = rle_to_brush(mask) if isinstance(mask, Rle) else encode_brush(mask)
    region: dict[str, Any] = {
        "id": region_id,
        "type": "brushlabels",
        "from_name": tags.brush,
        "to_name": tags.image,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": brush, "brushlabels": [tags.label]},
    }
    if score is not None:
        region["score"] = score
    if meta is not None:
        region["meta"] = {META: meta}
    return region


def region_mask(region: dict[str, Any], *, shown_hw: Hw) -> Rle:
    """The mask of a brush region, of the size of the shown picture.

    Raises InputError if it is damaged or of another size.
    """
    value = region.get("value") or {}
    return brush_to_rle(value.get("rle") or (), height=shown_hw[0], width=shown_hw[1])


def shown_hw(full_hw: Hw, *, longest_side_px: int) -> Hw:
    """Size of a picture for the browser: no side longer than `longest_side_px`, never larger than it is."""
    scale = min(1.0, longest_side_px / max(full_hw))
    height, width = (max(1, round(side * scale)) for side in full_hw)
    return height, width


def scale_down(mask: Rle, shown: Hw) -> Rle:
    """A mask of the full picture as it is shown."""
    full = (mask.height, mask.width)
    if full == shown:
        return mask
    rows, columns = (_centres(*sides) for sides in zip(full, shown, strict=True))
    return rle_codec.encode(rle_codec.decode(mask)[np.ix_(rows, columns)])


def scale_up(mask: Rle, full: Hw) -> Rle:
    """A mask of the shown picture, for the full one."""
    if (mask.height, mask.width) == full:
        return mask
    return rle_codec.encode(_enlarged(rle_codec.decode(mask), full))


def with_edits(full_mask: Rle, before: Rle, after: Rle) -> Rle:
    """A mask of the full picture that was shown as `before` and came back as `after`: edits apply where they differ."""
    old, new = rle_codec.decode(before), rle_codec.decode(after)
    if old.shape == (full_mask.height, full_mask.width):
        return after
    full = (full_mask.height, full_mask.width)
    changed = _enlarged(old != new, full)
    return rle_codec.encode(np.where(changed, _enlarged(new, full), rle_codec.decode(full_mask)))


def _enlarged(mask: Mask, full: Hw) -> Mask:
    rows, columns = (_owners(*sides) for sides in zip(full, mask.shape, strict=True))
    enlarged: Mask = mask[np.ix_(rows, columns)]
    return enlarged


@lru_cache(maxsize=64)
def _owners(full: int, shown: int) -> npt.NDArray[np.int64]:
    """For each of `full` pixels the one of `shown` that its centre lies in. Whole numbers: no rounding."""
    return (2 * np.arange(full) + 1) * shown // (2 * full)


@lru_cache(maxsize=64)
def _centres(full: int, shown: int) -> npt.NDArray[np.int64]:
    """For each of `shown` pixels the one of `full` that lies under its centre."""
    return (2 * np.arange(shown) + 1) * full // (2 * shown)
