"""Stores whose images are rows alone."""

from collections.abc import Sequence
from pathlib import Path

from engine.keys import content_key
from engine.store import Store
from schemas.tables import table_of


def store_of_images(folder: Path, image_ids: Sequence[int], *, hw: tuple[int, int] = (40, 60)) -> Store:
    """A workspace with these images, in one shard; there are no files."""
    store = Store.create(folder / "workspace")
    rows = [
        {
            "image_id": image_id,
            "shard": "000000",
            "path": f"images/{image_id}.png",
            "source": "",
            "width": hw[1],
            "height": hw[0],
            "split": "train",
            "has_ground_truth": False,
        }
        for image_id in image_ids
    ]
    store.replace_shard("images", "000000", table_of("images", rows), key=content_key("images", *image_ids))
    return store
