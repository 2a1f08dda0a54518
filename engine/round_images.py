"""The images of rounds in the table `round_images`: a row for those that follow each other and lie in one shard."""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.delta import ShardedTable
from schemas.image_ids import Run
from schemas.stages import Stage
from schemas.tables import ROUND_IMAGES


def round_images(stage: Stage, round: int, runs: Iterable[Run]) -> pa.Table:
    """The rows of one round."""
    found = list(runs)
    ends = np.cumsum([0, *(len(run.ids) for run in found)])
    ids = np.concatenate([np.zeros(0, dtype=np.int64), *(run.ids for run in found)])
    columns = {
        "stage": pa.repeat(pa.scalar(stage, pa.string()), len(found)),
        "round": pa.repeat(pa.scalar(round, pa.int32()), len(found)),
        "place": pa.array(ends[:-1], pa.int64()),
        "in_shard": pa.array([run.shard for run in found], pa.string()),
        "image_ids": pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(ids)),
    }
    return pa.table([columns[name] for name in ROUND_IMAGES.names], schema=ROUND_IMAGES)


def read_runs(table: ShardedTable, stage: Stage, round: int) -> Iterator[Run]:
    """The images of one round in their order, a part of a file in memory at a time."""
    columns, expected = ["place", "in_shard", "image_ids"], 0
    where: dict[str, str | int] = {"stage": stage, "round": round}
    for rows in table.batches(columns, where=where):
        if len(rows) and rows["place"][0].as_py() != expected:  # another writer's order
            rows = table.read(columns=columns, where=where).sort_by("place")
            yield from _runs(rows.filter(pc.greater_equal(rows["place"], expected)))
            return
        for run in _runs(rows):
            expected += len(run.ids)
            yield run


def _runs(rows: pa.Table) -> Iterator[Run]:
    for batch in rows.to_batches():
        starts, ids = (array.to_numpy() for array in (batch["image_ids"].offsets, batch["image_ids"].values))
        for number, shard in enumerate(batch["in_shard"].to_pylist()):
            yield Run(shard, ids[starts[number] : starts[number + 1]])
