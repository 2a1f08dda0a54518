"""Replacing the rows of a shard in the time that this shard takes, however many others there are."""

import io
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from engine.shard_log import LiveFile, ShardLog, now_ms
from model.files import write_atomic

Scope = Mapping[str, str | int]


class ShardCommits:
    """Writes what `deltalake` would write for "replace where shard = ... and round = ..." on a disk of this machine.

    Errors of the disk are OSErrors here.
    """

    def __init__(
        self,
        table: Path,
        schema: pa.Schema,
        *,
        partition: str,
        no_dictionary: Iterable[str],
        statistics: Iterable[str],
        read: Callable[[str, str], pa.Table],
    ) -> None:
        """statistics: columns whose lowest and highest value the log has. read: the rows of a file of a shard."""
        self._table, self._schema, self._partition, self._read = table, schema, partition, read
        self._statistics = [name for name in schema.names if name in set(statistics) - {partition}]
        leaves = [leaf for name in schema.names if name != partition for leaf in _leaves(schema.field(name).type, name)]
        self._dictionary = [leaf for leaf in leaves if leaf.split(".")[0] not in set(no_dictionary)]
        self.log = ShardLog(table, partition)

    def replace(self, scope: Scope, rows: pa.Table, *, app_id: str, number: int) -> bool:
        """One try, on top of the commits read last: False where another writer's commit has come since."""
        shard = str(scope[self._partition])
        rest = {name: value for name, value in scope.items() if name != self._partition}
        kept, actions = [rows], [{"txn": {"appId": app_id, "version": number, "lastUpdated": now_ms()}}]
        for file in self.log.files(shard):
            staying = self._staying(file, shard, rest)
            if staying is not None:
                kept.append(staying)
                actions.append({"remove": self._removed(file, shard)})
        together = pa.concat_tables(kept)
        if len(together):
            actions.append({"add": self._added(together, shard)})
        return self.log.write(actions)

    def _staying(self, file: LiveFile, shard: str, rest: Scope) -> pa.Table | None:
        """The rows of a file that are not replaced; None where none is, so that the file stays as it is."""
        if not rest:
            return self._schema.empty_table()
        if not file.may_hold(rest):
            return None
        rows = self._read(str(self._table / file.path), shard)
        replaced = pa.repeat(pa.scalar(True), len(rows))
        for name, value in rest.items():
            replaced = pc.and_(replaced, pc.equal(rows[name], value))
        return rows.filter(pc.invert(replaced)) if pc.any(replaced, min_count=0).as_py() else None

    def _removed(self, file: LiveFile, shard: str) -> dict[str, Any]:
        return {
            "path": file.path,
            "deletionTimestamp": now_ms(),
            "dataChange": True,
            "extendedFileMetadata": True,
            "partitionValues": {self._partition: shard},
            "size": file.size,
        }

    def _added(self, rows: pa.Table, shard: str) -> dict[str, Any]:
        """Write a file and say so. Readers see it once that is committed."""
        path = f"{self._partition}={shard}/part-{uuid.uuid4()}.parquet"
        content = io.BytesIO()
        pq.write_table(
            rows.drop_columns([self._partition]),
            content,
            compression="zstd",
            compression_level=3,
            use_dictionary=self._dictionary,
        )
        write_atomic(self._table / path, content.getbuffer())
        return {
            "path": path,
            "partitionValues": {self._partition: shard},
            "size": content.tell(),
            "modificationTime": now_ms(),
            "dataChange": True,
            "stats": json.dumps(self._stats(rows)),
        }

    def _stats(self, rows: pa.Table) -> dict[str, Any]:
        ends = {name: pc.min_max(rows[name]).as_py() for name in self._statistics}
        return {
            "numRecords": len(rows),
            "minValues": {name: end["min"] for name, end in ends.items()},
            "maxValues": {name: end["max"] for name, end in ends.items()},
            "nullCount": dict.fromkeys(ends, 0),
        }


def _leaves(kind: pa.DataType, path: str) -> Iterator[str]:
    """Names of the columns in a Parquet file that a column of Arrow becomes."""
    if pa.types.is_list(kind):
        yield from _leaves(kind.value_type, f"{path}.list.element")
    elif pa.types.is_struct(kind):
        for inner in kind:
            yield from _leaves(inner.type, f"{path}.{inner.name}")
    else:
        yield path
