"""The small numbers that releases call pictures and masks by, as SA-1B's: 1, 2, 3, ...

Content ids have 63 bits; programs that hold numbers as doubles (JavaScript, jq, spreadsheets) round them. A number is
given when its picture or mask is first released and stays in every later release of the workspace.
"""

import hashlib
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from engine.keys import content_key
from engine.release.choice import Ids
from engine.release.plan import ShardContents
from engine.store import Store
from schemas.tables import TABLES

_IMAGES, _MASKS = "image_numbers", "mask_numbers"


class Numbers(NamedTuple):
    """Numbers of the pictures and masks of a shard, by content id."""

    images: dict[int, int]
    masks: dict[int, int]

    @classmethod
    def of(cls, images: pa.Table, masks: pa.Table) -> "Numbers":
        """images, masks: rows of the tables of numbers."""
        return cls(_by_id(images), _by_id(masks))


class NumberReader:
    """The numbers that there are, shard by shard."""

    def __init__(self, store: Store) -> None:
        self._files = [store.files_at(table) for table in (_IMAGES, _MASKS)]

    def __call__(self, shard: str) -> Numbers:
        return Numbers.of(*(files.read(shard, ["content_id", "number"]) for files in self._files))


class Numbering:
    """Numbers the pictures and masks that have none yet, in the order in which they are released.

    To be used by one process at a time; after a kill, the next one goes on where it stopped.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._files = {table: store.files_at(table) for table in (_IMAGES, _MASKS)}
        self._last = {table: store.highest_number(table) for table in self._files}

    def __call__(self, contents: ShardContents) -> None:
        for table, wanted in ((_IMAGES, contents.image_ids), (_MASKS, contents.mask_ids)):
            there = self._files[table].read(contents.shard, TABLES[table].names)
            fresh = wanted[np.isin(wanted, there["content_id"].to_numpy(), invert=True)]
            if len(fresh):
                self._add(table, contents.shard, there, fresh)

    def _add(self, table: str, shard: str, there: pa.Table, fresh: Ids) -> None:
        behind = self._last[table]
        self._last[table] += len(fresh)
        added = {
            "content_id": fresh,
            "shard": pa.repeat(shard, len(fresh)),
            "number": np.arange(behind + 1, behind + 1 + len(fresh)),
        }
        schema = TABLES[table]
        rows = pa.table([added[name] for name in schema.names], schema=schema)
        key = content_key(table, shard, behind, hashlib.sha256(fresh.tobytes()).hexdigest())
        self._store.replace_shard(table, shard, pa.concat_tables([there, rows]), key=key)


def _by_id(rows: pa.Table) -> dict[int, int]:
    return dict(zip(rows["content_id"].to_pylist(), rows["number"].to_pylist(), strict=True))
