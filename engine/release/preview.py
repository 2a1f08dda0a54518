"""What a release would blur, on a sheet for people: some pictures of a workspace, blurred, each part in a frame."""

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from engine.analysis.overlays import contact_sheet
from engine.places import Place
from engine.progress import Progress
from engine.release.privacy import Anonymizer, PrivateRegion
from engine.release.public_names import public_name
from engine.release.scaling import Scaling
from engine.store import Store
from schemas.config import ReleaseConfig
from schemas.errors import InputError
from schemas.image_ids import ImageIds

Pixels = npt.NDArray[np.uint8]
_COLUMNS, _TILE_PX = 4, 480
_FRAMES = ((255, 60, 60), (60, 140, 255), (250, 190, 0), (40, 200, 90))  # of detectors, in their order


@dataclass(frozen=True)
class Preview:
    """pictures: on the sheet. regions: how many each detector found on them."""

    pictures: int
    regions: dict[str, int]


def write_preview(
    store: Store,
    output: Place,
    *,
    config: ReleaseConfig | None = None,
    pictures: int = 40,
    seed: int = 0,
    progress: Progress | None = None,
) -> Preview:
    """Write a JPEG sheet of pictures drawn at random by `seed`, those with most to blur first.

    config: the workspace's own where None; its detectors are asked also where `blur` is off. Each part that would be
    blurred is, with its score beside its frame. progress is called with ("preview", done, total) pictures.
    Raises InputError for a workspace without pictures, and for a picture that is gone.
    """
    config = config or store.files.settings().release
    anonymizer = Anonymizer(config.blur_detectors)
    image_ids = ImageIds(np.sort(store.image_index().ids))
    if not image_ids:
        raise InputError(f"{store.files}: no pictures to look at; add some with: sam-engine ingest")
    chosen = sorted(random.Random(seed).sample(image_ids, min(pictures, len(image_ids))))
    tiles: list[tuple[Pixels, str, int]] = []
    counts = dict.fromkeys(anonymizer.detectors, 0)
    for done, image_id in enumerate(chosen, start=1):
        drawn, found = _looked_at(store, image_id, config, anonymizer)
        row = store.read_image("images", image_id).to_pylist()[0]
        tiles.append((drawn, f"{public_name(row['source'])}: {len(found)} found", len(found)))
        for region in found:
            counts[region.detector] += 1
        if progress is not None:
            progress("preview", done, len(chosen))
    tiles.sort(key=lambda tile: -tile[2])
    sheet = contact_sheet([(drawn, title) for drawn, title, _ in tiles], _COLUMNS, tile_px=_TILE_PX)
    encoded = io.BytesIO()
    Image.fromarray(sheet).save(encoded, format="JPEG", quality=90)
    output.write(encoded.getvalue())
    return Preview(len(chosen), counts)


def _looked_at(
    store: Store, image_id: int, config: ReleaseConfig, anonymizer: Anonymizer
) -> tuple[Pixels, list[PrivateRegion]]:
    """A picture as it would be released, as large as a tile is, with frames; and what was found."""
    pixels = store.load_image(image_id)
    height, width, _ = pixels.shape
    scaling = Scaling.to_shortest_side(height, width, shortest_side_px=config.shortest_side_px)
    hidden, found = anonymizer(np.asarray(scaling.picture(Image.fromarray(pixels))))
    return _framed(hidden, found, anonymizer.detectors), found


def _framed(pixels: Pixels, found: Sequence[PrivateRegion], detectors: Sequence[str]) -> Pixels:
    """As large as a tile, so that frames and figures are drawn as large on every picture."""
    height, width, _ = pixels.shape
    scale = _TILE_PX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    drawn = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    for region in found:
        color = _FRAMES[detectors.index(region.detector) % len(_FRAMES)]
        x0, y0, x1, y1 = (round(value * scale) for value in region.box)
        cv2.rectangle(drawn, (x0, y0), (x1 - 1, y1 - 1), color, 1)
        below = min(y1 + 10, size[1] - 2)
        cv2.putText(drawn, f"{region.score:.2f}", (x0, below), cv2.FONT_HERSHEY_SIMPLEX, 0.35, color, 1, cv2.LINE_AA)
    return np.asarray(drawn, dtype=np.uint8)
