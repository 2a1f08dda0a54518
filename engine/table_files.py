"""Rows in the files of a table: read from Parquet alone, with what stands for unknown in files from before a column."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from engine.places import place
from engine.remote import is_remote
from schemas.errors import InputError

PARTITION = "shard"
_FEWEST_FOR_THREADS = 16  # files
_THREADS = 4


@dataclass(frozen=True)
class TableFiles:
    """The rows of a table at one version, by the files of each shard, whose names are sorted.

    Asks nobody about the table any more, so that it may go to other processes.
    """

    uri: str
    schema: pa.Schema
    names: Mapping[str, Sequence[str]]

    def read(self, shard: str, columns: Sequence[str]) -> pa.Table:
        """The rows of one shard; none of an unknown one."""
        schema = self._schema(columns)
        parts = list(read_files(self._paths(shard), schema, {}))
        return pa.concat_tables(parts) if parts else schema.empty_table()

    def each(self, columns: Sequence[str], shards: Iterable[str] | None = None) -> Iterator[tuple[str, pa.Table]]:
        """The rows of each shard, or of those asked for, a few shards in memory at a time."""
        paths = [path for shard in (self.names if shards is None else shards) for path in self._paths(shard)]
        parts = zip(paths, read_files(paths, self._schema(columns), {}), strict=True)
        for shard, group in groupby(parts, key=lambda part: part[0][1]):
            yield str(shard), pa.concat_tables([rows for _, rows in group])

    def _schema(self, columns: Sequence[str]) -> pa.Schema:
        return pa.schema([self.schema.field(name) for name in columns])

    def _paths(self, shard: str) -> list[tuple[str, str | None]]:
        return [(f"{self.uri}/{PARTITION}={shard}/{name}", shard) for name in self.names.get(shard, ())]


def read_files(
    files: Sequence[tuple[str, str | None]], schema: pa.Schema, where: Mapping[str, str | int]
) -> Iterator[pa.Table]:
    """The rows of each file, in their order; of many files a few are read at once."""
    if len(files) < _FEWEST_FOR_THREADS:
        yield from (read_file(path, shard, schema, where) for path, shard in files)
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(files), _FEWEST_FOR_THREADS):
            some = files[start : start + _FEWEST_FOR_THREADS]
            yield from pool.map(lambda file: read_file(file[0], file[1], schema, where, threads=False), some)


def read_file(
    path: str, shard: str | None, schema: pa.Schema, where: Mapping[str, str | int], *, threads: bool = True
) -> pa.Table:
    """threads: whether columns are read side by side, which costs more than it gives where files are."""
    groups = list(row_groups(path, shard, schema, where, threads=threads))
    return pa.concat_tables(groups) if groups else schema.empty_table()


def row_groups(
    path: str,
    shard: str | None,
    schema: pa.Schema,
    where: Mapping[str, str | int],
    *,
    threads: bool = True,
    at_once: int | None = None,
) -> Iterator[pa.Table]:
    """The rows of a file group by group, or at most so many at once. Raises InputError for a file that is gone."""
    stored = [name for name in schema.names if name != PARTITION]
    # What is at a URL is fetched whole: each column by itself would be a request of its own.
    try:
        file = pq.ParquetFile(pa.BufferReader(place(path).read()) if is_remote(path) else path)
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: this file of a table is gone, maybe cleaned away since that version of the table; put it "
            "back from a copy of the workspace"
        ) from error
    for at in range(file.num_row_groups):
        if not where or _may_hold(file.metadata.row_group(at), where):
            for rows in _parts(file, at, stored, threads=threads, at_once=at_once):
                columns = columns_of(rows)
                columns[PARTITION] = pa.repeat(pa.scalar(shard, pa.string()), len(rows))
                yield with_unknown(columns, schema, rows=len(rows))


def _parts(
    file: pq.ParquetFile, at: int, columns: Sequence[str], *, threads: bool, at_once: int | None
) -> Iterator[pa.Table]:
    if at_once is None:
        yield file.read_row_group(at, columns=columns, use_threads=threads)
        return
    for batch in file.iter_batches(at_once, row_groups=[at], columns=columns, use_threads=False):
        yield pa.Table.from_batches([batch])


def _may_hold(group: pq.RowGroupMetaData, where: Mapping[str, str | int]) -> bool:
    """False where the statistics of a row group say that no row has these values."""
    for number in range(group.num_columns):
        column = group.column(number)
        value, statistics = where.get(column.path_in_schema), column.statistics
        known = value is not None and statistics is not None and statistics.has_min_max
        if known and not statistics.min <= value <= statistics.max:
            return False
    return True


def columns_of(table: pa.Table) -> dict[str, Any]:
    return dict(zip(table.column_names, table.columns, strict=True))


def with_unknown(columns: dict[str, Any], schema: pa.Schema, *, rows: int) -> pa.Table:
    """A table of `schema` from columns by name; what rows from before a column lack is the type's word for unknown."""
    made = []
    for field in schema:
        unknown = pa.scalar(_unknown(field.type), field.type)
        column = columns[field.name].cast(field.type) if field.name in columns else pa.repeat(unknown, rows)
        made.append(pc.coalesce(column, unknown) if column.null_count else column)
    return pa.table(made, schema=schema)


def as_rows_of(schema: pa.Schema, table: pa.Table) -> pa.Table:
    """Rows from before the schema gained columns, with what stands for unknown in these."""
    return with_unknown(columns_of(table), schema, rows=table.num_rows)


def _unknown(kind: pa.DataType) -> Any:
    """What stands for unknown in a column that is never null; see `schemas.tables`."""
    if pa.types.is_floating(kind):
        return math.nan
    if pa.types.is_list(kind):
        return []
    return {pa.string(): "", pa.binary(): b"", pa.bool_(): False}.get(kind, 0)
