"""The Parquet index of a release as DuckDB reads it: scanned where it lies, never loaded as a whole."""

import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from engine.release.explorer.filters import CHOICES, RANGES, Filters, sort_sql
from schemas.errors import InputError
from schemas.release import IMAGE_INDEX, MASK_INDEX, Manifest

_LISTINGS = 4  # orders of pictures that are kept
_BINS = 40
_MEMORY = "1GB"  # what needs more is put on the disk
_SETTINGS: dict[str, Any] = {
    "memory_limit": _MEMORY,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
# What format 1 lacks: it called masks and pictures by their content ids.
_OLD_NAMES = {"masks": {"id": "mask_id", "content_id": "mask_id"}, "images": {"content_id": "image_id"}}
_SQL_TYPES = {pa.int32(): "INTEGER", pa.int64(): "BIGINT", pa.string(): "VARCHAR", pa.float32(): "FLOAT"}


@dataclass(frozen=True)
class Listing:
    """The pictures that have masks to be looked at, in one order: a table with a row for each, by `place` from 0."""

    table: str
    pictures: int
    masks: int


@dataclass(frozen=True)
class MadePicture:
    """content_id: of the picture in its workspace. places: stage and round of each of its masks, once."""

    content_id: int
    places: tuple[tuple[str, int], ...]


class Index:
    """Questions to the index; safe to be asked by several threads."""

    def __init__(self, folder: Path, manifest: Manifest, scratch: Path) -> None:
        """scratch: an empty folder for what does not fit into memory.

        Raises InputError where an index file cannot be read or is of another kind.
        """
        self._folder, self._manifest = folder, manifest
        self._database = duckdb.connect(config={**_SETTINGS, "temp_directory": str(scratch)})
        self._listings: OrderedDict[Any, Listing] = OrderedDict()
        self._lock, self._made = threading.Lock(), 0
        self._facets: dict[str, Any] | None = None
        self._selected: dict[str, str] = {}
        with self._reading() as cursor:
            cursor.execute("SET parquet_metadata_cache = true")
            # It takes the smallest and largest value that Parquet tells of a column for all there is, and so believes
            # that no number is NaN (DuckDB 2.0.1). Parts of files that cannot fit are passed over without it as well.
            cursor.execute("SET disabled_optimizers = 'statistics_propagation'")
            for kind, schema in (("images", IMAGE_INDEX), ("masks", MASK_INDEX)):
                self._make_view(cursor, kind, schema)

    def listing(self, filters: Filters, sort: str) -> Listing:
        """The pictures with masks that pass the filters; those of a handful of questions are kept."""
        key = (filters.key(), sort)
        with self._lock:
            if key in self._listings:
                self._listings.move_to_end(key)
                return self._listings[key]
            while len(self._listings) >= _LISTINGS:
                _, old = self._listings.popitem(last=False)
                with self._reading() as cursor:
                    cursor.execute(f"DROP TABLE {old.table}")
            self._made += 1
            self._listings[key] = made = self._make_listing(f"listing_{self._made}", filters, sort)
            return made

    def page(self, listing: Listing, offset: int, limit: int) -> list[dict[str, Any]]:
        """Rows of a listing: place, image_id, matching (masks that pass), score, mask, and what the index says."""
        return self._rows(
            f"SELECT p.*, i.content_id, i.file_name, i.width, i.height, i.split, i.masks FROM {listing.table} p "
            "JOIN images i USING (image_id) WHERE p.place >= ? AND p.place < ? ORDER BY p.place",
            [offset, offset + limit],
        )

    def place_of(self, listing: Listing, image_id: int) -> int | None:
        """Where a picture stands in a listing; None where it is not in it."""
        found = self._rows(f"SELECT place FROM {listing.table} WHERE image_id = ?", [image_id])
        return found[0]["place"] if found else None

    def picture(self, image_id: int) -> dict[str, Any] | None:
        """The row of a picture, None where there is none."""
        found = self._rows("SELECT * FROM images WHERE image_id = ?", [image_id])
        return found[0] if found else None

    def picture_of_content(self, content_id: int) -> int | None:
        """The number of a picture of which the workspace's id is known."""
        found = self._rows("SELECT image_id FROM images WHERE content_id = ?", [content_id])
        return found[0]["image_id"] if found else None

    def picture_of_mask(self, mask_id: int) -> int | None:
        """The number of the picture that a mask is on."""
        found = self._rows("SELECT image_id FROM masks WHERE id = ?", [mask_id])
        return found[0]["image_id"] if found else None

    def masks_of(self, picture: dict[str, Any], filters: Filters) -> list[dict[str, Any]]:
        """The rows of a picture's masks, with `shown`: whether they pass the filters. Reads the index of one tar."""
        file = next(tar.mask_index.name for tar in self._manifest.tars if tar.tar.name == picture["tar"])
        condition, values = filters.where()
        return self._rows(
            f"SELECT m.*, ({condition}) AS shown FROM (SELECT {self._selected['masks']} FROM read_parquet(?)) m "
            "JOIN (SELECT ?::INTEGER AS width, ?::INTEGER AS height, ?::VARCHAR AS split) i ON true "
            "WHERE m.image_id = ?",
            [*values, self._file(file), picture["width"], picture["height"], picture["split"], picture["image_id"]],
        )

    def made(self, image_ids: Sequence[int]) -> dict[int, MadePicture]:
        """Where the masks of pictures were made, by number; pictures that there are not are left out."""
        marks = ", ".join("?" * len(image_ids))
        rows = self._rows(
            "SELECT i.image_id, i.content_id, list(DISTINCT {'stage': m.stage, 'round': m.round}) AS places "
            f"FROM images i JOIN masks m USING (image_id) WHERE i.image_id IN ({marks}) GROUP BY ALL",
            image_ids,
        )
        return {
            row["image_id"]: MadePicture(
                row["content_id"], tuple((place["stage"], place["round"]) for place in row["places"])
            )
            for row in rows
        }

    def facets(self) -> dict[str, Any]:
        """Of the whole release: masks by stage, origin and split, and a histogram of each number that can be ranged."""
        if self._facets is None:
            joined = "masks m JOIN images i USING (image_id)"
            counts = {
                name: {
                    row["value"]: row["masks"]
                    for row in self._rows(
                        f"SELECT {column} AS value, count(*) AS masks FROM {joined} GROUP BY 1 ORDER BY 2 DESC, 1"
                    )
                }
                for name, column in CHOICES.items()
            }
            self._facets = {"choices": counts, "ranges": {name: self._histogram(name, joined) for name in RANGES}}
        return self._facets

    def _histogram(self, name: str, joined: str) -> dict[str, Any]:
        """Bins of equal width over [0, 1]; what lies outside counts in the last bin on its side."""
        column = RANGES[name]
        rows = self._rows(
            f"SELECT CASE WHEN isnan({column}) THEN NULL ELSE greatest(0, least({_BINS - 1}, "
            f"floor({column} * {_BINS})))::INTEGER END AS bin, count(*) AS masks FROM {joined} GROUP BY 1"
        )
        found = {row["bin"]: row["masks"] for row in rows}
        return {"bins": [found.get(place, 0) for place in range(_BINS)], "unknown": found.get(None, 0)}

    def _make_listing(self, table: str, filters: Filters, sort: str) -> Listing:
        order, score, mask = sort_sql(sort)
        condition, values = filters.where()
        if filters.of_masks or mask != "NULL":
            pictures = (
                f"SELECT image_id, count(*)::INTEGER AS matching, {score} AS score, {mask} AS mask "
                f"FROM masks m JOIN images i USING (image_id) WHERE {condition} GROUP BY image_id"
            )
        else:  # then the pictures' own rows say it all
            pictures = (
                "SELECT image_id, masks AS matching, NULL::FLOAT AS score, NULL::BIGINT AS mask FROM images i "
                f"WHERE {condition}"
            )
        with self._reading() as cursor:
            cursor.execute(
                f"CREATE TABLE {table} AS SELECT row_number() OVER (ORDER BY {order}) - 1 AS place, * "
                f"FROM ({pictures})",
                values,
            )
            found = cursor.execute(f"SELECT count(*), coalesce(sum(matching), 0)::BIGINT FROM {table}").fetchone()
        assert found is not None  # counts always give a row
        return Listing(table, *found)

    def _make_view(self, cursor: duckdb.DuckDBPyConnection, kind: str, schema: pa.Schema) -> None:
        files = [self._file(getattr(tar, f"{kind.removesuffix('s')}_index").name) for tar in self._manifest.tars]
        if not files:
            columns = ", ".join(f"NULL::{_sql_type(field.type)} AS {field.name}" for field in schema)
            cursor.execute(f"CREATE VIEW {kind} AS SELECT {columns} WHERE false")
            return
        there = {row[0] for row in cursor.execute("DESCRIBE SELECT * FROM read_parquet(?)", [files[0]]).fetchall()}
        self._selected[kind] = ", ".join(_column(kind, field, there) for field in schema)
        listed = ", ".join(_quoted(file) for file in files)
        cursor.execute(f"CREATE VIEW {kind} AS SELECT {self._selected[kind]} FROM read_parquet([{listed}])")

    def _file(self, name: str) -> str:
        """The path of a file of the release in the form that DuckDB takes for one file, whatever is in its name."""
        return re.sub(r"([\[*?])", r"[\1]", str(self._folder / name))

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        with self._reading() as cursor:
            found = cursor.execute(sql, list(values))
            names = [column[0] for column in found.description or ()]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    @contextmanager
    def _reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        try:
            with self._database.cursor() as cursor:
                yield cursor
        except duckdb.Error as error:
            problem = " ".join(str(error).split())
            raise InputError(
                f"{self._folder}: its index cannot be read: {problem}; see what is damaged with: "
                f"sam-engine release verify {self._folder}"
            ) from error


def _column(kind: str, field: pa.Field, there: set[str]) -> str:
    old = _OLD_NAMES[kind].get(field.name, "")
    if field.name in there:
        return str(field.name)
    return f"{old} AS {field.name}" if old in there else f"NULL::{_sql_type(field.type)} AS {field.name}"


def _sql_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"{_sql_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        return "STRUCT(" + ", ".join(f"{field.name} {_sql_type(field.type)}" for field in kind) + ")"
    return "TINYINT" if kind == pa.int8() else _SQL_TYPES[kind]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
