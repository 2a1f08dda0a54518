"""The first look at a release: `preview.jpg`, some of its pictures, as they are released and with their masks."""

import io
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import PurePath

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from engine import rle as rle_codec
from engine.analysis.overlays import contact_sheet, draw_masks
from engine.images import decode_image_file
from engine.places import Place
from engine.release.reader import cannot_be_read, read_index, tar_members
from engine.release.scaling import Scaling
from schemas.mask import Mask
from schemas.release import IMAGE_INDEX, ReleasedTar
from schemas.rle import Rle
from schemas.sa1b import Sa1bRecord, parse_record

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


def _tiles(picture: tuple[bytes, Sa1bRecord]) -> list[tuple[Pixels, str]]:
    jpeg, record = picture
    pixels, masks = _scaled(jpeg, record)
    count = f"{len(masks)} mask{'s' * (len(masks) != 1)}"
    return [(pixels, PurePath(record.image.file_name).stem), (draw_masks(pixels, masks), count)]


def _scaled(jpeg: bytes, record: Sa1bRecord) -> tuple[Pixels, list[npt.NDArray[np.bool_]]]:
    """As large as a tile. A mask that is too thin to be seen there is empty."""
    image = record.image
    scale = _TILE_PX / max(image.height, image.width)
    pixels = decode_image_file(jpeg, max_megapixels=math.inf, name=image.file_name, longest_px=2 * _TILE_PX).pixels
    width, height = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    rles = [Mask.from_sa1b(annotation).rle for annotation in record.annotations]
    shown = np.asarray(cv2.resize(pixels, (width, height), interpolation=how), dtype=np.uint8)
    return shown, _masks(rles, Scaling(image.height, image.width, height, width))


def _masks(rles: list[Rle], scaling: Scaling) -> list[npt.NDArray[np.bool_]]:
    """At the size of a tile; smaller ones are scaled on their run lengths, in a hundredth of the time."""
    size = scaling.height, scaling.width
    if scaling.height <= scaling.source_height and scaling.width <= scaling.source_width:
        return [np.zeros(size, dtype=bool) if rle is None else rle_codec.decode(rle) for rle in scaling.masks(rles)]
    pixels = [rle_codec.decode(rle).astype(np.uint8) for rle in rles]
    return [np.asarray(cv2.resize(each, size[::-1], interpolation=cv2.INTER_NEAREST) > 0) for each in pixels]


def _chosen(folder: Place, tars: Sequence[ReleasedTar]) -> Iterator[tuple[bytes, Sa1bRecord]]:
    filled = [tar for tar in tars if tar.images]
    used = [filled[place * len(filled) // PICTURES] for place in range(PICTURES)] if len(filled) > PICTURES else filled
    for tar, share in zip(used, _shares([tar.images for tar in used]), strict=True):
        with cannot_be_read(folder, tar):
            yield from _best(folder, tar, share)


def _best(folder: Place, tar: ReleasedTar, share: int) -> Iterator[tuple[bytes, Sa1bRecord]]:
    """Of the first pictures of a tar those with most masks, in their order there."""
    rows = {row["file_name"]: row["masks"] for row in read_index(folder / tar.image_index.name, IMAGE_INDEX)}
    members = list(islice(tar_members(folder / tar.tar.name), _GLANCED_AT * share))
    masks = [rows[f"{name}.jpg"] for name, _, _ in members]
    for place in sorted(sorted(range(len(members)), key=lambda place: (-masks[place], place))[:share]):
        name, jpeg, text = members[place]
        yield jpeg, parse_record(text, name=f"{folder / tar.tar.name}: {name}.json")


def _shares(there: Sequence[int]) -> list[int]:
    """How many pictures to take of each of so many, as equal as can be, `PICTURES` in all or all there are."""
    shares = [0] * len(there)
    for _ in range(min(PICTURES, sum(there))):
        poorest = min((share, place) for place, share in enumerate(shares) if share < there[place])
        shares[poorest[1]] += 1
    return shares
