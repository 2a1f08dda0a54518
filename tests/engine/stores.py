"""Stores whose images are rows alone, and rows of masks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine import rle as rle_codec
from engine.keys import content_key
from engine.store import Store
from schemas.tables import table_of
from tests.rows import mask_row
from tests.templates import new_store

STAGE = "semi_automatic"


def store_of_images(
    folder: Path,
    image_ids: Sequence[int],
    *,
    hw: tuple[int, int] = (40, 60),
    held_out: Sequence[int] = (),
    has_ground_truth: bool = False,
) -> Store:
    """A workspace with these images, in one shard; there are no files. has_ground_truth: whether they say so."""
    store = new_store(folder / "workspace")
    rows = [
        {
            "image_id": image_id,
            "shard": "000000",
            "path": f"images/{image_id}.png",
            "source": "",
            "width": hw[1],
            "height": hw[0],
            "split": "holdout" if image_id in held_out else "train",
            "has_ground_truth": has_ground_truth,
            "country": "",
        }
        for image_id in image_ids
    ]
    store.replace_shard("images", "000000", table_of("images", rows), key=content_key("images", *image_ids))
    return store


def masks_table(*, shard: str = "000000", round: int = 1, count: int = 4, mark: str = "", image_id: int = 7) -> Any:
    """Rows of a masks table with different masks; `mark` stands in the label of each."""
    rows = []
    for number in range(count):
        mask = np.zeros((40, 50), dtype=bool)
        mask[5 : 10 + number, 10:30] = True
        rle = rle_codec.encode(mask)
        where = {"image_id": image_id, "shard": shard, "stage": STAGE, "round": round}
        rows.append(mask_row(rle, **where, origin="manual", annotator="simulated", label=mark))
    return table_of(STAGE, rows)
