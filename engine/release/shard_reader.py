"""The rows of tables that make up a release, image by image."""

from functools import lru_cache, partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from engine.release.numbers import Numbers
from engine.release.plan import Snapshot, distinct


class ShardReader:
    """Reads the rows of single images, shard by shard: keeps the last shards in memory, for tars that cross shards.

    Rows have the numbers that releases call them by under "number"; see `engine.release.numbers.give_numbers`.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._table = lru_cache(maxsize=2 * (1 + len(snapshot.stages)))(self._read)
        self._verified = lru_cache(maxsize=2)(snapshot.verified)
        self._numbers = lru_cache(maxsize=2)(partial(Numbers.of, snapshot.store))

    def image(self, shard: str, image_id: int) -> dict[str, Any]:
        """The row of an image."""
        row: dict[str, Any] = self._rows("images", shard, image_id)[0]
        return row | {"number": self._numbers(shard).images[image_id]}

    def masks(self, shard: str, image_id: int) -> list[dict[str, Any]]:
        """The masks to release of an image, in the order of stages, then by mask_id."""
        rows = [row for stage in self._snapshot.stages for row in self._rows(stage, shard, image_id)]
        numbers = self._numbers(shard).masks
        chosen = self._snapshot.chosen(rows, self._verified(shard))
        return [row | {"number": numbers[row["mask_id"]]} for row in distinct(chosen)]

    def _rows(self, table: str, shard: str, image_id: int) -> list[dict[str, Any]]:
        rows = self._table(table, shard)
        return rows.filter(pc.equal(rows["image_id"], image_id)).to_pylist()

    def _read(self, table: str, shard: str) -> pa.Table:
        return self._snapshot.store.read_shard(table, shard, version=self._snapshot.versions[table])
