"""From a sample to the square picture and masks that one step trains on."""

import math

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from model.training.config import TrainingConfig
from model.training.samples import Sample, decode_masks

_PASTED_MASKS = 4
_LARGEST_PASTED_FRAC = 0.3  # of the donor's picture: what is larger is background more often than not
_PASTE_BLUR_PX = 0.8
_ZOOM_BELOW_FRAC = 0.01  # of the picture: masks to zoom in on
_ZOOMED_FRAC = (0.1, 0.4)  # of the square, the longer side of such a mask's box
MOST_ENLARGED = 4.0  # pixels of the square for one of the picture


def augment(
    sample: Sample,
    *,
    side_px: int,
    max_masks: int,
    scale_range: tuple[float, float],
    flip: bool,
    colour_jitter: float,
    min_mask_frac: float,
    max_mask_frac: float,
    rng: np.random.Generator,
    donor: Sample | None = None,
    pad_rgb: tuple[int, int, int] = (0, 0, 0),
    zoom_prob: float = 0.0,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Large-scale jitter, flip and colour of one picture, with up to `max_masks` of its masks.

    The picture is scaled so that its longest side is `side_px` times a random scale, then cropped where it is larger
    and padded with `pad_rgb` at the bottom and right where it is smaller, as at inference. Masks under `min_mask_frac`
    of the square, or over `max_mask_frac` of the picture, are left out. Segments of a donor, treated alike, are laid on
    top, each with its own mask (copy-paste, arXiv 2012.07177).
    zoom_prob: how often the view of the picture is instead one of a small mask, enlarged until a decoder can show it.
    Returns the picture (S, S, 3) uint8 and the masks (N, S, S) bool, or None if no mask is left.
    """

    def view(of: Sample, most: int, largest: float, focus: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        height, width = of.full_hw
        plain = side_px / max(height, width)
        if focus is None:
            scale = plain * rng.uniform(*scale_range)
            window = _crop_window(height, width, crop_px=side_px / scale, rng=rng)
        else:
            scale, window = _zoomed(of, focus, side_px, at_least=plain, rng=rng)
        mirrored = flip and rng.random() < 0.5
        pixels = _jitter_colour(of.image, colour_jitter, rng) if colour_jitter else of.image
        picture = _place(pixels, window, scale, side_px, mirrored=mirrored, fill=pad_rgb, full_hw=of.full_hw)
        masks = _pick_masks(of, window, scale, side_px, most, mirrored, min_mask_frac, largest, rng, focus)
        return picture, masks

    focus = _small_mask(sample, rng) if zoom_prob and rng.random() < zoom_prob else None
    picture, masks = view(sample, max_masks, max_mask_frac, focus)
    if donor is not None:
        pasted = view(donor, min(_PASTED_MASKS, max_masks), _LARGEST_PASTED_FRAC)
        picture, masks = _paste(picture, masks, *pasted, smallest_px=min_mask_frac * side_px**2)
    return (picture, masks[:max_masks]) if len(masks) else None


def never_shown(
    areas: npt.NDArray[np.float64],
    heights: npt.NDArray[np.float64],
    widths: npt.NDArray[np.float64],
    config: TrainingConfig,
    *,
    side_px: int,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which of N masks no step learns from: those too small, and those too large.

    areas: in pixels of pictures of `heights` and `widths`. side_px: of the model's input. too small: under
    `min_mask_frac` of it even where they are shown largest. too large: over `max_mask_frac` of their picture.
    """
    enlarged = config.scale_range[1] * side_px / np.maximum(heights, widths)
    if config.zoom_prob:
        enlarged = np.maximum(enlarged, MOST_ENLARGED)
    too_large = areas > config.max_mask_frac * heights * widths
    too_small = (areas * enlarged**2 / side_px**2 <= config.min_mask_frac) & ~too_large
    return too_small, too_large


def _paste(
    picture: np.ndarray, masks: np.ndarray, donor: np.ndarray, segments: np.ndarray, *, smallest_px: float
) -> tuple[np.ndarray, np.ndarray]:
    """Lay segments of a donor over a picture, their borders softened, and cut them out of the masks that they cover.

    Masks of which less than half stays visible, or no more than `smallest_px`, are left out.
    """
    covered = segments.any(0)
    if not covered.any():
        return picture, masks
    alpha = cv2.GaussianBlur(covered.astype(np.float32), (0, 0), sigmaX=_PASTE_BLUR_PX)[..., None]
    blended = np.rint(picture * (1 - alpha) + donor * alpha).astype(np.uint8)
    visible = masks & ~covered
    areas = visible.sum((1, 2))
    kept = (areas > smallest_px) & (2 * areas >= masks.sum((1, 2)))
    return blended, np.concatenate([segments, visible[kept]])


def _crop_window(height: int, width: int, *, crop_px: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A random window (top, left, bottom, right) of at most `crop_px` pixels a side."""
    rows, columns = min(height, max(1, round(crop_px))), min(width, max(1, round(crop_px)))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    return top, left, top + rows, left + columns


def _small_mask(sample: Sample, rng: np.random.Generator) -> int | None:
    """The index of one of a sample's small masks, any of them; None where it has none."""
    # One by one: pycocotools 2.0.11 counts the masks of a list in 8 bits.
    areas = np.array([coco_mask.area(mask) for mask in sample.masks])
    small = np.flatnonzero(areas < _ZOOM_BELOW_FRAC * np.prod(sample.full_hw))
    return int(rng.choice(small)) if len(small) else None


def _zoomed(
    sample: Sample, focus: int, side_px: int, *, at_least: float, rng: np.random.Generator
) -> tuple[float, tuple[int, int, int, int]]:
    """A scale, and a window as of `_crop_window` that holds all of a small mask, anywhere in it."""
    height, width = sample.full_hw
    x, y, columns, rows = coco_mask.toBbox(sample.masks[focus])
    wanted = side_px * rng.uniform(*_ZOOMED_FRAC) / max(columns, rows)
    scale = max(at_least, min(wanted, MOST_ENLARGED))
    crop_px = round(side_px / scale)
    top = _start_around(int(y), int(y + rows), min(height, crop_px), height, rng)
    left = _start_around(int(x), int(x + columns), min(width, crop_px), width, rng)
    return scale, (top, left, top + min(height, crop_px), left + min(width, crop_px))


def _start_around(first: int, end: int, length: int, whole: int, rng: np.random.Generator) -> int:
    """Where a window of `length` of `whole` may start so that it holds first..end; at `first` where that is longer."""
    low, high = max(0, end - length), min(first, whole - length)
    return int(rng.integers(low, high + 1)) if low <= high else first


def _place(
    pixels: np.ndarray,
    window: tuple[int, int, int, int],
    scale: float,
    side_px: int,
    *,
    mirrored: bool,
    fill: int | tuple[int, int, int] = 0,
    full_hw: tuple[int, int] | None = None,
) -> np.ndarray:
    """Cut the window out, scale it and put it into the top left of a square of `fill`.

    window, scale: in pixels of the full picture. full_hw: its size, where `pixels` are fewer.
    """
    top, left, bottom, right = window
    rows, columns = (have / full for have, full in zip(pixels.shape, full_hw or pixels.shape[:2], strict=False))
    cut = pixels[
        math.floor(top * rows) : math.ceil(bottom * rows), math.floor(left * columns) : math.ceil(right * columns)
    ]
    size = (min(side_px, max(1, round((right - left) * scale))), min(side_px, max(1, round((bottom - top) * scale))))
    scaled = cv2.resize(cut, size, interpolation=cv2.INTER_AREA if scale < rows else cv2.INTER_LINEAR)
    if mirrored:
        scaled = scaled[:, ::-1]
    square = np.full((side_px, side_px, *pixels.shape[2:]), fill, dtype=pixels.dtype)
    square[: scaled.shape[0], : scaled.shape[1]] = scaled.reshape(*scaled.shape[:2], *pixels.shape[2:])
    return square


def _pick_masks(
    sample: Sample,
    window: tuple[int, int, int, int],
    scale: float,
    side_px: int,
    max_masks: int,
    mirrored: bool,
    min_mask_frac: float,
    max_mask_frac: float,
    rng: np.random.Generator,
    focus: int | None = None,
) -> np.ndarray:
    """Decode masks in random order, a few at a time, until enough of them are usable in the window.

    focus: the mask that comes first.
    """
    order = rng.permutation(len(sample.masks))
    if focus is not None:
        order = np.concatenate([[focus], order[order != focus]])
    largest = max_mask_frac * sample.full_hw[0] * sample.full_hw[1]
    found: list[np.ndarray] = []
    for start in range(0, len(order), max_masks):
        decoded = decode_masks([sample.masks[i] for i in order[start : start + max_masks]])
        for mask in np.moveaxis(decoded, 2, 0):
            if mask.sum() > largest:
                continue
            placed = _place(mask * np.uint8(255), window, scale, side_px, mirrored=mirrored) > 127
            if placed.sum() > min_mask_frac * side_px**2:
                found.append(placed)
            if len(found) == max_masks:
                return np.stack(found)
    return np.stack(found) if found else np.zeros((0, side_px, side_px), dtype=bool)


def _jitter_colour(picture: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Random brightness, contrast and saturation, each by a factor within 1 +- strength."""
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, size=3)
    mixing = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) / 3)
    level = brightness * (1 - contrast) * float(np.mean(cv2.mean(picture)[:3]))
    return cv2.transform(picture, np.column_stack([mixing, np.full(3, level)]))
