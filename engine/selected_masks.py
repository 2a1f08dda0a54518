"""Masks of the store at exact table versions that a rule selects, gone through shard by shard."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from cachetools import LRUCache

from engine.image_index import ImageIndex
from engine.table_files import TableFiles
from schemas.stages import STAGES, Stage

# Of each stage the rounds to take; None for all.
Rounds = Mapping[Stage, range | None]

_OF_A_SAMPLE = ["image_id", "mask_id", "round", "rle", "height", "width"]
_HELD_BYTES = 2**28  # of the masks of shards that were read last


class SampleArrays(NamedTuple):
    """N samples, one per stage and image with masks, sorted by both.

    stages: (N,) int8, places in `STAGES`. image_ids: (N,) int64. shards: (N,) int32, places in the index's shards.
    masks: (N,) int32, how many each has.
    """

    stages: npt.NDArray[np.int8]
    image_ids: npt.NDArray[np.int64]
    shards: npt.NDArray[np.int32]
    masks: npt.NDArray[np.int32]


@dataclass(frozen=True)
class SelectedMasks:
    """The masks of some rounds on some images. allowed: (N,) which of the N images of `index`."""

    tables: Mapping[Stage, TableFiles]
    rounds: Rounds
    index: ImageIndex
    allowed: npt.NDArray[np.bool_]

    def each(self, columns: Sequence[str]) -> Iterator[tuple[Stage, str, pa.Table]]:
        """Stage, shard and rows, stage by stage; `image_id` and `round` are always among the columns."""
        names = list(dict.fromkeys([*columns, "image_id", "round"]))
        for stage, table in self.tables.items():
            for shard, rows in table.each(names):
                here = self.index.slice_of(shard)
                ids = pa.array(self.index.ids[here][self.allowed[here]])
                rows = of_rounds(rows, self.rounds[stage])
                yield stage, shard, rows.filter(pc.is_in(rows["image_id"], value_set=ids))

    def samples(self) -> SampleArrays:
        """What there is to learn from."""
        numbers = {shard: number for number, shard in enumerate(self.index.shards)}
        parts: list[SampleArrays] = [_NONE]
        for stage, shard, rows in self.each([]):
            ids, counts = np.unique(rows["image_id"].to_numpy(), return_counts=True)
            if len(ids):
                stages = np.full(len(ids), STAGES.index(stage), dtype=np.int8)
                shards = np.full(len(ids), numbers[shard], dtype=np.int32)
                parts.append(SampleArrays(stages, ids, shards, counts.astype(np.int32)))
        found = SampleArrays(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        order = np.lexsort((found.image_ids, found.stages))
        return SampleArrays(*(column[order] for column in found))


_NONE = SampleArrays(np.zeros(0, np.int8), np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int32))


def of_rounds(rows: pa.Table, rounds: range | None) -> pa.Table:
    """Rows of these rounds, of all where None."""
    if rounds is None:
        return rows
    return rows.filter(pc.and_(pc.greater_equal(rows["round"], rounds.start), pc.less(rows["round"], rounds.stop)))


@dataclass
class MaskReader:
    """Reads the masks of one image after the other; those of the shards read last are kept.

    It may be sent to other processes, which keep their own.
    """

    tables: Mapping[Stage, TableFiles]
    rounds: Rounds
    _kept: "LRUCache[tuple[Stage, str], pa.Table]" = field(
        default_factory=lambda: LRUCache(_HELD_BYTES, getsizeof=lambda rows: rows.nbytes)
    )

    def __reduce__(self) -> tuple[Any, ...]:
        return MaskReader, (self.tables, self.rounds)

    def of_image(self, stage: Stage, shard: str, image_id: int) -> list[dict[str, Any]]:
        """Rows (rle, height, width) of the masks of an image, in the order of mask ids."""
        rows = self._of_shard(stage, shard)
        ids = rows["image_id"].to_numpy()
        start, end = np.searchsorted(ids, image_id), np.searchsorted(ids, image_id, side="right")
        found: list[dict[str, Any]] = rows.slice(start, end - start).select(["rle", "height", "width"]).to_pylist()
        return found

    def _of_shard(self, stage: Stage, shard: str) -> pa.Table:
        rows = self._kept.get((stage, shard))
        if rows is None:
            rows = of_rounds(self.tables[stage].read(shard, _OF_A_SAMPLE), self.rounds[stage])
            rows = rows.sort_by([("image_id", "ascending"), ("mask_id", "ascending")]).combine_chunks()
            if rows.nbytes <= self._kept.maxsize:
                self._kept[stage, shard] = rows
        return rows
