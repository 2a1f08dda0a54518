"""The store: every table of a workspace behind one small interface.

One shard is the unit of work and of commit: `replace_shard` replaces its rows in one Delta commit that also carries the
key of the work, so a killed process leaves nothing that a reader can see and a rerun knows what is done.
"""

import re
import threading
from collections.abc import Collection, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine.changed_pictures import ChangedPictures
from engine.delta import ShardedTable, rows_where
from engine.image_index import ImageIndex, read_index
from engine.images import decode_image, read_original
from engine.keys import content_key as content_key
from engine.mask_index import MaskIndex
from engine.migrations import bring_up_to_date, write_format
from engine.places import Place, place
from engine.round_images import read_runs, round_images
from engine.table_files import PARTITION, TableFiles
from engine.workspace import Workspace
from schemas.default_settings import DEFAULT_YAML
from schemas.errors import InputError
from schemas.image_ids import ImageIds
from schemas.round_metrics import RoundMetrics
from schemas.stages import INSTALLED_STAGES, STAGES, Stage
from schemas.tables import IMAGES, MASK_TABLES, TABLES, Round, table_of

# Tables in which several stages keep their rows of one shard.
SHARED_TABLES = ("events", "generation", "annotations", "shard_sums")
_KEY = re.compile(r"[0-7][0-9a-f]{15}")
_SHARD = re.compile(r"[0-9]{6,}")


class Store:
    """The tables and images of a workspace. Cheap to keep open; safe to use from several threads."""

    def __init__(self, workspace: str | Path | Workspace) -> None:
        """Open a workspace; one that an older version made is brought up to date.

        Raises InputError if it is none, if a newer version made it, or if a table with masks is gone.
        """
        self.files = Workspace(workspace)
        self._tables = {name: self._table(name) for name in TABLES}
        for name in INSTALLED_STAGES:  # a workspace that does not use such a stage has no table of it
            if not self._tables[name].exists():
                del self._tables[name]
        if not self._tables["images"].exists():
            with suppress(FileNotFoundError):
                self.files.config.read()  # where even the bucket is missing, this says so
            raise InputError(
                f"{self.files}: not a workspace (no table 'images'); make one with: sam-engine init {self.files}"
            )
        self._index: tuple[int, ImageIndex] | None = None
        self._index_lock = threading.Lock()
        bring_up_to_date(self)

    @classmethod
    def create(cls, workspace: str | Path | Workspace) -> "Store":
        """Make a workspace: folders, tables and a commented engine.yaml. What exists stays as it is.

        Raises InputError if the folder cannot be written.
        """
        files = Workspace(workspace)
        if files.root.size() is not None:
            raise InputError(f"{files}: a file of this name exists; choose another name for the workspace")
        if not files.config.exists():
            files.config.write(DEFAULT_YAML.encode())
        for folder in (files.images, files.tables, files.models, files.releases, files.reports):
            folder.make_folder()
        if not cls.is_made(files):
            write_format(files)
        # `images` last: what has it is a workspace
        for name in reversed([name for name in TABLES if name not in INSTALLED_STAGES]):
            ShardedTable(str(files.tables / name), TABLES[name]).create()
        return cls(files)

    @staticmethod
    def is_made(files: Workspace) -> bool:
        """Whether `create` came to its end there."""
        return ShardedTable(str(files.tables / "images"), IMAGES).exists()

    @property
    def workspace(self) -> Path:
        """Its folder. Raises InputError for a workspace at a URL."""
        return self.files.local_path("a workspace whose folder is asked for")

    def missing_tables(self) -> list[str]:
        """Tables of this version that the workspace has not."""
        return [name for name, table in self._tables.items() if not table.exists()]

    def create_table(self, name: str) -> None:
        """Make a table; does nothing where it exists."""
        self._tables.setdefault(name, self._table(name)).create()

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Stages that the workspace has tables of masks for, in their order."""
        return tuple(stage for stage in STAGES if stage in self._tables)

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
        number = self._tables[table].transaction(_app_id(self._scope(table, shard, stage, round)))
        return None if number is None else f"{number:016x}"

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

    def read_image(self, table: str, image_id: int) -> pa.Table:
        """Rows of one image. Raises InputError for an image that the workspace does not have."""
        return rows_where(self._tables[table].read(self.shard_of(image_id)), image_id=image_id)

    def read_table(self, table: str, columns: list[str] | None = None, version: int | None = None) -> pa.Table:
        """All rows, in no particular order, now or at a table version."""
        return self._tables[table].read(columns=columns, version=version)

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

    def read_rows(self, table: str, columns: list[str] | None = None, /, **values: str | int) -> pa.Table:
        """The rows of a table whose columns have these values, in no particular order."""
        shard = values.pop(PARTITION, None)
        return self._tables[table].read(None if shard is None else str(shard), columns=columns, where=values)

    def highest_number(self, table: str) -> int:
        """Of `image_numbers` or `mask_numbers`; 0 where none was given yet."""
        return self._tables[table].highest("number")

    def find_mask(self, mask_id: int) -> dict[str, Any] | None:
        """The row of a mask, with the name of its table under "table"; None if there is none.

        mask_id: as in the tables, or the number that releases call the mask by. The first call reads the ids of all
        masks (`engine.mask_index`).
        """
        numbered = self._tables["mask_numbers"].query(f"number = {int(mask_id)}")["content_id"].to_pylist()
        mask_id = int(numbered[0] if numbered else mask_id)
        names = (*self.stages, *(name for name in MASK_TABLES if name not in STAGES), "removed")
        tables = {name: self.files_at(name) for name in names}
        for table, shard in self._masks.shards_of(mask_id, tables):
            found = self.read_rows(table, shard=shard, mask_id=mask_id).to_pylist()
            if found:
                return {"table": table, **found[0]}
        return None

    @cached_property
    def _masks(self) -> MaskIndex:
        return MaskIndex(place(self.files.cache.on_disk() / "masks"))

    def shards(self, table: str = "images") -> list[str]:
        """Shards that have rows in a table, sorted."""
        return self._tables[table].shards()

    def versions(self) -> dict[str, int]:
        """The version of each table now: a snapshot that `version=` reads again later."""
        return {name: table.version() for name, table in self._tables.items()}

    def counts(self) -> dict[str, int]:
        """Rows of each table; quick, because it reads the log alone."""
        return {name: table.count() for name, table in self._tables.items()}

    def images(self, columns: list[str] | None = None) -> pa.Table:
        """All images, sorted by shard and image_id. Reads the whole table: `image_index` is for many."""
        names = columns or IMAGES.names
        rows = self.read_table("images", columns=list(dict.fromkeys([*names, "shard", "image_id"])))
        return rows.sort_by([("shard", "ascending"), ("image_id", "ascending")]).select(names)

    def picture(self, row: dict[str, Any]) -> Place:
        """Where the file of a row of `images` lies."""
        return self.files.picture(row["path"])

    def load_image(self, image_id: int) -> npt.NDArray[np.uint8]:
        """The picture, (height, width, 3) uint8 RGB, upright. Raises InputError if its file is gone or was changed."""
        file = self.picture(self.read_image("images", image_id).to_pylist()[0])
        # The limit was checked when the picture came in; it stays readable when the setting is lowered later.
        data = read_original(file, image_id)
        return decode_image(data, max_megapixels=float("inf"), name=str(file), bit_depth=self.bit_depth)

    def intact(self, image_ids: Collection[int]) -> set[int]:
        """Those of these images whose file is there as it was ingested. Reads each file, but for those that were found
        to be others and have not changed since."""
        wanted, found = set(image_ids), set()
        changed = ChangedPictures(place(self.files.cache.on_disk() / "changed.json"))
        for shard in sorted({shard for image_id in wanted if (shard := self._found(image_id))}):
            for row in self.read_shard("images", shard, columns=["image_id", "path"]).to_pylist():
                if row["image_id"] in wanted and changed.is_intact(row["image_id"], self.picture(row)):
                    found.add(row["image_id"])
        changed.write()
        return found

    @cached_property
    def bit_depth(self) -> int | None:
        """`images.bit_depth` of its settings, by which all pictures are read."""
        return self.files.settings().images.bit_depth

    def has_image(self, image_id: int) -> bool:
        """Whether the workspace has an image."""
        return self._found(image_id) is not None

    def shard_of(self, image_id: int) -> str:
        """The shard of an image. Raises InputError for an image that the workspace does not have."""
        shard = self._found(image_id)
        if shard is None:
            raise InputError(f"{self.files}: no image {image_id}; sam-engine status {self.files} shows what is in it")
        return shard

    def _found(self, image_id: int) -> str | None:
        """An image stays in its shard for good, so that the table is looked at only for one that was not there."""
        known = self._index and self._index[1].shard_of(image_id)
        return known or self.image_index().shard_of(image_id)

    def put_round(self, record: Round) -> bool:
        """Write the row of one round of a stage. Returns False and writes nothing where it is the same already.

        Its images are written before it, where they are not those that it has: until then nobody asks for them.
        """
        ids = ImageIds.of(record.image_ids)
        scope: dict[str, str | int] = {"stage": record.stage, "round": record.round}
        self.put_images_of_round(record.stage, record.round, ids)
        row = {
            **scope,
            "images": len(ids),
            "images_key": ids.key,
            "state": record.state,
            "model_before": record.model_before,
            "model_after": record.model_after,
            "metrics": record.metrics.to_json(),
        }
        return self._replace("rounds", scope, table_of("rounds", [row]), content_key(sorted(row.items())))

    def put_images_of_round(self, stage: Stage, round: int, ids: ImageIds) -> None:
        """Write the images of a round, where it does not have these already, shard by shard."""
        scope: dict[str, str | int] = {"stage": stage, "round": round}
        if self._tables["round_images"].transaction(_app_id(scope)) != _number(ids.key):
            runs = self.image_index().runs(ids.array)
            self._replace("round_images", scope, round_images(stage, round, runs), ids.key)

    def rounds(self, stage: str | None = None) -> list[Round]:
        """Rounds of a stage, or of all, in the order of stages and rounds. Their images are read once they are needed.

        Those of stages that no installed package brings are left out; `foreign_stages` names them.
        """
        rows = [row for row in self.read_table("rounds").to_pylist() if row["stage"] in STAGES]
        records = [self._round(row) for row in rows if stage in (None, row["stage"])]
        return sorted(records, key=lambda record: (STAGES.index(record.stage), record.round))

    def _round(self, row: dict[str, Any]) -> Round:
        table, scope = self._tables["round_images"], {name: row[name] for name in ("stage", "round")}
        ids = ImageIds.stored(row.pop("images"), row.pop("images_key"), partial(read_runs, table, **scope))
        return Round(**row | {"image_ids": ids, "metrics": RoundMetrics.from_json(row["metrics"])})

    def foreign_stages(self) -> list[str]:
        """Stages that the workspace has rounds of, but that no installed package brings."""
        stages = self.read_table("rounds", ["stage"])["stage"].to_pylist()
        return sorted({stage for stage in stages if stage not in STAGES})

    def _table(self, name: str) -> ShardedTable:
        return ShardedTable(str(self.files.tables / name), TABLES[name])

    def image_index(self, version: int | None = None) -> ImageIndex:
        """Where each image is, whether it is held out: now, or at a version of the table. See `engine.image_index`."""
        table, file = self._tables["images"], place(self.files.cache.on_disk() / "images.arrow")
        latest = table.version()
        with self._index_lock:
            if self._index is None or self._index[0] != latest:
                known, stamp = self._index[1] if self._index else read_index(file), table.stamp(latest)
                # Only where its version is another one its files are listed, which takes memory.
                index = known if stamp and known.stamp == stamp else known.changed_to(table.files_at())
                if index is not known or index.stamp != stamp:
                    index = replace(index, stamp=stamp).write(file)
                self._index = (latest, index)
            index = self._index[1]
        return index if version in (None, latest) else index.changed_to(table.files_at(version))

    def unused_files(self, table: str, keep: Collection[int], *, older_than_h: int) -> list[Place]:
        """Files of a table that no version of `keep` has, nor any that was there within so many hours; and checkpoints
        of its log that none of these versions is read from."""
        where, known = self.files.tables / table, self._tables[table]
        names = [*known.unused_files(keep, older_than_h=older_than_h), *known.unused_checkpoints(keep)]
        return [where / name for name in names]

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

    def files_at(self, table: str, version: int | None = None) -> TableFiles:
        """What reads the rows of a table shard by shard, now or at a table version, also in other processes."""
        return self._tables[table].files_at(version)

    def _replace(self, table: str, scope: Mapping[str, str | int], rows: pa.Table, key: str) -> bool:
        predicate = " AND ".join(f"{name} = {_sql(value)}" for name, value in scope.items())
        in_shard = scope if PARTITION in scope else None
        return self._tables[table].replace(predicate, rows, app_id=_app_id(scope), number=_number(key), scope=in_shard)

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
