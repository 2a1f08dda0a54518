"""One Delta table, partitioned by shard: one cached handle, replacement in one commit, quick reads.

Reads go from the list of live files straight to Parquet: asking Delta to filter costs seconds once there are
thousands of partitions. All history is kept, because models name the table versions they learned from; who wants the
space back asks for it (`engine.unused_files`).

A schema may gain columns, never lose or change them. A table made before takes a new column in with the first rows that
have it; in rows from before it is unknown: NaN, "", 0, False or an empty list.
"""

import hashlib
import random
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import (
    ColumnProperties,
    CommitProperties,
    DeltaTable,
    QueryBuilder,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, DeltaError

from engine.files import storage_errors
from engine.places import Place, place
from engine.remote import is_remote, remote_errors, table_options
from engine.shard_commits import Scope, ShardCommits
from engine.shard_log import CHECKPOINT_EVERY, ShardLog
from engine.table_files import PARTITION, TableFiles, columns_of, read_file, read_files, row_groups, with_unknown
from schemas.errors import InputError

LOG = "_delta_log"
_ATTEMPTS = 20
_FIRST_WAIT_S = 0.02
_LONGEST_WAIT_S = 1.0
_KEEP = "interval 36500 days"
_STAMP_DIGITS = 16
_LAST_CHECKPOINTS = 2  # stay
# Unique values: a dictionary of them would only make the file larger.
_NO_DICTIONARY = ("mask_id", "event_id", "rle", "image_ids")
_ROWS_OF_LISTS = 1000  # in a row group, where a row holds a list of a shard's images ...
_ROWS_OF_LISTS_AT_ONCE = 250  # ... and in memory
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
            max_row_group_size=_ROWS_OF_LISTS if "image_ids" in schema.names else None,
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
        with self._lock, self._errors():
            version = -1 if self._commits is None else self._commits.log.latest_version()
            return version if version >= 0 else int(self._latest().version())

    def stamp(self, version: int) -> str:
        """What the table is at a version, in a few digits: another table's commit of that number has others.

        "" where that commit is not kept any more.
        """
        commit = self._log / f"{version:020d}.json"
        with self._errors():
            try:
                return f"{version}-{hashlib.sha256(commit.read()).hexdigest()[:_STAMP_DIGITS]}"
            except FileNotFoundError:
                return ""

    def transaction(self, app_id: str) -> int | None:
        """The number last committed under `app_id`, or None."""
        if self._commits is not None:
            with self._lock, self._errors():
                return self._refreshed(self._commits).number(app_id)
        value = self._latest().transaction_version(app_id)
        return None if value is None else int(value)

    def append(self, rows: pa.Table, *, app_id: str, number: int) -> bool:
        """Add rows and record `number` under `app_id`, in one commit; otherwise as `replace`."""
        return self.replace(None, rows, app_id=app_id, number=number)

    def replace(
        self, predicate: str | None, rows: pa.Table, *, app_id: str = "", number: int = 0, scope: Scope | None = None
    ) -> bool:
        """Replace the rows that fulfil `predicate` and record `number` under `app_id`, in one commit.

        None: no row does. scope: columns with their values, the shard among them, that say the same as the predicate:
        on a disk of this machine it is done without a look at other shards.

        Returns False and writes nothing where that number is the one recorded; without an app_id nothing is recorded
        and the rows are written. Two writers of the same rows are serialised: the loser looks again and then either
        finds its number or replaces what the winner wrote.
        Raises InputError for a full disk, CommitFailedError if others kept winning.
        """
        properties = CommitProperties(app_transactions=[Transaction(app_id, number)]) if app_id else None
        for attempt in range(_ATTEMPTS):
            with self._lock, self._errors():
                if scope is not None and self._commits is not None:
                    log = self._refreshed(self._commits)
                    if log.number(app_id) == number:
                        return False
                    if log.columns >= set(self.schema.names):
                        if self._commits.replace(scope, rows, app_id=app_id, number=number):
                            self._checkpoint(log.version + 1)
                            return True
                        if attempt == _ATTEMPTS - 1:
                            raise CommitFailedError(f"{self.uri}: others kept committing")
                        continue
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
        parts = list(read_files(self._files(shard, version), schema, where or {}))
        found = rows_where(pa.concat_tables(parts) if parts else schema.empty_table(), **(where or {}))
        return found.select(names)

    def batches(self, columns: list[str], *, where: Mapping[str, str | int]) -> Iterator[pa.Table]:
        """As `read` of all shards, but a part of a file at a time."""
        schema = pa.schema([self.schema.field(name) for name in dict.fromkeys([*columns, *where])])
        for path, part in self._files(None, None):
            for rows in row_groups(path, part, schema, where, at_once=_ROWS_OF_LISTS_AT_ONCE):
                yield rows_where(rows, **where).select(columns)

    def files_at(self, version: int | None = None) -> "TableFiles":
        """The files of a partitioned table, now or at a table version."""
        names: dict[str, list[str]] = {}
        for path, shard in self._files(None, version):
            names.setdefault(str(shard), []).append(path.rsplit("/", 1)[-1])
        return TableFiles(self.uri, self.schema, {shard: sorted(names[shard]) for shard in sorted(names)})

    def has_column(self, name: str) -> bool:
        """Whether the table as it is stored has a column."""
        return name in {field.name for field in self._latest().schema().fields}

    def replace_all(self, rows: pa.Table) -> None:
        """Put rows in the place of all, and their columns in the place of the table's, in one commit."""
        with self._lock, self._errors():
            write_deltalake(
                self._latest(), rows, mode="overwrite", schema_mode="overwrite", writer_properties=self._writer
            )

    def unused_files(self, keep: Collection[int], *, older_than_h: int) -> list[str]:
        """Files, by their paths below the table, that no version of `keep` has, nor any that was there within so many
        hours. Raises InputError for a version that cannot be read any more."""
        with self._lock, self._errors():
            latest = self._latest()
            try:
                return sorted(
                    # Only listed: Delta's own removal commits, and a release of equal tables would be another one.
                    latest.vacuum(
                        retention_hours=older_than_h,
                        enforce_retention_duration=False,
                        dry_run=True,
                        full=True,
                        keep_versions=sorted({*keep, int(latest.version())}),
                    )
                )
            except DeltaError as error:
                told = " ".join(str(error).split())
                raise InputError(f"{self.uri}: a version of {sorted(keep)} cannot be read: {told}") from error

    def unused_checkpoints(self, keep: Collection[int]) -> list[str]:
        """Checkpoints, by their paths below the table, that neither a version of `keep` nor the table as it is now is
        read from. Every version can be read without them, from the checkpoint before, by the commits since."""
        with self._errors():
            found = {int(file.name.split(".")[0]): file.name for file in self._log.find("*.checkpoint.parquet")}
            last = sorted(found)[-_LAST_CHECKPOINTS:]  # somebody may be about to read the one before
        needed = {max((each for each in found if each <= version), default=-1) for version in keep}
        return [f"{LOG}/{found[version]}" for version in sorted({*found} - {*last} - needed)]

    def compact(self, *, more_than: int) -> int:
        """Put files together where there are more than so many, of a partitioned table in one shard, in one commit;
        returns how many there were less.

        Nothing is removed: older versions stay as they are. Where another writer comes in between nothing is done.
        """
        with self._lock, self._errors():
            latest = self._latest()
            before = len(latest.file_uris())
            filters = None
            if PARTITION in self.schema.names:
                crowded = [shard for shard, files in self.files_at().names.items() if len(files) > more_than]
                filters = [(PARTITION, "in", crowded)]
            if before <= more_than or (filters and not crowded):
                return 0
            try:
                latest.optimize.compact(partition_filters=filters, writer_properties=self._writer)
            except CommitFailedError:
                return 0
            return before - len(self._latest().file_uris())

    def query(self, condition: str) -> pa.Table:
        """Rows that fulfil an SQL condition, over the whole table (reads every file)."""
        with self._lock, self._errors():
            builder = QueryBuilder().register("t", self._latest())
            found = pa.table(builder.execute(f"SELECT * FROM t WHERE {condition}").read_all())
        return with_unknown(columns_of(found), self.schema, rows=found.num_rows)

    def shards(self) -> list[str]:
        """Shards that have rows, sorted."""
        if self._commits is not None:
            with self._lock, self._errors():
                return self._refreshed(self._commits).shards()
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

    @property
    def _log(self) -> Place:
        return place(self.uri) / LOG

    @cached_property
    def _commits(self) -> ShardCommits | None:
        """None for a table at a URL, whose commits need what the object store offers for that."""
        if is_remote(self.uri) or PARTITION not in self.schema.names:
            return None
        return ShardCommits(
            Path(self.uri),
            self.schema,
            partition=PARTITION,
            no_dictionary=_NO_DICTIONARY,
            statistics=_STATISTICS,
            read=lambda path, shard: read_file(path, shard, self.schema, {}),
        )

    def _refreshed(self, commits: ShardCommits) -> ShardLog:
        commits.log.refresh()
        if commits.log.version < 0:
            self._latest()  # says what is wrong with it
        return commits.log

    def _checkpoint(self, version: int) -> None:
        """So that a log is read in the time of its last commits."""
        if version % CHECKPOINT_EVERY == 0:
            self._latest().create_checkpoint()

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
            if shard is not None and version is None and self._commits is not None:
                with self._errors():
                    files = self._refreshed(self._commits).files(shard)
                return [(f"{self.uri}/{file.path}", shard) for file in files]
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


def _with_nullable(schema: pa.Schema, names: list[str]) -> pa.Schema:
    return pa.schema([field.with_nullable(True) if field.name in names else field for field in schema])


def rows_where(table: pa.Table, **values: Any) -> pa.Table:
    """Rows whose columns have the given values."""
    for name, value in values.items():
        wanted = pc.equal(table.column(name), value)
        if not pc.all(wanted, min_count=0).as_py():  # else a copy of all
            table = table.filter(wanted)
    return table
