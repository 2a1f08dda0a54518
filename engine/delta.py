"""One Delta table, partitioned by shard: one cached handle, replacement in one commit, quick reads.

Reads go from the list of live files straight to Parquet: asking Delta to filter costs seconds once there are
thousands of partitions. Nothing here compacts or vacuums, because models name the table versions they learned from.

A schema may gain columns, never lose or change them. A table made before takes a new column in with the first rows that
have it; in rows from before it is unknown: NaN, "", 0, False or an empty list.
"""

import math
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import (
    ColumnProperties,
    CommitProperties,
    DeltaTable,
    QueryBuilder,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError

from engine.files import storage_errors
from engine.places import place
from engine.remote import is_remote, remote_errors, table_options

PARTITION = "shard"
_ATTEMPTS = 20
_FIRST_WAIT_S = 0.02
_LONGEST_WAIT_S = 1.0
_KEEP = "interval 36500 days"
# Unique values: a dictionary of them would only make the file larger.
_NO_DICTIONARY = ("mask_id", "event_id", "rle")
_STATISTICS = ("image_id", "stage", "round", "number")


class ShardedTable:
    """A Delta table in a folder. Safe to use from several threads; other processes may write it at the same time."""

    def __init__(self, uri: str | Path, schema: pa.Schema) -> None:
        """uri: a local path, or a URL of an object store (s3://, gs://, az://). Raises InputError for another."""
        self.uri = str(uri)
        self._options = table_options(self.uri)
        self.schema = schema
        self._lock = threading.RLock()
        self._handle: DeltaTable | None = None
        self._old: tuple[int, DeltaTable] | None = None
        plain = ColumnProperties(dictionary_enabled=False)
        self._writer = WriterProperties(
            compression="ZSTD",
            compression_level=3,
            column_properties={name: plain for name in schema.names if name in _NO_DICTIONARY},
        )

    def create(self) -> None:
        """Make the table; does nothing where it exists. All history is kept."""
        statistics = [name for name in self.schema.names if name in _STATISTICS]
        with self._errors():
            place(self.uri).make_folder()
            DeltaTable.create(
                self.uri,
                storage_options=self._options,
                schema=self.schema,
                partition_by=[PARTITION] if PARTITION in self.schema.names else None,
                mode="ignore",
                configuration={
                    "delta.logRetentionDuration": _KEEP,
                    "delta.deletedFileRetentionDuration": _KEEP,
                    "delta.dataSkippingStatsColumns": ",".join(statistics or self.schema.names[:1]),
                },
            )

    def exists(self) -> bool:
        with self._errors():
            return DeltaTable.is_deltatable(self.uri, self._options)

    def version(self) -> int:
        return int(self._latest().version())

    def transaction(self, app_id: str) -> int | None:
        """The number last committed under `app_id`, or None."""
        value = self._latest().transaction_version(app_id)
        return None if value is None else int(value)

    def append(self, rows: pa.Table, *, app_id: str, number: int) -> bool:
        """Add rows and record `number` under `app_id`, in one commit; otherwise as `replace`."""
        return self.replace(None, rows, app_id=app_id, number=number)

    def replace(self, predicate: str | None, rows: pa.Table, *, app_id: str = "", number: int = 0) -> bool:
        """Replace the rows that fulfil `predicate` and record `number` under `app_id`, in one commit.

        None: no row does.

        Returns False and writes nothing where that number is the one recorded; without an app_id nothing is recorded
        and the rows are written. Two writers of the same rows are serialised: the loser looks again and then either
        finds its number or replaces what the winner wrote.
        Raises InputError for a full disk, CommitFailedError if others kept winning.
        """
        properties = CommitProperties(app_transactions=[Transaction(app_id, number)]) if app_id else None
        for attempt in range(_ATTEMPTS):
            with self._lock, self._errors():
                # One look for both: a writer that came in between shows as a conflict, not as something to replace.
                latest = self._latest()
                if app_id and latest.transaction_version(app_id) == number:
                    return False
                stored = {field.name for field in latest.schema().fields}
                added = [name for name in self.schema.names if name not in stored]
                try:
                    write_deltalake(
                        latest,
                        # Delta has nothing but null for the rows from before.
                        rows.cast(_with_nullable(rows.schema, added)),
                        mode="append" if predicate is None else "overwrite",
                        predicate=predicate,
                        schema_mode="merge" if added else None,
                        writer_properties=self._writer,
                        commit_properties=properties,
                    )
                    return True
                except CommitFailedError:
                    if attempt == _ATTEMPTS - 1:
                        raise
            # Jitter, so that writers that met once do not meet again. No seed: the result does not depend on it.
            time.sleep(random.uniform(0, min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt)))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def read(
        self,
        shard: str | None = None,
        *,
        columns: list[str] | None = None,
        version: int | None = None,
        where: Mapping[str, str | int] | None = None,
    ) -> pa.Table:
        """The rows of one shard, or of all, in no particular order. Raises KeyError for an unknown column.

        where: values that columns of the table have in the rows wanted; files whose statistics show that they hold none
        of these rows are not read.
        """
        names = columns if columns is not None else self.schema.names
        schema = pa.schema([self.schema.field(name) for name in dict.fromkeys([*names, *(where or ())])])
        parts = [_read_file(path, part, schema, where or {}) for path, part in self._files(shard, version)]
        found = rows_where(pa.concat_tables(parts) if parts else schema.empty_table(), **(where or {}))
        return found.select(names)

    def query(self, condition: str) -> pa.Table:
        """Rows that fulfil an SQL condition, over the whole table (reads every file)."""
        with self._lock, self._errors():
            builder = QueryBuilder().register("t", self._latest())
            found = pa.table(builder.execute(f"SELECT * FROM t WHERE {condition}").read_all())
        return _with_unknown(_columns_of(found), self.schema, rows=found.num_rows)

    def shards(self) -> list[str]:
        """Shards that have rows, sorted."""
        return sorted({str(value) for value in self._actions("partition.shard")})

    def count(self) -> int:
        """Rows, read from the log alone."""
        return sum(int(value) for value in self._actions("num_records"))

    def highest(self, column: str) -> int:
        """The highest value of a column of whole numbers with statistics, read from the log alone; 0 without rows."""
        return max((int(value) for value in self._actions(f"max.{column}")), default=0)

    def _actions(self, column: str) -> list[Any]:
        with self._lock:
            actions = pa.table(self._latest().get_add_actions(flatten=True))
        return actions.column(column).to_pylist() if column in actions.column_names else []

    def _latest(self) -> DeltaTable:
        with self._lock, self._errors():
            if self._handle is None:
                self._handle = DeltaTable(self.uri, storage_options=self._options)
            else:
                self._handle.update_incremental()
            return self._handle

    def _files(self, shard: str | None, version: int | None) -> list[tuple[str, str | None]]:
        """(path, shard) of the live files; the shard stands in the log, not in the files."""
        with self._lock:
            handle = self._latest() if version is None else self._at(version)
            if PARTITION not in self.schema.names:
                return [(path, None) for path in self._paths(handle.file_uris(), depth=1)]
            if shard is not None:
                found = handle.file_uris(file_pruning_predicate=[(PARTITION, "=", shard)])
                return [(path, shard) for path in self._paths(found, depth=2)]
            return [(path, _shard_in(path)) for path in self._paths(handle.file_uris(), depth=2)]

    def _paths(self, uris: list[str], *, depth: int) -> list[str]:
        """Where files lie, by the last `depth` parts of their URIs: Delta quotes folders on a disk as in URLs."""
        if is_remote(self.uri):
            return uris
        return ["/".join([self.uri, *uri.split("/")[-depth:]]) for uri in uris]

    def _at(self, version: int) -> DeltaTable:
        if self._old is None or self._old[0] != version:
            self._old = (version, DeltaTable(self.uri, version=version, storage_options=self._options))
        return self._old[1]

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """What goes wrong with the disk or the object store, in one line."""
        with remote_errors(self.uri), storage_errors(self.uri):
            yield


def _shard_in(path: str) -> str:
    folder = Path(path).parent.name
    return folder.removeprefix(f"{PARTITION}=")


def _read_file(path: str, shard: str | None, schema: pa.Schema, where: Mapping[str, str | int]) -> pa.Table:
    stored = [name for name in schema.names if name != PARTITION]
    # What is at a URL is fetched whole: each column by itself would be a request of its own.
    file = pq.ParquetFile(pa.BufferReader(place(path).read()) if is_remote(path) else path)
    groups = [at for at in range(file.num_row_groups) if _may_hold(file.metadata.row_group(at), where)]
    columns = _columns_of(file.read_row_groups(groups, columns=stored))
    rows = sum(file.metadata.row_group(at).num_rows for at in groups)
    columns[PARTITION] = pa.repeat(pa.scalar(shard, pa.string()), rows)
    return _with_unknown(columns, schema, rows=rows)


def _may_hold(group: pq.RowGroupMetaData, where: Mapping[str, str | int]) -> bool:
    """False where the statistics of a row group say that no row has these values."""
    for number in range(group.num_columns):
        column = group.column(number)
        value, statistics = where.get(column.path_in_schema), column.statistics
        known = value is not None and statistics is not None and statistics.has_min_max
        if known and not statistics.min <= value <= statistics.max:
            return False
    return True


def _columns_of(table: pa.Table) -> dict[str, Any]:
    return dict(zip(table.column_names, table.columns, strict=True))


def _with_nullable(schema: pa.Schema, names: list[str]) -> pa.Schema:
    return pa.schema([field.with_nullable(True) if field.name in names else field for field in schema])


def _with_unknown(columns: dict[str, Any], schema: pa.Schema, *, rows: int) -> pa.Table:
    """A table of `schema` from columns by name; what rows from before a column lack is the type's word for unknown."""
    made = []
    for field in schema:
        unknown = pa.scalar(_unknown(field.type), field.type)
        column = columns[field.name].cast(field.type) if field.name in columns else pa.repeat(unknown, rows)
        made.append(pc.coalesce(column, unknown) if column.null_count else column)
    return pa.table(made, schema=schema)


def as_rows_of(schema: pa.Schema, table: pa.Table) -> pa.Table:
    """Rows from before the schema gained columns, with what stands for unknown in these."""
    return _with_unknown(_columns_of(table), schema, rows=table.num_rows)


def _unknown(kind: pa.DataType) -> Any:
    """What stands for unknown in a column that is never null; see `schemas.tables`."""
    if pa.types.is_floating(kind):
        return math.nan
    if pa.types.is_list(kind):
        return []
    return {pa.string(): "", pa.binary(): b"", pa.bool_(): False}.get(kind, 0)


def rows_where(table: pa.Table, **values: Any) -> pa.Table:
    """Rows whose columns have the given values."""
    for name, value in values.items():
        table = table.filter(pc.equal(table.column(name), value))
    return table
