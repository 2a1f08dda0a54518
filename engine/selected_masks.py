"""Masks of the store at exact table versions that a rule selects, gone through shard by shard."""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
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
Ids = npt.NDArray[np.int64]

_OF_A_SAMPLE = ["image_id", "mask_id", "round", "rle", "height", "width"]
_HELD_BYTES = 2**28  # of the masks of shards that were read last


class SampleArrays(NamedTuple):
    """N samples, one per stage and image with masks, sorted by both.

    stages: (N,) int8, places in `STAGES`. image_ids: (N,) int64. shards: (N,) int32, places in the index's shards.
    masks: (N,) int32, how many each has.
    """

    stages: npt.NDArray[np.int8]
    image_ids: Ids
    shards: npt.NDArray[np.int32]
    masks: npt.NDArray[np.int32]


class SampleFiles(NamedTuple):
    """Samples by the F files that they lie in, one per stage and shard with some, sorted by both; in each by image id.

    stages: (F,) int8, places in `STAGES`. shards: (F,) int32, places in the index's shards. starts: (F + 1,) int64, how
    many samples lie before each, and all. images, masks: how many different ones they have together.
    """

    stages: npt.NDArray[np.int8]
    shards: npt.NDArray[np.int32]
    starts: Ids
    images: int
    masks: int


@dataclass(frozen=True)
class SelectedMasks:
    """The masks of some rounds on the images of `index` that are not held out, nor left out.

    left_out: of a shard the ids, sorted, whose masks are not selected either.
    """

    tables: Mapping[Stage, TableFiles]
    rounds: Rounds
    index: ImageIndex
    left_out: Mapping[str, Ids] = field(default_factory=dict)

    def each(self, columns: Sequence[str]) -> Iterator[tuple[Stage, str, pa.Table]]:
        """Stage, shard and rows, stage by stage; `image_id` and `round` are always among the columns."""
        for stage in self.tables:
            yield from self._each(stage, columns)

    def counts(self, stage: Stage, shard: str) -> tuple[Ids, Ids]:
        """The images of a shard that have masks of a stage, rising, and how many each has."""
        rows = self._selected(stage, shard, self.tables[stage].read(shard, ["image_id", "round"]))
        return _counted(rows)

    def samples(self, *, few: int) -> tuple[SampleFiles, SampleArrays | None]:
        """What there is to learn from: in files, and where it is at most so many samples in arrays too."""
        numbers = {shard: number for number, shard in enumerate(self.index.shards)}
        files: list[tuple[int, int, int]] = []
        parts = [_NONE]
        images = masks = samples = 0
        for shard, counted in self._by_shard():
            for stage, ids, counts in counted:
                files.append((STAGES.index(stage), numbers[shard], len(ids)))
                samples, masks = samples + len(ids), masks + int(counts.sum())
                if samples <= few:
                    parts.append(_part(*files[-1][:2], ids, counts))
            images += len(np.unique(np.concatenate([ids for _, ids, _ in counted])))
        of = np.array(sorted(files), dtype=np.int64).reshape(-1, 3)
        starts = np.concatenate([[0], np.cumsum(of[:, 2])])
        found = SampleFiles(of[:, 0].astype(np.int8), of[:, 1].astype(np.int32), starts, images, masks)
        return found, _joined(parts) if samples <= few else None

    def _by_shard(self) -> Iterator[tuple[str, list[tuple[Stage, Ids, Ids]]]]:
        """Of each shard the stages that have masks of it, with the images and how many each has."""
        merged = heapq.merge(*(self._each(stage, []) for stage in self.tables), key=lambda part: part[1])
        for shard, parts in groupby(merged, key=lambda part: part[1]):
            counted = [(stage, *_counted(rows)) for stage, _, rows in parts if len(rows)]
            if counted:
                yield shard, counted

    def _each(self, stage: Stage, columns: Sequence[str]) -> Iterator[tuple[Stage, str, pa.Table]]:
        names = list(dict.fromkeys([*columns, "image_id", "round"]))
        for shard, rows in self.tables[stage].each(names):
            yield stage, shard, self._selected(stage, shard, rows)

    def _selected(self, stage: Stage, shard: str, rows: pa.Table) -> pa.Table:
        rows = of_rounds(rows, self.rounds[stage])
        ids = minus(self.index.not_held_out(shard), self.left_out.get(shard))
        return rows.filter(pc.is_in(rows["image_id"], value_set=pa.array(ids)))


_NONE = SampleArrays(np.zeros(0, np.int8), np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int32))


def minus(ids: Ids, left_out: Ids | None) -> Ids:
    """The ids but for those left out."""
    return ids if left_out is None else ids[~np.isin(ids, left_out)]


def of_rounds(rows: pa.Table, rounds: range | None) -> pa.Table:
    """Rows of these rounds, of all where None."""
    if rounds is None:
        return rows
    return rows.filter(pc.and_(pc.greater_equal(rows["round"], rounds.start), pc.less(rows["round"], rounds.stop)))


def _counted(rows: pa.Table) -> tuple[Ids, Ids]:
    ids, counts = np.unique(rows["image_id"].to_numpy(), return_counts=True)
    return ids, counts


def _part(stage: int, shard: int, ids: Ids, counts: Ids) -> SampleArrays:
    stages, shards = np.full(len(ids), stage, dtype=np.int8), np.full(len(ids), shard, dtype=np.int32)
    return SampleArrays(stages, ids, shards, counts.astype(np.int32))


def _joined(parts: Sequence[SampleArrays]) -> SampleArrays:
    found = SampleArrays(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    order = np.lexsort((found.image_ids, found.stages))
    return SampleArrays(*(column[order] for column in found))


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

    def images(self, stage: Stage, shard: str) -> Ids:
        """The images of a shard that have masks, rising; those that are held out among them."""
        found: Ids = np.unique(self._of_shard(stage, shard)["image_id"].to_numpy())
        return found

    def _of_shard(self, stage: Stage, shard: str) -> pa.Table:
        rows = self._kept.get((stage, shard))
        if rows is None:
            rows = of_rounds(self.tables[stage].read(shard, _OF_A_SAMPLE), self.rounds[stage])
            rows = rows.sort_by([("image_id", "ascending"), ("mask_id", "ascending")]).combine_chunks()
            if rows.nbytes <= self._kept.maxsize:
                self._kept[stage, shard] = rows
        return rows
