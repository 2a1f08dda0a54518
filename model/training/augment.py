"""From a sample to the square picture and masks that one step trains on."""

import cv2
import numpy as np

from model.training.samples import Sample, decode_masks


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
) -> tuple[np.ndarray, np.ndarray] | None:
    """Large-scale jitter, flip and colour of one picture, with up to `max_masks` of its masks.

    The picture is scaled so that its longest side is `side_px` times a random scale, then cropped where it is larger
    and padded at the bottom and right where it is smaller, as at inference. Masks under `min_mask_frac` of the square,
    or over `max_mask_frac` of the picture, are left out.
    Returns the picture (S, S, 3) uint8 and the masks (N, S, S) bool, or None if no mask is left.
    """
    height, width = sample.image.shape[:2]
    scale = side_px / max(height, width) * rng.uniform(*scale_range)
    window = _crop_window(height, width, crop_px=side_px / scale, rng=rng)
    mirrored = flip and rng.random() < 0.5
    picture = _place(sample.image, window, scale, side_px, mirrored=mirrored)
    masks = _pick_masks(sample, window, scale, side_px, max_masks, mirrored, min_mask_frac, max_mask_frac, rng)
    if not len(masks):
        return None
    if colour_jitter:
        picture = _jitter_colour(picture, colour_jitter, rng)
    return picture, masks


def _crop_window(height: int, width: int, *, crop_px: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A random window (top, left, bottom, right) of at most `crop_px` pixels a side."""
    rows, columns = min(height, max(1, round(crop_px))), min(width, max(1, round(crop_px)))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    return top, left, top + rows, left + columns


def _place(
    pixels: np.ndarray, window: tuple[int, int, int, int], scale: float, side_px: int, *, mirrored: bool
) -> np.ndarray:
    """Cut the window out, scale it and put it into the top left of a square of zeros."""
    top, left, bottom, right = window
    cut = pixels[top:bottom, left:right]
    size = (min(side_px, max(1, round((right - left) * scale))), min(side_px, max(1, round((bottom - top) * scale))))
    scaled = cv2.resize(cut, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    if mirrored:
        scaled = scaled[:, ::-1]
    square = np.zeros((side_px, side_px, *pixels.shape[2:]), dtype=pixels.dtype)
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
) -> np.ndarray:
    """Decode masks in random order, a few at a time, until enough of them are usable in the window."""
    order = rng.permutation(len(sample.masks))
    largest = max_mask_frac * sample.image.shape[0] * sample.image.shape[1]
    found: list[np.ndarray] = []
    for start in range(0, len(order), max_masks):
        decoded = decode_masks([sample.masks[i] for i in order[start : start + max_masks]])
        for mask in np.moveaxis(decoded, 2, 0):
            if mask.sum() > largest:
                continue
            placed = _place(mask * np.uint8(255), window, scale, side_px, mirrored=mirrored) > 127
            if placed.sum() > max(min_mask_frac * side_px**2, 0):
                found.append(placed)
            if len(found) == max_masks:
                return np.stack(found)
    return np.stack(found) if found else np.zeros((0, side_px, side_px), dtype=bool)


def _jitter_colour(picture: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Random brightness, contrast and saturation, each by a factor within 1 +- strength."""
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, size=3)
    values = picture.astype(np.float32) * brightness
    grey = values.mean(axis=2, keepdims=True)
    values = grey + (values - grey) * saturation
    values = values.mean() + (values - values.mean()) * contrast
    return np.clip(values, 0, 255).astype(np.uint8)
