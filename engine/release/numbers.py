"""The small numbers that releases call pictures and masks by, as SA-1B's: 1, 2, 3, ...

Content ids have 63 bits; programs that hold numbers as doubles (JavaScript, jq, spreadsheets) round them. A number is
given when its picture or mask is first released and stays in every later release of the workspace.
"""

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from engine.keys import content_key
from engine.release.plan import Snapshot
from engine.store import Store
from schemas.tables import table_of

_IMAGES, _MASKS = "image_numbers", "mask_numbers"


class Numbers(NamedTuple):
    """Numbers of the pictures and masks of a shard, by content id."""

    images: dict[int, int]
    masks: dict[int, int]

    @classmethod
    def of(cls, store: Store, shard: str) -> "Numbers":
        return cls(*(_by_id(store.read_shard(table, shard)) for table in (_IMAGES, _MASKS)))


def give_numbers(snapshot: Snapshot) -> None:
    """Number the pictures and masks that have none yet, in the order in which they are released.

    To be called by one process at a time; after a kill, the next call goes on where it stopped.
    """
    store = snapshot.store
    last = {table: store.highest_number(table) for table in (_IMAGES, _MASKS)}
    for shard, image_ids in snapshot.image_ids():
        masks = snapshot.mask_ids(shard)
        ids = {
            _IMAGES: [each for each in image_ids if each in masks],
            _MASKS: [each for i in image_ids for each in masks.get(i, ())],
        }
        for table, wanted in ids.items():
            last[table] += _number(store, table, shard, wanted, behind=last[table])


def _number(store: Store, table: str, shard: str, wanted: Sequence[int], *, behind: int) -> int:
    """Returns how many new numbers there are."""
    there = store.read_shard(table, shard)
    known = _by_id(there)
    fresh = [each for each in wanted if each not in known]
    if fresh:
        rows = [{"content_id": each, "shard": shard, "number": behind + n} for n, each in enumerate(fresh, start=1)]
        store.replace_shard(
            table, shard, pa.concat_tables([there, table_of(table, rows)]), key=content_key(table, rows)
        )
    return len(fresh)


def _by_id(rows: pa.Table) -> dict[int, int]:
    return dict(zip(rows["content_id"].to_pylist(), rows["number"].to_pylist(), strict=True))
