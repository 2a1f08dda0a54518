"""The pictures that people judge at the gates: one mask in five views, and all masks of a picture at once.

Both are drawn for a browser, with a longest side of at most 1024 px. Masks are drawn at the size at which they are
seen, so that lines stay thin when a small mask is enlarged.
"""

import io
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from engine import rle as rle_codec
from engine.analysis.overlays import Mask, Pixels, contact_sheet, draw_masks
from schemas.errors import InputError
from schemas.rle import Rle

LONGEST_PX = 1024
JPEG_QUALITY = 90
# Three small views above, two large ones below: each row is LONGEST_PX wide, both together are never higher.
_GAP_PX = 16
_SMALL_PX = (LONGEST_PX - 4 * _GAP_PX) // 3
_LARGE_PX = (LONGEST_PX - 3 * _GAP_PX) // 2
# A part that is so many times wider than high is enlarged over the whole width, the two views one below the other.
_WIDE = 4
_WIDE_PX = LONGEST_PX - 2 * _GAP_PX

ZOOM_MARGIN_FRAC = 0.25  # of the mask's longer side, on each side of it
ZOOM_SIDE_PX = 64  # the least that is shown: a mask of few pixels says nothing without what is around it
# Above this share of the picture the zoom needs no frame that shows where it is.
_FRAMED_FRAC = 0.6

_FILL_OPACITY = 0.4
_CROSS_PX = 17
_ALL_MASKS_OPACITY = 0.55
# One of these stands out from any photograph; which one is found for each.
_COLORS = ((255, 40, 160), (0, 225, 255), (255, 215, 0), (80, 255, 60), (255, 110, 0))
_DARK, _LIGHT = (20, 20, 24), (255, 255, 255)


def verification_view(
    pixels: Pixels, mask: Rle | Mask, *, points_xy: Sequence[tuple[float, float]] = ()
) -> Image.Image:
    """One mask in the five views of the paper's human review (SAM paper, appendix G), each with its title.

    pixels: (H, W, 3) RGB. mask: RLE or (H, W) bool. points_xy: of its prompt, each a cross in the first view. Above:
    the picture with the mask's outline, the same with the mask filled, the mask alone. Below, enlarged: the part around
    the mask, and the mask over it.
    Returns an RGB picture, longest side at most 1024 px. Raises InputError if the mask is empty or of another size.
    """
    shape = _decoded(mask, pixels)
    x0, y0, x1, y1 = box = zoom_box(shape)
    part, part_shape = pixels[y0:y1, x0:x1], shape[y0:y1, x0:x1]
    whole, whole_shape = _scaled(pixels, _SMALL_PX), _scaled_mask(shape, _SMALL_PX)
    columns, near_px = (1, _WIDE_PX) if x1 - x0 >= _WIDE * (y1 - y0) else (2, _LARGE_PX)
    near, near_shape = _scaled(part, near_px), _scaled_mask(part_shape, near_px)
    color = _contrasting_color(near)
    outlined, filled = _outlined(whole, whole_shape, color), _filled(whole, whole_shape, color)
    if max((x1 - x0) / shape.shape[1], (y1 - y0) / shape.shape[0]) < _FRAMED_FRAC:
        _frame(outlined, box, _SMALL_PX / max(shape.shape))
    for x, y in points_xy:
        _cross(outlined, ((x + 0.5) * _SMALL_PX / max(shape.shape), (y + 0.5) * _SMALL_PX / max(shape.shape)))
    above = [
        (outlined, "Picture"),
        (filled, "Overlay"),
        (_alone(_scaled_mask(part_shape, _SMALL_PX), color), f"Mask alone, {_extent(shape)}"),
    ]
    below = [
        (near, f"Zoom {near_px / max(part_shape.shape):.2g}×"),
        (_filled(near, near_shape, color), "Zoom, overlay"),
    ]
    rows = [
        contact_sheet(above, 3, tile_px=_SMALL_PX, gap_px=_GAP_PX)[:-_GAP_PX],
        contact_sheet(below, columns, tile_px=near_px, gap_px=_GAP_PX),
    ]
    return Image.fromarray(np.concatenate(rows))


def exhaustivity_view(pixels: Pixels, masks: Sequence[Rle | Mask], *, seed: int = 0) -> Image.Image:
    """All masks of a picture over it: each in a colour of its own, thinly outlined; what has no mask stays as it is.

    pixels: (H, W, 3) RGB. masks: RLEs or (H, W) bool; empty ones leave no trace. seed: of the colours.
    Photographs lose their own colours under the masks, so that a coloured object without a mask is not taken for one
    that has a mask. Returns an RGB picture, scaled down to a longest side of 1024 px where it is larger.
    Raises InputError if a mask is of another size.
    """
    longest = min(LONGEST_PX, max(pixels.shape[:2]))
    seen = _scaled(pixels, longest)
    shapes = [_scaled_mask(_of_size(mask, pixels), longest) for mask in masks]
    covered = np.zeros(seen.shape[:2], dtype=bool)
    for shape in shapes:
        covered |= shape
    grey = cv2.cvtColor(cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return Image.fromarray(
        draw_masks(np.where(covered[..., None], grey, seen), shapes, seed, opacity=_ALL_MASKS_OPACITY)
    )


def jpeg_bytes(picture: Image.Image) -> bytes:
    """The picture as a JPEG file; colours are not subsampled, or thin coloured lines would blur."""
    encoded = io.BytesIO()
    picture.save(encoded, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    return encoded.getvalue()


def zoom_box(mask: Mask) -> tuple[int, int, int, int]:
    """XYXY (ends exclusive) of the part of a picture to enlarge: the mask's box and a margin around it.

    mask: (H, W) bool, not empty. The part is a square of at least 64 px, moved into the picture and cut only where the
    picture itself is smaller.
    """
    x0, y0, x1, y1 = rle_codec.box(rle_codec.encode(mask))
    side = max(ZOOM_SIDE_PX, round(max(x1 - x0, y1 - y0) * (1 + 2 * ZOOM_MARGIN_FRAC)))
    (left, right), (top, bottom) = _span(x0, x1, side, mask.shape[1]), _span(y0, y1, side, mask.shape[0])
    return left, top, right, bottom


def _span(first: int, end: int, side: int, limit: int) -> tuple[int, int]:
    side = min(side, limit)
    start = min(max((first + end - side) // 2, 0), limit - side)
    return start, start + side


def _decoded(mask: Rle | Mask, pixels: Pixels) -> Mask:
    shape = _of_size(mask, pixels)
    if not shape.any():
        raise InputError("an empty mask cannot be shown for verification")
    return shape


def _of_size(mask: Rle | Mask, pixels: Pixels) -> Mask:
    shape = rle_codec.decode(mask) if isinstance(mask, Rle) else np.asarray(mask, dtype=bool)
    if shape.shape != pixels.shape[:2]:
        raise InputError(f"a mask of size {shape.shape} cannot be shown on an image of size {pixels.shape[:2]}")
    return shape


def _size(shape: tuple[int, ...], longest_px: int) -> tuple[int, int]:
    """(width, height) of something of `shape` (H, W, ...) when its longest side is longest_px."""
    scale = longest_px / max(shape[:2])
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def _scaled(pixels: Pixels, longest_px: int) -> Pixels:
    scaled = Image.fromarray(pixels).resize(_size(pixels.shape, longest_px), Image.Resampling.LANCZOS)
    return np.array(scaled)


def _scaled_mask(mask: Mask, longest_px: int) -> Mask:
    """The mask at another size: pixels of which at least half is covered; any part of it, if that would be none."""
    size = _size(mask.shape, longest_px)
    how = cv2.INTER_AREA if longest_px < max(mask.shape) else cv2.INTER_LINEAR
    covered = cv2.resize(mask.astype(np.float32), size, interpolation=how)
    half: Mask = covered >= 0.5
    return half if half.any() else covered > 0


def _contrasting_color(pixels: Pixels) -> tuple[int, int, int]:
    """The colour that the picture has least of: the tenth of the pixels that is most like it is least like it."""
    small = cv2.resize(pixels, (48, 48), interpolation=cv2.INTER_AREA).reshape(-1, 1, 3)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(np.float32)
    colors = cv2.cvtColor(np.array([_COLORS], dtype=np.uint8), cv2.COLOR_RGB2LAB)[0].astype(np.float32)
    distances = np.linalg.norm(lab[None] - colors[:, None], axis=-1)
    return _COLORS[int(np.quantile(distances, 0.1, axis=1).argmax())]


def _outlined(picture: Pixels, mask: Mask, color: tuple[int, int, int]) -> Pixels:
    """A copy with the mask's border, holes included: a coloured line on a dark one, to be seen on any ground."""
    drawn = picture.copy()
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, contours, -1, _DARK, 3, cv2.LINE_AA)
    cv2.drawContours(drawn, contours, -1, color, 1, cv2.LINE_AA)
    return drawn


def _filled(picture: Pixels, mask: Mask, color: tuple[int, int, int]) -> Pixels:
    fill = np.full_like(picture, color)
    tinted = cv2.addWeighted(picture, 1 - _FILL_OPACITY, fill, _FILL_OPACITY, 0.0)
    return _outlined(np.where(mask[..., None], tinted, picture), mask, color)


def _frame(drawn: Pixels, box_xyxy: tuple[int, int, int, int], scale: float) -> None:
    x0, y0, x1, y1 = (round(side * scale) for side in box_xyxy)
    for color, thickness in ((_DARK, 3), (_LIGHT, 1)):
        cv2.rectangle(drawn, (x0, y0), (x1 - 1, y1 - 1), color, thickness)


def _cross(drawn: Pixels, center_xy: tuple[float, float]) -> None:
    center = (int(center_xy[0]), int(center_xy[1]))
    for color, thickness in ((_DARK, 5), (_LIGHT, 2)):
        cv2.drawMarker(drawn, center, color, cv2.MARKER_CROSS, _CROSS_PX, thickness, cv2.LINE_AA)


def _alone(mask: Mask, color: tuple[int, int, int]) -> Pixels:
    return np.where(mask[..., None], color, _DARK).astype(np.uint8)


def _extent(mask: Mask) -> str:
    x0, y0, x1, y1 = rle_codec.box(rle_codec.encode(mask))
    return f"{x1 - x0} × {y1 - y0} px"
