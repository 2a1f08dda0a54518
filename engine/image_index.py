"""Where every image lies, by its id: a few bytes an image, memory-mapped, kept up to date with the table `images`.

The file is a cache, an Arrow file that can be deleted at any moment. It knows the table's version and files that it was
made of; when the table has changed, only shards whose files have changed are read again.
"""

import json
from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine.keys import content_key
from engine.places import Place, place
from engine.table_files import TableFiles
from schemas.errors import InputError
from schemas.image_ids import ImageIds, Run

HELD_OUT = "holdout"  # in the column `split`
_HELD_OUT, _GROUND_TRUTH = 1, 2  # bits of a flag
_FEWEST_TO_KEEP = 10_000  # fewer are read from the table at once
_LOOKED_AT = 100_000  # at once
_FEW_TO_FIND = 5_000  # for more, a sorted copy of all ids pays
COLUMNS = ["image_id", "split", "has_ground_truth"]
_SCHEMA = pa.schema([("image_id", pa.int64()), ("flag", pa.uint8())])
_ORDER_SCHEMA = pa.schema([("order", pa.int32())])

# Shards, each with its files.
Files = Mapping[str, Sequence[str]]


@dataclass(frozen=True, eq=False)
class ImageIndex:
    """All N images of a workspace in the order of shards and ids, at one version of the table.

    ids: (N,) int64. flags: (N,) uint8. shards: the S names, sorted; starts: (S + 1,) int64, where each begins.
    kept: the file that it is kept in, None where it is not. stamp: of the table's version (`ShardedTable.stamp`), ""
    where that is not known.
    """

    files: Files
    ids: npt.NDArray[np.int64]
    flags: npt.NDArray[np.uint8]
    shards: tuple[str, ...]
    starts: npt.NDArray[np.int64]
    kept: Place | None = None
    stamp: str = ""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def held_out(self) -> npt.NDArray[np.bool_]:
        """(N,) whether training never sees an image."""
        return (self.flags & _HELD_OUT) != 0

    def not_held_out(self, shard: str) -> npt.NDArray[np.int64]:
        """The ids of a shard that training may see, sorted."""
        here = self.slice_of(shard)
        return self.ids[here][(self.flags[here] & _HELD_OUT) == 0]

    @property
    def has_ground_truth(self) -> npt.NDArray[np.bool_]:
        """(N,)"""
        return (self.flags & _GROUND_TRUTH) != 0

    @cached_property
    def order(self) -> npt.NDArray[np.int32]:
        """(N,) int32, so that ids[order] rises: for those who look for an image without its shard.

        It takes a second for 11 million, and is kept in a file of its own.
        """
        if self.kept is not None and (known := _read_order(self.kept, self._key)) is not None:
            return known
        order = np.argsort(self.ids).astype(np.int32)
        if self.kept is not None:
            _write(_order_file(self.kept), _ORDER_SCHEMA, {"of": self._key}, [order])
        return order

    def of_shard(self, shard: str) -> npt.NDArray[np.int64]:
        """Its ids, sorted; none of an unknown shard."""
        return self.ids[self.slice_of(shard)]

    def slice_of(self, shard: str) -> slice:
        """Where the images of a shard stand; nowhere those of an unknown one."""
        number = self._numbers.get(shard)
        return slice(0, 0) if number is None else slice(int(self.starts[number]), int(self.starts[number + 1]))

    def shard_of(self, image_id: int) -> str | None:
        """The shard of an image, None where there is no such image."""
        # Not `searchsorted` with a sorter, which makes a copy of all of that for each call.
        at = bisect_left(self.order, image_id, key=self.ids.__getitem__)
        if at == len(self.ids) or self.ids[self.order[at]] != image_id:
            return None
        return self.shards[int(np.searchsorted(self.starts, self.order[at], side="right")) - 1]

    def places(self, image_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(M,) where each of M images stands here; -1 for those that are not here."""
        if not len(self.ids) or not len(image_ids):
            return np.full(len(image_ids), -1, dtype=np.int64)
        if len(image_ids) <= _FEW_TO_FIND:
            found = np.searchsorted(self.ids, image_ids, sorter=self.order)
        else:  # in their own order they are found many times as fast
            sorted_ids, asked = self.ids[self.order], np.argsort(image_ids)
            found = np.empty(len(image_ids), dtype=np.int64)
            found[asked] = np.searchsorted(sorted_ids, image_ids[asked])
        places = self.order[np.minimum(found, len(self.ids) - 1)].astype(np.int64)
        return np.where(self.ids[places] == image_ids, places, -1)

    def places_of(self, ids: ImageIds) -> npt.NDArray[np.int64]:
        """Where images stand, in their order; those that are not here are left out."""
        parts = [self._places_of(run) for run in ids.runs() or [Run("", ids.array)]]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def first(self, wanted: npt.NDArray[np.bool_], count: int) -> npt.NDArray[np.int64]:
        """The first ids of the N images that are wanted; the index's own, not a copy, where they are all of them.

        wanted: (N,).
        """
        if count >= len(self) and wanted.all():
            return self.ids
        parts: list[npt.NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)]
        left = count
        for start in range(0, len(self), _LOOKED_AT):
            if left <= 0:
                break
            some = slice(start, start + _LOOKED_AT)
            parts.append(self.ids[some][wanted[some]][:left])
            left -= len(parts[-1])
        return np.concatenate(parts)

    def without(self, taken: Sequence[ImageIds]) -> npt.NDArray[np.bool_]:
        """(N,) whether an image is in none of these."""
        free = np.ones(len(self.ids), dtype=np.bool_)
        for ids in taken:
            for run in ids.runs() or [Run("", ids.array)]:
                free[self._places_of(run)] = False
        return free

    def runs(self, image_ids: npt.NDArray[np.int64]) -> Iterator[Run]:
        """The ids as they come, cut wherever the shard changes."""
        places = self.places(image_ids)
        numbers = np.where(places < 0, -1, np.searchsorted(self.starts, places, side="right") - 1)
        cuts = np.flatnonzero(np.diff(numbers)) + 1
        for start, end in zip([0, *cuts.tolist()], [*cuts.tolist(), len(numbers)], strict=True):
            if start < end:
                number = int(numbers[start])
                yield Run("" if number < 0 else self.shards[number], image_ids[start:end])

    def by_shard(self, ids: Collection[int]) -> dict[str, npt.NDArray[np.int64]]:
        """Ids by the shards that they lie in, sorted in each; those that are not here are left out."""
        places = np.sort(self.places_of(ImageIds(ids)))
        bounds = np.searchsorted(places, self.starts)
        return {
            self.shards[number]: self.ids[places[bounds[number] : bounds[number + 1]]]
            for number in np.flatnonzero(np.diff(bounds)).tolist()
        }

    def _places_of(self, run: Run) -> npt.NDArray[np.int64]:
        """Where the images of a run stand; those that are not here are left out."""
        if run.shard not in self._numbers:
            places = self.places(run.ids)
            return places[places >= 0]
        here = self.slice_of(run.shard)
        own = self.ids[here]
        if np.array_equal(own, run.ids) or not len(own):
            return np.arange(here.start, here.stop)
        found = np.minimum(np.searchsorted(own, run.ids), len(own) - 1)
        return here.start + found[own[found] == run.ids]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {shard: number for number, shard in enumerate(self.shards)}

    def changed_to(self, table: TableFiles) -> "ImageIndex":
        """The index of the table `images` as it is with these files; itself where it is of the same."""
        files = table.names
        changed = [shard for shard in sorted({*files, *self.files}) if not _same(files, self.files, shard)]
        if not changed:
            return self
        fresh = {
            shard: _by_id(rows) for shard, rows in table.each(COLUMNS, [each for each in changed if each in files])
        }
        parts = [fresh[shard] if shard in fresh else self._part(shard) for shard in sorted(files)]
        sizes = [len(ids) for ids, _ in parts]
        ids = np.concatenate([np.zeros(0, dtype=np.int64), *(ids for ids, _ in parts)])
        flags = np.concatenate([np.zeros(0, dtype=np.uint8), *(flags for _, flags in parts)])
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        return ImageIndex(files, ids, flags, tuple(sorted(files)), starts)

    def _part(self, shard: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        return self.ids[self.slice_of(shard)], self.flags[self.slice_of(shard)]

    @cached_property
    def _key(self) -> str:
        """Follows from the files that it was made of, which never change."""
        return content_key({shard: list(names) for shard, names in sorted(self.files.items())})

    def write(self, file: Place) -> "ImageIndex":
        """Keep it, whole or not at all; where that cannot be, and where it is small, nothing is kept.

        Returns it as it is kept.
        """
        if len(self) < _FEWEST_TO_KEEP:
            return self
        files = {shard: list(names) for shard, names in self.files.items()}
        about = {"files": files, "starts": self.starts.tolist(), "stamp": self.stamp}
        _write(file, _SCHEMA, {"about": json.dumps(about)}, [self.ids, self.flags])
        return replace(self, kept=file)


EMPTY = ImageIndex({}, np.zeros(0, np.int64), np.zeros(0, np.uint8), (), np.zeros(1, dtype=np.int64))


def read_index(file: Place) -> ImageIndex:
    """The index that was kept, memory-mapped; an empty one where there is none, or what is there is none."""
    try:
        mapped = pa.ipc.open_file(pa.memory_map(str(file.on_disk())))
        about = json.loads(mapped.schema.metadata[b"about"])
        batch = mapped.get_batch(0)
        ids, flags = (batch.column(name).to_numpy() for name in _SCHEMA.names)
        files, starts = about["files"], np.array(about["starts"], dtype=np.int64)
        return ImageIndex(files, ids, flags, tuple(sorted(files)), starts, kept=file, stamp=about.get("stamp", ""))
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError):
        return EMPTY


def _order_file(file: Place) -> Place:
    return place(f"{file}.order")


def _read_order(file: Place, key: str) -> npt.NDArray[np.int32] | None:
    """None where none is kept of this index."""
    try:
        mapped = pa.ipc.open_file(pa.memory_map(str(_order_file(file).on_disk())))
        if mapped.schema.metadata[b"of"].decode() != key:
            return None
        order: npt.NDArray[np.int32] = mapped.get_batch(0).column("order").to_numpy()
        return order
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError):
        return None


def _write(file: Place, schema: pa.Schema, about: Mapping[str, str], columns: Sequence[npt.NDArray[Any]]) -> None:
    told = schema.with_metadata(dict(about))
    with suppress(InputError, OSError), file.writing() as target, pa.ipc.new_file(target, told) as writer:
        writer.write_batch(pa.record_batch([pa.array(each) for each in columns], schema=told))


def _same(one: Files, other: Files, shard: str) -> bool:
    return list(one.get(shard, ())) == list(other.get(shard, ()))


def _by_id(rows: pa.Table) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Ids, sorted, and flags of a shard's rows of the table `images`."""
    ids = rows["image_id"].to_numpy()
    held_out = pc.equal(rows["split"], HELD_OUT).to_numpy(zero_copy_only=False)
    truth = rows["has_ground_truth"].to_numpy(zero_copy_only=False)
    order = np.argsort(ids)
    return ids[order], (held_out * np.uint8(_HELD_OUT) | truth * np.uint8(_GROUND_TRUTH)).astype(np.uint8)[order]
