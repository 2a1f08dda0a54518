"""The first look at a release: `preview.jpg`, some of its pictures, as they are released and with their masks."""

import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from engine import rle as rle_codec
from engine.analysis.overlays import contact_sheet, draw_masks
from engine.places import Place
from engine.release.reader import PictureOfRelease, pictures_of
from engine.release.scaling import Scaling
from schemas.release import ReleasedTar
from schemas.rle import Rle

Pixels = npt.NDArray[np.uint8]
PREVIEW_FILE = "preview.jpg"
PICTURES = 8
_COLUMNS, _TILE_PX, _QUALITY = 4, 384, 88
_GLANCED_AT = 4  # pictures of a tar, at most, from which those with most masks are taken


def preview_of(folder: Place, tars: Sequence[ReleasedTar]) -> bytes:
    """A JPEG sheet of at most `PICTURES` pictures, each beside itself with its masks drawn.

    They come from tars all over the release, from the beginning of each, so little is read. Their order is the
    release's. Raises InputError where one cannot be read.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        tiles = [tile for pair in pool.map(_tiles, _chosen(folder, tars)) for tile in pair]
    encoded = io.BytesIO()
    sheet = contact_sheet(tiles, _COLUMNS, tile_px=_TILE_PX)
    Image.fromarray(sheet).save(encoded, format="JPEG", quality=_QUALITY)
    return encoded.getvalue()


def _tiles(picture: PictureOfRelease) -> list[tuple[Pixels, str]]:
    pixels, masks = _scaled(picture)
    count = f"{len(masks)} mask{'s' * (len(masks) != 1)}"
    return [(pixels, picture.name), (draw_masks(pixels, masks), count)]


def _scaled(picture: PictureOfRelease) -> tuple[Pixels, list[npt.NDArray[np.bool_]]]:
    """As large as a tile. A mask that is too thin to be seen there is empty."""
    height, width = picture.height, picture.width
    scale = _TILE_PX / max(height, width)
    pixels = picture.pixels(longest_px=2 * _TILE_PX)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    masks = [_mask(mask.rle, *size) for mask in picture.masks()]
    return np.asarray(cv2.resize(pixels, size, interpolation=how), dtype=np.uint8), masks


def _mask(rle: Rle, width: int, height: int) -> npt.NDArray[np.bool_]:
    """At the size of a tile; smaller ones are scaled on their run lengths, in a hundredth of the time."""
    if height <= rle.height and width <= rle.width:
        scaled = Scaling(rle.height, rle.width, height, width).mask(rle)
        return np.zeros((height, width), dtype=bool) if scaled is None else rle_codec.decode(scaled)
    pixels = rle_codec.decode(rle).astype(np.uint8)
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_NEAREST) > 0)


def _chosen(folder: Place, tars: Sequence[ReleasedTar]) -> Iterator[PictureOfRelease]:
    filled = [tar for tar in tars if tar.images]
    used = [filled[place * len(filled) // PICTURES] for place in range(PICTURES)] if len(filled) > PICTURES else filled
    for tar, share in zip(used, _shares([tar.images for tar in used]), strict=True):
        first = list(islice(pictures_of(folder, tar), _GLANCED_AT * share))
        best = sorted(range(len(first)), key=lambda place: (-len(first[place].mask_rows), place))[:share]
        yield from (first[place] for place in sorted(best))


def _shares(there: Sequence[int]) -> list[int]:
    """How many pictures to take of each of so many, as equal as can be, `PICTURES` in all or all there are."""
    shares = [0] * len(there)
    for _ in range(min(PICTURES, sum(there))):
        poorest = min((share, place) for place, share in enumerate(shares) if share < there[place])
        shares[poorest[1]] += 1
    return shares
