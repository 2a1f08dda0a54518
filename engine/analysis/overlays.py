"""Pictures for people: masks drawn over their photograph, and many such pictures on one sheet."""

import colorsys
import io
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from engine import rle as rle_codec
from engine.places import Place, place
from schemas.errors import InputError
from schemas.rle import Rle

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

FILL_OPACITY = 0.5
# Hues a golden section apart never come close to one another, however many there are.
_GOLDEN_SECTION = 0.6180339887
# (saturation, value) of colours that follow one another: neighbours in the order differ in more than their hue.
_TONES = ((0.85, 1.0), (0.55, 1.0), (0.95, 0.78))
_PAPER = (250, 249, 246)
_INK = (38, 38, 42)


def distinct_colors(count: int, *, seed: int = 0) -> Pixels:
    """(count, 3) uint8 RGB colours that a person tells apart; the same for the same seed."""
    first_hue = (0.58 + seed * 0.1371) % 1.0
    hues = (first_hue + np.arange(count) * _GOLDEN_SECTION) % 1.0
    rgb = [colorsys.hsv_to_rgb(hue, *_TONES[i % len(_TONES)]) for i, hue in enumerate(hues)]
    return np.round(np.asarray(rgb).reshape(count, 3) * 255).astype(np.uint8)


def draw_masks(image: Pixels, masks: Sequence[Rle | Mask], seed: int = 0, *, opacity: float = FILL_OPACITY) -> Pixels:
    """Fill each mask with a colour of its own, outline it thinly, and put smaller masks over larger ones.

    image: (H, W, 3) RGB, not changed. masks: RLEs or (H, W) bool arrays; empty ones leave no trace.
    opacity: of the fill, 0 (outlines only) to 1.
    Returns a new (H, W, 3) RGB picture. Raises InputError if a mask has another size than the image.
    """
    decoded = [_decoded(mask, image.shape[:2]) for mask in masks]
    areas = np.array([np.count_nonzero(mask) for mask in decoded], dtype=np.int64)
    colors = distinct_colors(len(decoded), seed=seed)
    on_top = np.zeros(image.shape[:2], dtype=np.int32)  # 0 where there is none, else 1 + its place in the order
    largest_first = [int(i) for i in np.argsort(-areas, kind="stable") if areas[i] > 0]
    # One colour a pixel, blended once: a part on a whole keeps a colour that can be told from the whole's.
    for place_in_order, index in enumerate(largest_first, start=1):
        np.copyto(on_top, place_in_order, where=decoded[index])
    fill = np.concatenate([np.zeros((1, 3), dtype=np.uint8), colors])[on_top]
    drawn = np.where((on_top > 0)[..., None], _blend(image, fill, opacity), image)
    for index, color in zip(largest_first, colors, strict=False):
        _outline(drawn, decoded[index], color)
    return drawn


def contact_sheet(tiles: Sequence[tuple[Pixels, str]], columns: int, *, tile_px: int = 480, gap_px: int = 16) -> Pixels:
    """Lay pictures out in rows, each scaled to fit tile_px x tile_px, with its title underneath.

    tiles: ((h, w, 3) RGB, title); titles too long for a tile end in an ellipsis. A row is as high as its highest tile.
    Returns an (H, W, 3) RGB picture. Raises InputError without tiles or columns.
    """
    if not tiles or columns < 1:
        raise InputError(f"a contact sheet needs tiles and columns, found {len(tiles)} tiles and {columns} columns")
    columns = min(columns, len(tiles))
    pictures = [(_fit(image, tile_px), title) for image, title in tiles]
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    font = _font(max(tile_px // 26, 11))
    title_px = round(font.size * 1.9)
    heights = [max(picture.height for picture, _ in row) + title_px for row in rows]
    width = columns * tile_px + (columns + 1) * gap_px
    sheet = Image.new("RGB", (width, sum(heights) + (len(rows) + 1) * gap_px), _PAPER)
    pen = ImageDraw.Draw(sheet)
    top = gap_px
    for row, height in zip(rows, heights, strict=True):
        for column, (picture, title) in enumerate(row):
            left = gap_px + column * (tile_px + gap_px)
            x = left + (tile_px - picture.width) // 2
            y = top + (height - title_px - picture.height) // 2
            sheet.paste(picture, (x, y))
            below = (left + tile_px // 2, top + height - title_px // 2)
            pen.text(below, _shortened(title, font, tile_px), fill=_INK, font=font, anchor="mm")
        top += height + gap_px
    return np.asarray(sheet)


def save_png(image: Pixels, file: Path | Place, *, text: Mapping[str, str] | None = None) -> None:
    """Write an (H, W, 3) RGB or (H, W) grey picture; the file appears only when it is whole. Makes missing folders.

    text: of the file's text chunks, by keyword.
    """
    encoded, chunks = io.BytesIO(), PngInfo()
    for keyword, value in (text or {}).items():
        chunks.add_text(keyword, value)
    Image.fromarray(image).save(encoded, format="PNG", pnginfo=chunks)
    target = place(file) if isinstance(file, Path) else file
    target.write(encoded.getvalue())


def _decoded(mask: Rle | Mask, size: tuple[int, ...]) -> Mask:
    decoded = rle_codec.decode(mask) if isinstance(mask, Rle) else np.asarray(mask, dtype=bool)
    if decoded.shape != size:
        raise InputError(f"a mask of size {decoded.shape} cannot be drawn on an image of size {tuple(size)}")
    return decoded


def _blend(image: Pixels, fill: Pixels, opacity: float) -> Pixels:
    return cv2.addWeighted(image, 1.0 - opacity, fill, opacity, 0.0).astype(np.uint8, copy=False)


def _outline(drawn: Pixels, mask: Mask, color: Pixels) -> None:
    """Draw the mask's border, holes included: a light line, so that it shows on the fill of the same colour."""
    thickness = max(1, round(max(drawn.shape) / 900))
    light = tuple(int(c) for c in (color.astype(np.uint16) + 2 * 255) // 3)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    y, x = int(rows[0]), int(columns[0])
    part = mask[y : rows[-1] + 1, x : columns[-1] + 1].astype(np.uint8)
    contours, _ = cv2.findContours(part, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE, offset=(x, y))
    cv2.drawContours(drawn, contours, -1, light, thickness, cv2.LINE_AA)


def _fit(image: Pixels, tile_px: int) -> Image.Image:
    picture = Image.fromarray(image)
    scale = tile_px / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _shortened(title: str, font: ImageFont.FreeTypeFont, width_px: int) -> str:
    title = " ".join(title.split())
    if font.getlength(title) <= width_px:
        return title
    kept = len(title)
    while kept > 0 and font.getlength(title[:kept] + "…") > width_px:
        kept -= 1
    return title[:kept].rstrip() + "…"


@cache
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    # The font that comes with matplotlib, which is found and not imported, since that takes a moment: no system font is
    # needed, and it has letters beyond ASCII.
    file = distribution("matplotlib").locate_file("matplotlib/mpl-data/fonts/ttf/DejaVuSans.ttf")
    return ImageFont.truetype(str(file), size_px)
