"""A release of crowded pictures: hundreds of nested masks each, as SA-1B has at worst."""

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from engine import rle
from engine.places import place
from engine.release.records import ReleasedImage
from engine.release.tars import write_release_tar
from schemas.config import ReleaseConfig
from schemas.mask import Mask, Prompt
from schemas.release import FORMAT, IMAGE_INDEX, MANIFEST_FILE, MASK_INDEX, Manifest
from schemas.sa1b import Sa1bRecord, image_record
from tests.engine.release.index_rows import blank_row


def write_crowded_release(folder: Path, *, pictures: int, masks: int, height: int = 1500, width: int = 2250) -> None:
    """A release whose masks are discs with ragged borders, of many sizes, some whole in others."""
    images = _images(pictures, masks, height, width)
    tar = write_release_tar(place(folder), "sa_000000.tar", images)
    manifest = Manifest(
        format=FORMAT,
        name=folder.name,
        key=f"{pictures:08x}{masks:08x}",
        stages=("fully_automatic",),
        table_versions={},
        config=ReleaseConfig(),
        images=pictures,
        masks=pictures * masks,
        masks_lost=0,
        images_without_masks=0,
        tars=(tar,),
    )
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json())


def _images(pictures: int, masks: int, height: int, width: int) -> Iterator[ReleasedImage]:
    drawn = _drawn_masks(masks, height, width)
    for image_id in range(1, pictures + 1):
        record = image_record(image_id=image_id, width=width, height=height, file_name=f"sa_{image_id}.jpg")
        ids = [(image_id - 1) * masks + place + 1 for place in range(masks)]
        annotations = [mask.to_sa1b(number) for number, mask in zip(ids, drawn, strict=True)]
        rows = [_row(mask, number, image_id) for number, mask in zip(ids, drawn, strict=True)]
        jpeg = _photograph(height, width, image_id)
        image = blank_row(IMAGE_INDEX) | {"image_id": image_id, "content_id": 2**62 + image_id, "masks": masks}
        image |= {"width": width, "height": height, "source": f"{image_id}.png", "split": "train"}
        image |= {"tar": "sa_000000.tar", "file_name": f"sa_{image_id}.jpg", "jpeg_bytes": len(jpeg)}
        text = Sa1bRecord(image=record, annotations=annotations).to_json()
        yield ReleasedImage(f"sa_{image_id}", jpeg, text, rows, image)


def _row(mask: Mask, number: int, image_id: int) -> dict[str, Any]:
    row = blank_row(MASK_INDEX)
    row |= {"id": number, "image_id": image_id, "content_id": 2**62 + number, "tar": "sa_000000.tar", "round": 1}
    row |= {"stage": "fully_automatic", "origin": "automatic", "annotator": "generator", "area": mask.area}
    row |= {"bbox_xyxy": mask.box, "crop_box_xyxy": mask.crop_box}
    row |= {"points": [{"x": x, "y": y, "label": label} for x, y, label in mask.prompt.points]}
    return row | {"predicted_iou": mask.predicted_iou, "stability_score": mask.stability_score}


def _drawn_masks(count: int, height: int, width: int) -> list[Mask]:
    """Radii from 12 px to a third of the picture, small ones often; the masks of all pictures."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        radius = int(12 * (height / 36) ** rng.beta(1.2, 2.5))
        y, x = int(rng.integers(radius, height - radius)), int(rng.integers(radius, width - radius))
        angles = np.linspace(0, 2 * math.pi, 400)
        waves = sum(rng.uniform(0, 0.12) * np.sin(n * angles + rng.uniform(0, 6)) for n in (2, 3, 5, 9, 40))
        radii = radius * (0.7 + waves)
        corners = np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1)
        pixels = np.zeros((height, width), dtype=np.uint8)
        cv2.fillPoly(pixels, [corners.round().astype(np.int32)], 1)
        mask = rle.measured(rle.encode(pixels.astype(bool)))
        scores = {"predicted_iou": float(rng.uniform(0.6, 1)), "stability_score": float(rng.uniform(0.8, 1))}
        found.append(Mask(mask.rle, mask.area, mask.box, mask.crop_box, Prompt(((x, y, 1),)), **scores))
    return found


def _photograph(height: int, width: int, seed: int) -> bytes:
    """As large as a photograph's JPEG: smooth colours with some noise."""
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(
        rng.integers(30, 220, (9, 12, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )
    noise = cv2.resize(rng.integers(0, 24, (height // 2, width // 2, 3), dtype=np.uint8), (width, height))
    encoded = io.BytesIO()
    Image.fromarray(cv2.add(smooth, noise)).save(encoded, "JPEG", quality=90)
    return encoded.getvalue()
