"""The rows of tables that make up a release, image by image."""

from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from engine.release.numbers import NumberReader
from engine.release.plan import Snapshot, distinct
from schemas.tables import TABLES


class ShardReader:
    """Reads the rows of single images, shard by shard: keeps the last shards in memory, for tars that cross shards.

    Rows have the numbers that releases call them by under "number"; see `engine.release.numbers.Numbering`.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._images = lru_cache(maxsize=2)(snapshot.images)
        self._masks = lru_cache(maxsize=2)(self._read_masks)
        self._numbers = lru_cache(maxsize=2)(NumberReader(snapshot.store))

    def image(self, shard: str, image_id: int) -> dict[str, Any]:
        """The row of an image."""
        row: dict[str, Any] = _of_image(self._images(shard), image_id)[0]
        return row | {"number": self._numbers(shard).images[image_id]}

    def masks(self, shard: str, image_id: int) -> list[dict[str, Any]]:
        """The masks to release of an image, in the order of stages, then by mask_id."""
        numbers = self._numbers(shard).masks
        rows = distinct(_of_image(self._masks(shard), image_id))
        return [row | {"number": numbers[row["mask_id"]]} for row in rows]

    def _read_masks(self, shard: str) -> pa.Table:
        rows = self._snapshot.masks(shard, columns=TABLES[self._snapshot.stages[0]].names)
        return self._snapshot.chosen(rows, self._snapshot.verified(shard))


def _of_image(rows: pa.Table, image_id: int) -> list[dict[str, Any]]:
    """Rows of a table that is sorted by image."""
    ids = rows["image_id"].to_numpy()
    start, stop = (int(np.searchsorted(ids, image_id, side)) for side in ("left", "right"))
    found: list[dict[str, Any]] = rows.slice(start, stop - start).to_pylist()
    return found
