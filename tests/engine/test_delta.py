"""Tables that were made before a column was thought of."""

import math
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from engine import delta
from engine.delta import ShardedTable
from schemas.tables import PARENTS

BEFORE = [("image_id", pa.int64()), ("shard", pa.string()), ("round", pa.int32())]
ADDED = [
    ("share", pa.float32()),
    ("parents", PARENTS),
    ("name", pa.string()),
    ("count", pa.int64()),
    ("sure", pa.bool_()),
    ("rle", pa.binary()),
]
UNKNOWN = {"parents": [], "name": "", "count": 0, "sure": False, "rle": b""}
KNOWN = {
    "share": 0.5,
    "parents": [{"mask_id": 1, "parent_mask_id": 2}],
    "name": "a",
    "count": 3,
    "sure": True,
    "rle": b"x",
}


def schema_of(columns: list[tuple[str, pa.DataType]]) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns])


def rows(round: int, *ids: int, shard: str = "000000", **more: object) -> pa.Table:
    made = [{"image_id": one, "shard": shard, "round": round, **more} for one in ids]
    return pa.Table.from_pylist(made, schema=schema_of(BEFORE + (ADDED if more else [])))


def put(table: ShardedTable, new: pa.Table, round: int, number: int, shard: str = "000000") -> bool:
    predicate = f"shard = '{shard}' AND round = {round}"
    return table.replace(predicate, new, app_id=f"{shard}/{round}", number=number)


@pytest.fixture
def tables(tmp_path: Path) -> tuple[ShardedTable, ShardedTable]:
    """The table as it was made, with rows of rounds 1 and 2 in one shard and of round 1 in another; as it is now."""
    old = ShardedTable(tmp_path / "t", schema_of(BEFORE))
    old.create()
    put(old, rows(1, 1, 2), 1, number=1)
    put(old, rows(2, 3), 2, number=1)
    put(old, rows(1, 9, shard="000001"), 1, number=1, shard="000001")
    return old, ShardedTable(tmp_path / "t", schema_of(BEFORE + ADDED))


def by_id(table: pa.Table) -> dict[int, dict[str, object]]:
    return {row["image_id"]: row for row in table.to_pylist()}


def check_unknown(row: dict[str, object]) -> None:
    assert math.isnan(row["share"])  # type: ignore[arg-type]
    assert {name: row[name] for name in UNKNOWN} == UNKNOWN


def test_rows_from_before_a_column_have_it_unknown(tables: tuple[ShardedTable, ShardedTable]) -> None:
    old, new = tables
    read = new.read()
    assert read.schema == schema_of(BEFORE + ADDED)
    assert sorted(by_id(read)) == [1, 2, 3, 9]
    for row in read.to_pylist():
        check_unknown(row)
    assert new.read("000000", columns=["name"]).to_pylist() == [{"name": ""}] * 3
    assert new.read("000001", columns=["name", "shard"]).to_pylist() == [{"name": "", "shard": "000001"}]
    assert new.read("000000", columns=["shard"]).to_pylist() == [{"shard": "000000"}] * 3
    assert new.query("image_id = 9").schema == schema_of(BEFORE + ADDED)
    check_unknown(new.query("image_id = 9").to_pylist()[0])
    assert new.version() == old.version(), "reading writes nothing"


def test_a_table_takes_a_new_column_in_with_the_first_rows_that_have_it(
    tables: tuple[ShardedTable, ShardedTable],
) -> None:
    """Round 1 lies in the shard that is written: its rows stay, with the column unknown."""
    _, new = tables
    before = new.version()
    assert put(new, rows(2, 3, 4, **KNOWN), 2, number=2)
    assert new.version() == before + 1, "one commit, column and rows together"
    assert not put(new, rows(2, 3, 4, **KNOWN), 2, number=2)
    read = by_id(new.read())
    assert sorted(read) == [1, 2, 3, 4, 9]
    for one in (1, 2, 9):
        check_unknown(read[one])
    for one in (3, 4):
        assert {name: read[one][name] for name in KNOWN} == KNOWN
    check_unknown(new.query("image_id = 1").to_pylist()[0])
    assert new.query("image_id = 4").to_pylist()[0]["name"] == "a"
    assert by_id(new.read(version=before))[3]["name"] == ""
    assert put(new, rows(1, 9, shard="000001", **KNOWN), 1, number=2, shard="000001"), "and further rows go in"
    assert by_id(new.read())[9]["share"] == 0.5
    assert new.count() == 5


def test_the_column_may_be_null_in_delta_so_that_other_readers_agree(
    tables: tuple[ShardedTable, ShardedTable],
) -> None:
    _, new = tables
    put(new, rows(2, 3, **KNOWN), 2, number=2)
    fields = {field.name: field.nullable for field in DeltaTable(str(new.uri)).schema().fields}
    assert fields == dict.fromkeys(dict(BEFORE), False) | dict.fromkeys(dict(ADDED), True)


def test_two_writers_may_bring_the_column_at_once(tables: tuple[ShardedTable, ShardedTable]) -> None:
    _, new = tables
    writers = [ShardedTable(new.uri, new.schema) for _ in range(2)]
    for writer in writers:
        writer.version()  # both have looked before either writes
    jobs = []
    for place, writer in enumerate(writers):
        shard = f"00000{place}"
        jobs.append(threading.Thread(target=put, args=(writer, rows(1, 10 + place, shard=shard, **KNOWN), 1, 5, shard)))
        jobs[-1].start()
    for job in jobs:
        job.join()
    read = by_id(new.read())
    assert sorted(read) == [3, 10, 11]
    assert read[10]["name"] == read[11]["name"] == "a"


def test_all_history_is_kept_and_statistics_of_what_is_asked_for(tmp_path: Path) -> None:
    """Statistics of long columns would make the log many times as large; a table must have those of one at least."""

    def made(name: str, *columns: tuple[str, pa.DataType]) -> dict[str, str]:
        ShardedTable(tmp_path / name, schema_of(list(columns))).create()
        return DeltaTable(tmp_path / name).metadata().configuration

    keep = dict.fromkeys(("delta.logRetentionDuration", "delta.deletedFileRetentionDuration"), "interval 36500 days")
    statistics = "delta.dataSkippingStatsColumns"
    assert made("masks", *BEFORE, ("rle", pa.binary())) == keep | {statistics: "image_id,round"}
    assert made("names", ("name", pa.string()), ("text", pa.string())) == keep | {statistics: "name"}


def test_files_that_hold_none_of_the_rows_are_not_read(tmp_path: Path) -> None:
    table = ShardedTable(tmp_path / "masks", schema_of(BEFORE))
    table.create()
    for number in (1, 2):
        put(table, rows(number, 3, 5), round=number, number=number)
    for where, found in (({"round": 2}, [3, 5]), ({"image_id": 4}, []), ({"image_id": 5, "round": 1}, [5])):
        assert sorted(table.read(where=where, columns=["image_id"])["image_id"].to_pylist()) == found
    path = next(
        Path(uri) for uri in DeltaTable(tmp_path / "masks").file_uris() if pq.read_table(uri)["round"][0].as_py() == 1
    )
    path.write_bytes(path.read_bytes()[:4] + b"\0" * 16 + path.read_bytes()[20:])  # its first values are broken
    assert sorted(table.read(where={"round": 2})["image_id"].to_pylist()) == [3, 5]
    with pytest.raises(OSError, match=r"(?i)deserializ|header"):
        table.read(where={"round": 1})


@pytest.mark.parametrize("conflicts", [0, 3, 19, 20])
def test_who_loses_against_other_writers_tries_twenty_times_and_waits_longer_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conflicts: int
) -> None:
    table = ShardedTable(tmp_path / "masks", schema_of(BEFORE))
    table.create()
    left, waits = [conflicts], []

    def losing(*arguments: object, **options: object) -> None:
        if left[0]:
            left[0] -= 1
            raise CommitFailedError("somebody else was first")
        write_deltalake(*arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(delta, "write_deltalake", losing)
    monkeypatch.setattr(delta.random, "uniform", lambda low, high: (low, high))
    monkeypatch.setattr(delta.time, "sleep", waits.append)
    longest = [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, *[1.0] * 13]
    if conflicts == 20:
        with pytest.raises(CommitFailedError, match="somebody else"):
            put(table, rows(1, 3), round=1, number=1)
        assert table.read()["image_id"].to_pylist() == []
    else:
        assert put(table, rows(1, 3), round=1, number=1)
        assert table.read()["image_id"].to_pylist() == [3]
    assert waits == [(0, pytest.approx(high)) for high in longest[:conflicts]]


def plain(folder: Path) -> ShardedTable:
    table = ShardedTable(folder / "t", schema_of(BEFORE))
    table.create()
    return table


def test_how_far_a_source_was_read_is_committed_with_its_rows(tmp_path: Path) -> None:
    table = plain(tmp_path)
    assert table.transaction("log") is None
    assert table.append(rows(1, 1), app_id="log", number=7)
    assert not table.append(rows(1, 1), app_id="log", number=7)
    assert table.transaction("log") == 7
    assert table.append(rows(1, 1), app_id="log", number=9)
    assert (table.transaction("log"), table.transaction("other")) == (9, None)
    assert table.read()["image_id"].to_pylist() == [1, 1], "rows are added to those that are there"
    assert table.replace("round = 1", rows(1, 5)), "without an id it is written"
    assert table.replace("round = 1", rows(1, 5)), "each time"
    assert table.read()["image_id"].to_pylist() == [5]


def test_a_table_that_exists_stays_as_it_is(tmp_path: Path) -> None:
    table = plain(tmp_path)
    assert not ShardedTable(tmp_path / "other", table.schema).exists()
    assert table.exists()
    assert (table.shards(), table.count(), table.version()) == ([], 0, 0)
    put(table, rows(1, 1, 2), 1, number=1)
    plain(tmp_path)
    assert (table.shards(), table.count(), table.version()) == (["000000"], 2, 1)


def test_versions_are_read_again_one_after_the_other(tmp_path: Path) -> None:
    table = plain(tmp_path)
    for number in (1, 2, 3):
        put(table, rows(1, number), 1, number=number)
    found = [table.read(version=version)["image_id"].to_pylist() for version in (1, 2, 2, 1, 3, 0)]
    assert found == [[1], [2], [2], [1], [3], []]
    assert table.read()["image_id"].to_pylist() == [3]


def test_a_shard_is_read_alone_and_only_the_columns_asked_for(tmp_path: Path) -> None:
    table = plain(tmp_path)
    put(table, rows(1, 1, 2), 1, number=1)
    put(table, rows(1, 9, shard="000001"), 1, number=1, shard="000001")
    assert table.read("000001").to_pylist() == [{"image_id": 9, "shard": "000001", "round": 1}]
    assert table.read("000002").to_pylist() == []
    assert table.read(columns=["round", "image_id"]).column_names == ["round", "image_id"]
    assert table.read(columns=["image_id"], where={"shard": "000001"}).to_pylist() == [{"image_id": 9}]
    with pytest.raises(KeyError):
        table.read(columns=["nothing"])
    assert table.query("image_id > 1").sort_by("image_id").to_pylist() == [
        {"image_id": 2, "shard": "000000", "round": 1},
        {"image_id": 9, "shard": "000001", "round": 1},
    ]


def test_unique_values_have_no_dictionary_and_all_is_compressed(tmp_path: Path) -> None:
    schema = schema_of([("mask_id", pa.int64()), ("label", pa.string())])
    table = ShardedTable(tmp_path / "t", schema)
    table.create()
    table.append(pa.Table.from_pylist([{"mask_id": 1, "label": "a"}] * 9, schema=schema), app_id="a", number=1)
    (path,) = (tmp_path / "t").glob("*.parquet")
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = {group.column(number).path_in_schema: group.column(number) for number in range(group.num_columns)}
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    assert {name: "RLE_DICTIONARY" in column.encodings for name, column in columns.items()} == {
        "mask_id": False,
        "label": True,
    }


@pytest.mark.parametrize("name", ["my tables", "Bücher #1", "what? a+b", "plain"])
def test_folders_may_be_called_anything(tmp_path: Path, name: str) -> None:
    """Delta quotes them as in URLs."""
    table = ShardedTable(tmp_path / name / "t", schema_of(BEFORE))
    table.create()
    put(table, rows(1, 1, 2), 1, 1)
    put(table, rows(1, 3, shard="000001"), 1, 1, shard="000001")
    assert table.read("000000")["image_id"].to_pylist() == [1, 2]
    assert sorted(table.read(None)["image_id"].to_pylist()) == [1, 2, 3]
    assert sorted(set(table.read(None)["shard"].to_pylist())) == ["000000", "000001"]
