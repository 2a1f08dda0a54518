"""Rows of the masks tables, and the ids that follow from their content."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

from pycocotools import mask as coco_mask

from engine.images import content_id
from engine.rle import Rle
from schemas.tables import Origin


def content_key(*parts: object) -> str:
    """A key for `Store.replace_shard`: 16 hex digits that follow from the inputs of a piece of work alone.

    parts: anything with a stable text, for example "round", 3, a model id, a config hash, a list of image ids.
    """
    return f"{content_id(repr(parts).encode()):016x}"


def mask_id(image_id: int, stage: str, round: int, rle_counts: bytes) -> int:
    """63-bit id of a mask: equal masks of one image in one round of one stage are the same mask."""
    digest = hashlib.sha256(f"{image_id}/{stage}/{round}/".encode() + rle_counts).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def mask_row(
    rle: Rle,
    *,
    image_id: int,
    shard: str,
    stage: str,
    round: int,
    origin: Origin,
    annotator: str,
    model_id: str = "",
    generator_config: str = "",
    points: Sequence[tuple[float, float, int]] = (),
    box: Sequence[float] = (),
    predicted_iou: float = math.nan,
    stability_score: float = math.nan,
    crop_box: Sequence[float] = (),
    seconds: float = 0.0,
    clicks: int = 0,
    label: str = "",
) -> dict[str, Any]:
    """A row of a masks table: id, area and box follow from the mask; `points` are (x, y, label), boxes XYXY pixels.

    An empty crop_box means the whole image.
    """
    coco = {"size": [rle.height, rle.width], "counts": rle.counts}
    x, y, w, h = (float(value) for value in coco_mask.toBbox(coco))
    return {
        "mask_id": mask_id(image_id, stage, round, rle.counts),
        "image_id": image_id,
        "shard": shard,
        "stage": stage,
        "round": round,
        "rle": rle.counts,
        "height": rle.height,
        "width": rle.width,
        "area": int(coco_mask.area(coco)),
        "bbox": [x, y, x + w, y + h],
        "origin": origin,
        "annotator": annotator,
        "model_id": model_id,
        "generator_config": generator_config,
        "points": [{"x": x, "y": y, "label": kind} for x, y, kind in points],
        "box": [float(value) for value in box],
        "predicted_iou": predicted_iou,
        "stability_score": stability_score,
        "crop_box": [float(value) for value in crop_box] or [0.0, 0.0, float(rle.width), float(rle.height)],
        "seconds": seconds,
        "clicks": clicks,
        "label": label,
    }


def row_rle(row: dict[str, Any]) -> Rle:
    """The mask of a row of a masks table."""
    return Rle(int(row["height"]), int(row["width"]), bytes(row["rle"]))
