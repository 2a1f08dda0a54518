"""The tables of a workspace behind one small interface, by their names.

One shard is the unit of work and of commit: `replace_shard` replaces its rows in one Delta commit that also carries the
key of the work, so a killed process leaves nothing that a reader can see and a rerun knows what is done.
"""

import re
from collections.abc import Collection, Mapping, Sequence, Set

import pyarrow as pa
import pyarrow.compute as pc

from engine.delta import ShardedTable, rows_where
from engine.keys import content_key
from engine.places import Place
from engine.table_files import PARTITION, TableFiles
from engine.workspace import Workspace
from schemas.stages import INSTALLED_STAGES, STAGES
from schemas.tables import TABLES

# Tables in which several stages keep their rows of one shard.
SHARED_TABLES = ("events", "generation", "annotations", "shard_sums")
_KEY = re.compile(r"[0-7][0-9a-f]{15}")
_SHARD = re.compile(r"[0-9]{6,}")


class Tables:
    """All tables of a workspace. Safe to use from several threads; `engine.store.Store` knows what is in them."""

    def __init__(self, files: Workspace) -> None:
        self.files = files
        self._tables = {name: self._table(name) for name in TABLES}
        for name in INSTALLED_STAGES:  # a workspace that does not use such a stage has no table of it
            if not self._tables[name].exists():
                del self._tables[name]

    def missing_tables(self) -> list[str]:
        """Tables of this version that the workspace has not."""
        return [name for name, table in self._tables.items() if not table.exists()]

    def create_table(self, name: str) -> None:
        """Make a table; does nothing where it exists."""
        self._tables.setdefault(name, self._table(name)).create()

    def _table(self, name: str) -> ShardedTable:
        return ShardedTable(str(self.files.tables / name), TABLES[name])

    def replace_shard(
        self, table: str, shard: str, rows: pa.Table, *, stage: str | None = None, round: int | None = None, key: str
    ) -> bool:
        """Replace the rows of a shard (of one round, if given) in one atomic commit that records `key` too.

        rows: of the table's schema, all of this shard (and stage, and round); may be empty. key: from `content_key`, of
        everything the rows follow from. Returns False and writes nothing where this key is committed already. Those of
        `SHARED_TABLES` keep rows of several stages and need `stage` along with `round`. Give `round` always or never
        for one table: keys of rounds and keys of whole shards do not know of each other.
        Raises ValueError for rows that do not fit, InputError if the disk is full.
        """
        schema = TABLES[table]
        rows = rows.select(schema.names).cast(schema)
        scope = self._scope(table, shard, stage, round)
        _check_rows(rows, scope)
        return self._replace(table, scope, rows, key)

    def committed(self, table: str, shard: str, *, stage: str | None = None, round: int | None = None) -> str | None:
        """The key last committed for a shard (and stage, and round), or None."""
        return self._key_of(table, self._scope(table, shard, stage, round))

    def read_shard(
        self,
        table: str,
        shard: str,
        *,
        round: int | None = None,
        columns: list[str] | None = None,
        version: int | None = None,
    ) -> pa.Table:
        """Rows of a shard (of one round, if given), now or at a table version."""
        if round is None:
            return self._tables[table].read(shard, columns=columns, version=version)
        wanted = None if columns is None else list(dict.fromkeys([*columns, "round"]))
        rows = rows_where(self._tables[table].read(shard, columns=wanted, version=version), round=round)
        return rows if columns is None else rows.select(columns)

    def read_table(self, table: str, columns: list[str] | None = None, version: int | None = None) -> pa.Table:
        """All rows, in no particular order, now or at a table version."""
        return self._tables[table].read(columns=columns, version=version)

    def read_rows(self, table: str, columns: list[str] | None = None, /, **values: str | int) -> pa.Table:
        """The rows of a table whose columns have these values, in no particular order."""
        shard = values.pop(PARTITION, None)
        return self._tables[table].read(None if shard is None else str(shard), columns=columns, where=values)

    def replace_table(self, table: str, rows: pa.Table) -> bool:
        """Replace a small table that has no shards, as a whole. False, and nothing written, where it is the same."""
        if PARTITION in TABLES[table].names:
            raise ValueError(f"{table} has shards; replace them one by one")
        rows = rows.select(TABLES[table].names).cast(TABLES[table])
        key = content_key(sorted(repr(row) for row in rows.to_pylist()))
        return self._tables[table].replace("true", rows, app_id="all", number=_number(key))

    def put_rows(self, table: str, rows: pa.Table, *, by: Sequence[str]) -> bool:
        """Write rows in one commit, each in the place of the row with the same values in the columns `by`.

        For tables that grow by a few rows at a time, maybe from several processes at once. All rows have the same
        values in all columns of `by` but the last. Returns False and writes nothing where all are there as they are.
        Raises ValueError for rows that do not fit, InputError if the disk is full.
        """
        if not len(rows):
            return False
        *fixed, last = by
        scope = {name: rows[name][0].as_py() for name in fixed}
        values = set(rows[last].to_pylist())
        if len(values) < len(rows):
            raise ValueError(f"rows for table {table} have the same {last}")
        some = {name: set(rows[name].to_pylist()) for name in (PARTITION, last) if name in rows.column_names}
        shards = sorted(some.get(PARTITION, {None}))
        there = pa.concat_tables([self._tables[table].read(shard, where=scope) for shard in shards])
        there = there.filter(pc.is_in(there[last], value_set=pa.array(sorted(values), there[last].type)))
        return self._replace_rows(table, rows, there, scope, some)

    def replace_rows(self, table: str, rows: pa.Table, **values: str | int) -> bool:
        """Replace all rows whose columns have these values, in one commit; otherwise as `put_rows`."""
        return self._replace_rows(table, rows, self.read_rows(table, **values), values, {})

    def append_rows(self, table: str, rows: pa.Table, *, source: str, until: int) -> bool:
        """Add rows in one commit that records how far they have been read from a source that only grows.

        Returns False and writes nothing where it was read so far before. One process at a time may read a source.
        Raises ValueError for rows that do not fit, InputError if the disk is full.
        """
        rows = rows.select(TABLES[table].names).cast(TABLES[table])
        return self._tables[table].append(rows, app_id=f"source={source}", number=until)

    def read_until(self, table: str, source: str) -> int:
        """How far rows of a table have been read from a source, 0 before the first."""
        return self._tables[table].transaction(f"source={source}") or 0

    def _replace_rows(
        self,
        table: str,
        rows: pa.Table,
        there: pa.Table,
        scope: Mapping[str, str | int],
        some: Mapping[str, Set[str | int]],
    ) -> bool:
        """there: the rows to be replaced, as they are now. some: columns and the values of which they have one."""
        rows = rows.select(TABLES[table].names).cast(TABLES[table])
        _check_rows(rows, scope)
        if sorted(map(repr, there.to_pylist())) == sorted(map(repr, rows.to_pylist())):  # NaN is itself here
            return False
        equal = [f"{name} = {_sql(value)}" for name, value in scope.items()]
        one_of = [f"{name} IN ({', '.join(sorted(map(_sql, values)))})" for name, values in some.items()]
        return self._tables[table].replace(" AND ".join(equal + one_of), rows)

    def highest_number(self, table: str) -> int:
        """Of `image_numbers` or `mask_numbers`; 0 where none was given yet."""
        return self._tables[table].highest("number")

    def shards(self, table: str = "images") -> list[str]:
        """Shards that have rows in a table, sorted."""
        return self._tables[table].shards()

    def versions(self) -> dict[str, int]:
        """The version of each table now: a snapshot that `version=` reads again later."""
        return {name: table.version() for name, table in self._tables.items()}

    def counts(self) -> dict[str, int]:
        """Rows of each table; quick, because it reads the log alone."""
        return {name: table.count() for name, table in self._tables.items()}

    def compact(self, *, more_than: int, in_shard: int) -> dict[str, int]:
        """Put files of tables together, in one commit each: all of a table without shards that has more than so many,
        and those of a shard that has more than `in_shard`. What older versions have stays as it is.

        Returns how many files there are less now, by table.
        """
        found = {
            name: table.compact(more_than=in_shard if PARTITION in table.schema.names else more_than)
            for name, table in self._tables.items()
        }
        return {name: fewer for name, fewer in found.items() if fewer}

    def unused_files(self, table: str, keep: Collection[int], *, older_than_h: int) -> list[Place]:
        """Files of a table that no version of `keep` has, nor any that was there within so many hours; and checkpoints
        of its log that none of these versions is read from."""
        where, known = self.files.tables / table, self._tables[table]
        names = [*known.unused_files(keep, older_than_h=older_than_h), *known.unused_checkpoints(keep)]
        return [where / name for name in names]

    def files_at(self, table: str, version: int | None = None) -> TableFiles:
        """What reads the rows of a table shard by shard, now or at a table version, also in other processes."""
        return self._tables[table].files_at(version)

    def _replace(self, table: str, scope: Mapping[str, str | int], rows: pa.Table, key: str) -> bool:
        predicate = " AND ".join(f"{name} = {_sql(value)}" for name, value in scope.items())
        in_shard = scope if PARTITION in scope else None
        return self._tables[table].replace(predicate, rows, app_id=_app_id(scope), number=_number(key), scope=in_shard)

    def _key_of(self, table: str, scope: Mapping[str, str | int]) -> str | None:
        number = self._tables[table].transaction(_app_id(scope))
        return None if number is None else f"{number:016x}"

    @staticmethod
    def _scope(table: str, shard: str, stage: str | None, round: int | None) -> dict[str, str | int]:
        if not _SHARD.fullmatch(shard):
            raise ValueError(f"a shard is named by six digits, not {shard!r}")
        if table in SHARED_TABLES and (stage is None or round is None):
            raise ValueError(f"{table} keeps rows of several stages: give stage and round")
        if stage is not None and stage not in STAGES:
            raise ValueError(f"unknown stage {stage!r}")
        given = {"shard": shard, "stage": stage if table in SHARED_TABLES else None, "round": round}
        return {name: value for name, value in given.items() if value is not None}


def _check_rows(rows: pa.Table, scope: Mapping[str, str | int]) -> None:
    for name, value in scope.items():
        if not pc.all(pc.equal(rows.column(name), value), min_count=0).as_py():
            raise ValueError(f"rows to replace {name} = {value} have other values there")


def _app_id(scope: Mapping[str, str | int]) -> str:
    return "/".join(f"{name}={value}" for name, value in scope.items())


def _number(key: str) -> int:
    """Delta keeps one whole number per application id, so a key is a 63-bit number written in hex."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"key {key!r} is not from content_key(): 16 hex digits, 63 bits")
    return int(key, 16)


def _sql(value: str | int) -> str:
    return str(value) if isinstance(value, int) else f"'{value}'"
