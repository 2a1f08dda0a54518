"""In which shards a mask may lie, by its id: runs of sorted ids, memory-mapped, twelve bytes a mask.

The runs are a cache that can be deleted at any moment. Each knows the tables' files that it was made of; masks of files
that no run knows make a run of their own. Whether a mask still is where a run has it, is found out by looking there.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engine.keys import content_key
from engine.places import Place
from engine.table_files import TableFiles
from schemas.errors import InputError

_MASKS_OF_A_RUN = 20_000_000
_FEWEST_TO_KEEP = 10_000  # fewer are read from the tables at once
_SMALL, _MOST_SMALL = 1_000_000, 16  # runs of fewer masks are made anew, as one, where there are more of them
_SCHEMA = pa.schema([("mask_id", pa.int64()), ("place", pa.int32())])

# A shard as it is in one version: the table, the shard, and the names of its files.
Part = tuple[str, str, str]


@dataclass(frozen=True, eq=False)
class Run:
    """Masks of some shards. ids: (N,) int64, rising. places: (N,) int32, which of `parts` each is in."""

    parts: Sequence[Part]
    ids: npt.NDArray[np.int64]
    places: npt.NDArray[np.int32]
    kept: Place | None = None

    def find(self, mask_id: int) -> Iterator[Part]:
        start, end = (int(np.searchsorted(self.ids, mask_id, side=side)) for side in ("left", "right"))
        for place in self.places[start:end].tolist():
            yield self.parts[place]


class MaskIndex:
    """Of the masks tables of a workspace. Safe to keep open: with every question it reads what is new."""

    def __init__(self, folder: Place) -> None:
        self._folder = folder
        self._runs = [run for file in folder.find("*.arrow") if (run := _read(file)) is not None]

    def shards_of(self, mask_id: int, tables: Mapping[str, TableFiles]) -> list[tuple[str, str]]:
        """Tables and shards that may hold a mask, in the order of `tables`; the first question reads all masks' ids."""
        self._bring_up_to_date(tables)
        found = {(table, shard) for run in self._runs for table, shard, _ in run.find(mask_id) if table in tables}
        return sorted(found, key=lambda each: (list(tables).index(each[0]), each[1]))

    def _bring_up_to_date(self, tables: Mapping[str, TableFiles]) -> None:
        live = _parts(tables)
        small = [run for run in self._runs if len(run.ids) < _SMALL]
        gone = [run for run in self._runs if live.isdisjoint(run.parts)]
        for run in gone + (small if len(small) > _MOST_SMALL else []):
            self._forget(run)
        known = {part for run in self._runs for part in run.parts}
        self._runs += [self._kept(run) for run in _runs_of(tables, live - known)]

    def _forget(self, run: Run) -> None:
        if run in self._runs:
            self._runs.remove(run)
            if run.kept is not None:
                run.kept.remove()

    def _kept(self, run: Run) -> Run:
        """The run as it is kept, where it is large enough and the disk takes it."""
        if len(run.ids) < _FEWEST_TO_KEEP:
            return run
        file = self._folder / f"{content_key('masks', [list(each) for each in run.parts])}.arrow"
        schema = _SCHEMA.with_metadata({"parts": json.dumps(run.parts)})
        batch = pa.record_batch([pa.array(run.ids), pa.array(run.places)], schema=schema)
        with suppress(InputError, OSError):
            with file.writing() as target, pa.ipc.new_file(target, schema) as writer:
                writer.write_batch(batch)
            return _read(file) or run
        return run


def _read(file: Place) -> Run | None:
    """A run that was kept; None where the file is none."""
    try:
        mapped = pa.ipc.open_file(pa.memory_map(str(file.on_disk())))
        parts = [(table, shard, names) for table, shard, names in json.loads(mapped.schema.metadata[b"parts"])]
        ids, places = (mapped.get_batch(0).column(name).to_numpy() for name in _SCHEMA.names)
        return Run(parts, ids, places, file)
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError):
        return None


def _parts(tables: Mapping[str, TableFiles]) -> set[Part]:
    return {(name, shard, ",".join(files)) for name, table in tables.items() for shard, files in table.names.items()}


def _runs_of(tables: Mapping[str, TableFiles], parts: set[Part]) -> Iterator[Run]:
    """Runs of the masks of these shards."""
    read: list[Part] = []
    ids: list[npt.NDArray[np.int64]] = []
    for name, table in tables.items():
        own = {shard: part for part in sorted(parts) for of_table, shard, _ in [part] if of_table == name}
        for shard, rows in table.each(["mask_id"], own):
            read.append(own[shard])
            ids.append(rows["mask_id"].to_numpy())
            if sum(map(len, ids)) >= _MASKS_OF_A_RUN:
                yield _run(read, ids)
                read, ids = [], []
    if read:
        yield _run(read, ids)


def _run(parts: Sequence[Part], ids: Sequence[npt.NDArray[np.int64]]) -> Run:
    together = np.concatenate(ids)
    order = np.argsort(together, kind="stable")
    places = np.repeat(np.arange(len(parts), dtype=np.int32), [len(own) for own in ids])
    return Run(parts, together[order], places[order])
