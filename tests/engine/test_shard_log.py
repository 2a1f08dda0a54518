"""Commits that we write are Delta commits: deltalake reads what we wrote, and we read what deltalake wrote."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import shard_log
from engine.delta import ShardedTable
from engine.shard_log import ShardLog
from model.files import write_new
from schemas.tables import PARENTS

SCHEMA = pa.schema(
    [
        pa.field(name, kind, nullable=False)
        for name, kind in (
            ("image_id", pa.int64()),
            ("shard", pa.string()),
            ("round", pa.int32()),
            ("rle", pa.binary()),
            ("parents", PARENTS),
        )
    ]
)


def rows(shard: str, round: int, ids: list[int]) -> pa.Table:
    made = [{"image_id": each, "shard": shard, "round": round, "rle": b"x" * each, "parents": []} for each in ids]
    return pa.Table.from_pylist(made, schema=SCHEMA)


def put(table: ShardedTable, shard: str, round: int, ids: list[int], number: int, *, ours: bool = True) -> bool:
    scope: dict[str, str | int] = {"shard": shard, "round": round}
    predicate = f"shard = '{shard}' AND round = {round}"
    new = rows(shard, round, ids)
    return table.replace(predicate, new, app_id=f"{shard}/{round}", number=number, scope=scope if ours else None)


def told(found: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    return sorted((row["shard"], row["round"], row["image_id"]) for row in found)


@pytest.fixture
def table(tmp_path: Path) -> ShardedTable:
    table = ShardedTable(tmp_path / "t", SCHEMA)
    table.create()
    return table


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["000000", "000001"]),
        st.integers(1, 3),
        st.lists(st.integers(1, 9), max_size=3, unique=True),
        st.integers(1, 3),
        st.booleans(),
    ),
    max_size=12,
)


@settings(max_examples=15, deadline=None)
@given(OPERATIONS)
def test_both_writers_and_both_readers_agree(tmp_path_factory: pytest.TempPathFactory, operations: list[Any]) -> None:
    folder = tmp_path_factory.mktemp("agree") / "t"
    writer = ShardedTable(folder, SCHEMA)
    writer.create()
    expected: dict[tuple[str, int], tuple[list[int], int]] = {}
    for shard, round, ids, number, ours in operations:
        is_new = expected.get((shard, round), ([], 0))[1] != number
        assert put(writer, shard, round, ids, number, ours=ours) == is_new
        if is_new:
            expected[shard, round] = (ids, number)
    wanted = sorted((*place, each) for place, (ids, _) in expected.items() for each in ids)
    for reader in (writer, ShardedTable(folder, SCHEMA)):
        assert told(reader.read().to_pylist()) == wanted
        by_shard = [row for shard in ("000000", "000001") for row in reader.read(shard).to_pylist()]
        assert told(by_shard) == wanted
        assert reader.shards() == sorted({shard for shard, _, _ in wanted})
        assert reader.count() == len(wanted)
        for (shard, round), (_, number) in expected.items():
            assert reader.transaction(f"{shard}/{round}") == number
    theirs = DeltaTable(folder)
    assert told(theirs.to_pyarrow_table().to_pylist()) == wanted
    assert theirs.version() == writer.version()


def test_old_versions_are_read_as_they_were(table: ShardedTable) -> None:
    versions = []
    for number in (1, 2, 3):
        put(table, "000000", 1, [number], number)
        versions.append(table.version())
    assert [table.read(version=version)["image_id"].to_pylist() for version in versions] == [[1], [2], [3]]


def test_a_log_is_read_from_its_last_checkpoint(table: ShardedTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.delta.CHECKPOINT_EVERY", 4)
    for number in range(1, 11):
        put(table, f"00000{number % 3}", 1, [number], number)
    log = Path(table.uri) / "_delta_log"
    assert json.loads((log / "_last_checkpoint").read_text())["version"] == 8
    for version in range(8):
        (log / f"{version:020d}.json").unlink()
    again = ShardedTable(table.uri, SCHEMA)
    assert told(again.read().to_pylist()) == [("000000", 1, 9), ("000001", 1, 10), ("000002", 1, 8)]
    assert (again.version(), again.transaction("000002/1")) == (10, 8)
    assert not put(again, "000001", 1, [10], 10)
    assert put(again, "000001", 1, [11], 11)


@pytest.mark.parametrize("damage", ["{", '{"version": 7000}', "{}"])
def test_without_a_checkpoint_that_can_be_read_all_commits_are(
    table: ShardedTable, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr("engine.delta.CHECKPOINT_EVERY", 2)
    for number in range(1, 6):
        put(table, "000000", 1, [number], number)
    (Path(table.uri) / "_delta_log" / "_last_checkpoint").write_text(damage)
    log = ShardLog(Path(table.uri), "shard")
    log.refresh()
    assert (log.version, log.number("000000/1"), len(log.files("000000"))) == (5, 5, 1)


def test_who_was_not_first_commits_on_top_of_the_other(table: ShardedTable, monkeypatch: pytest.MonkeyPatch) -> None:
    other, beaten = ShardedTable(table.uri, SCHEMA), []

    def second(path: Path, data: bytes) -> bool:
        if not beaten:
            beaten.append(path.name)
            put(other, "000000", 1, [7], 7)
        return write_new(path, data)

    monkeypatch.setattr(shard_log, "write_new", second)
    assert put(table, "000000", 1, [8], 8)
    assert told(table.read().to_pylist()) == told(other.read().to_pylist()) == [("000000", 1, 8)]
    assert (table.transaction("000000/1"), table.version()) == (8, 2)


def test_who_was_not_first_with_the_same_work_finds_it_done(
    table: ShardedTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, beaten = ShardedTable(table.uri, SCHEMA), []

    def second(path: Path, data: bytes) -> bool:
        if not beaten:
            beaten.append(path.name)
            put(other, "000000", 1, [7], 7, ours=False)
        return write_new(path, data)

    monkeypatch.setattr(shard_log, "write_new", second)
    assert not put(table, "000000", 1, [7], 7)
    assert told(table.read().to_pylist()) == [("000000", 1, 7)]


def test_only_files_that_may_hold_the_round_are_read(table: ShardedTable, monkeypatch: pytest.MonkeyPatch) -> None:
    put(table, "000000", 1, [1, 2], 1)
    put(table, "000000", 2, [3], 1)
    assert table._commits is not None
    read = table._commits._read
    paths: list[str] = []
    monkeypatch.setattr(table._commits, "_read", lambda path, shard: (paths.append(path), read(path, shard))[1])
    before = {file.path for file in table._commits.log.files("000000")}
    put(table, "000000", 2, [4], 2)
    assert len(paths) == 1
    after = {file.path for file in table._commits.log.files("000000")} | {Path(paths[0]).name}
    assert len(before & after) == 1, "the file of the other round stays"
    assert told(table.read().to_pylist()) == [("000000", 1, 1), ("000000", 1, 2), ("000000", 2, 4)]


def test_checkpoints_are_made_after_so_many_commits() -> None:
    assert shard_log.CHECKPOINT_EVERY == 100
