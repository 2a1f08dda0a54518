"""What goes into tables comes out again, whoever else writes, whatever is killed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.keys import content_key
from engine.store import Store
from schemas.tables import TABLES, table_of
from tests.engine.stores import STAGE, masks_table


def test_rows_come_back_as_they_went_in(empty_store: Store) -> None:
    rows = masks_table()
    assert empty_store.replace_shard(STAGE, "000000", rows, round=1, key=content_key("a"))
    read = empty_store.read_shard(STAGE, "000000", round=1)
    assert read.schema == TABLES[STAGE]
    assert repr(read.sort_by("mask_id").to_pylist()) == repr(rows.sort_by("mask_id").to_pylist())
    assert empty_store.read_shard(STAGE, "000000", round=1, columns=["mask_id"]).column_names == ["mask_id"]
    assert empty_store.read_shard(STAGE, "000000", columns=["shard"]).to_pylist() == [{"shard": "000000"}] * 4


def test_the_same_key_writes_nothing(empty_store: Store) -> None:
    key = content_key("work", 1)
    assert empty_store.committed(STAGE, "000000", round=1) is None
    assert empty_store.replace_shard(STAGE, "000000", masks_table(), round=1, key=key)
    versions = empty_store.versions()
    assert not empty_store.replace_shard(STAGE, "000000", masks_table(mark="other"), round=1, key=key)
    assert empty_store.versions() == versions
    assert empty_store.committed(STAGE, "000000", round=1) == key
    assert Store(empty_store.workspace).committed(STAGE, "000000", round=1) == key


def test_keys_outlive_checkpoints_of_the_log(empty_store: Store) -> None:
    """Delta writes a checkpoint every 100 commits and readers start from it."""
    first = content_key("first")
    empty_store.replace_shard(STAGE, "000000", masks_table(count=1), round=1, key=first)
    for number in range(105):
        empty_store.replace_shard(
            STAGE, "000001", masks_table(shard="000001", count=0), round=1, key=content_key(number)
        )
    log = empty_store.workspace / "tables" / STAGE / "_delta_log"
    assert list(log.glob("*.checkpoint*.parquet"))
    assert Store(empty_store.workspace).committed(STAGE, "000000", round=1) == first
    assert Store(empty_store.workspace).read_table(STAGE, version=1).num_rows == 1


def test_rounds_and_shards_are_replaced_alone(empty_store: Store) -> None:
    for shard in ("000000", "000001"):
        for round in (1, 2):
            rows = masks_table(shard=shard, round=round, mark="old")
            empty_store.replace_shard(STAGE, shard, rows, round=round, key=content_key("old"))
    rows = masks_table(shard="000001", round=2, count=2, mark="new")
    empty_store.replace_shard(STAGE, "000001", rows, round=2, key=content_key("new"))
    found = empty_store.read_table(STAGE, columns=["shard", "round", "label"]).to_pylist()
    assert len(found) == 3 * 4 + 2
    new = [row for row in found if row["label"] == "new"]
    assert new == [{"shard": "000001", "round": 2, "label": "new"}] * 2
    assert empty_store.shards(STAGE) == ["000000", "000001"]
    assert empty_store.counts()[STAGE] == 14


def test_no_rows_are_a_result_too(empty_store: Store) -> None:
    key = content_key("nothing found")
    assert empty_store.replace_shard(STAGE, "000000", masks_table(count=0), round=1, key=key)
    assert empty_store.committed(STAGE, "000000", round=1) == key
    assert empty_store.read_shard(STAGE, "000000").num_rows == 0
    assert empty_store.shards(STAGE) == []


def test_stages_share_the_events_table(empty_store: Store) -> None:
    event: dict[str, Any] = {"event_id": 1, "image_id": 7, "shard": "000000", "annotator": "simulated", "kind": "skip"}
    event |= {"at_s": 1.5, "seconds": 0.5, "mask_id": 0, "detail": "{}"}
    for stage in ("assisted_manual", STAGE):
        rows = table_of("events", [event | {"stage": stage, "round": 1}])
        empty_store.replace_shard("events", "000000", rows, stage=stage, round=1, key=content_key(stage))
    assert sorted(empty_store.read_shard("events", "000000")["stage"].to_pylist()) == ["assisted_manual", STAGE]
    with pytest.raises(ValueError, match="several stages"):
        empty_store.replace_shard("events", "000000", table_of("events", []), round=1, key=content_key("x"))


def test_rows_that_do_not_fit_are_refused(empty_store: Store) -> None:
    key = content_key("x")
    with pytest.raises(ValueError, match="shard = 000001"):
        empty_store.replace_shard(STAGE, "000001", masks_table(shard="000000"), round=1, key=key)
    with pytest.raises(ValueError, match="round = 2"):
        empty_store.replace_shard(STAGE, "000000", masks_table(round=1), round=2, key=key)
    with pytest.raises(ValueError, match="six digits"):
        empty_store.replace_shard(STAGE, "0' OR '1'='1", masks_table(count=0), round=1, key=key)
    with pytest.raises(ValueError, match="content_key"):
        empty_store.replace_shard(STAGE, "000000", masks_table(), round=1, key="abc")
    assert empty_store.counts()[STAGE] == 0


def test_an_old_version_reads_as_it_was(empty_store: Store) -> None:
    empty_store.replace_shard(STAGE, "000000", masks_table(mark="old"), round=1, key=content_key("old"))
    then = empty_store.versions()
    empty_store.replace_shard(STAGE, "000000", masks_table(mark="new", count=1), round=1, key=content_key("new"))
    old = empty_store.read_table(STAGE, columns=["label"], version=then[STAGE])
    assert old["label"].to_pylist() == ["old"] * 4
    assert empty_store.read_shard(STAGE, "000000", version=then[STAGE]).num_rows == 4
    assert empty_store.read_table(STAGE).num_rows == 1


def test_an_open_store_sees_what_others_write(empty_store: Store) -> None:
    other = Store(empty_store.workspace)
    assert other.counts()[STAGE] == 0
    empty_store.replace_shard(STAGE, "000000", masks_table(), round=1, key=content_key("a"))
    assert other.counts()[STAGE] == 4
    assert other.read_shard(STAGE, "000000").num_rows == 4
    assert not other.replace_shard(STAGE, "000000", masks_table(), round=1, key=content_key("a"))


def test_rows_that_are_there_are_not_written_again(empty_store: Store) -> None:
    by = ("shard", "round", "mask_id")
    few, more = masks_table(count=2), masks_table(count=3)
    assert empty_store.put_rows(STAGE, few, by=by) is True
    version = empty_store.versions()[STAGE]
    assert empty_store.put_rows(STAGE, few, by=by) is False
    assert empty_store.put_rows(STAGE, few.slice(0, 0), by=by) is False
    assert empty_store.versions()[STAGE] == version
    assert empty_store.put_rows(STAGE, more, by=by) is True
    assert empty_store.counts()[STAGE] == 3


def test_a_whole_table_is_replaced_only_where_it_differs(empty_store: Store) -> None:
    rows = [{"source": name, "kind": "image", "reason": "empty"} for name in "ab"]
    assert empty_store.replace_table("rejected", table_of("rejected", rows))
    assert not empty_store.replace_table("rejected", table_of("rejected", rows[::-1]))
    assert empty_store.replace_table("rejected", table_of("rejected", rows[:1]))
    assert empty_store.read_table("rejected").to_pylist() == rows[:1]
    with pytest.raises(ValueError, match="has shards"):
        empty_store.replace_table("images", table_of("images", []))


def prompts(*ids: str) -> pa.Table:
    place = {"project": 1, "task": 2, "image_id": 3, "at": 1.5, "points": [], "boxes": [], "predicted_iou": 0.5}
    rows = [place | {"prompt_ids": [each], "region": each, "server_ms": 1.0, "model_id": "m"} for each in ids]
    return table_of("prompts", rows)


def test_how_far_a_source_was_read_is_kept_with_its_rows(empty_store: Store) -> None:
    assert empty_store.read_until("prompts", "log") == 0
    assert empty_store.append_rows("prompts", prompts("a"), source="log", until=40)
    assert not empty_store.append_rows("prompts", prompts("a"), source="log", until=40)
    assert empty_store.append_rows("prompts", prompts("b", "c"), source="log", until=90)
    assert empty_store.read_until("prompts", "log") == Store(empty_store.workspace).read_until("prompts", "log") == 90
    assert empty_store.read_until("prompts", "other") == 0
    assert sorted(empty_store.read_table("prompts")["region"].to_pylist()) == ["a", "b", "c"]
    nulls = prompts("d").set_column(7, pa.field("region", pa.string()), [pa.array([None], pa.string())])
    with pytest.raises(ValueError, match=r"(?i)region.* null"):
        empty_store.append_rows("prompts", nulls, source="log", until=99)


def back(gate: str, round: int, *ids: int, shard: str = "000000") -> pa.Table:
    place = {"gate": gate, "stage": STAGE, "round": round, "shard": shard}
    return table_of("returned", [place | {"image_id": image_id} for image_id in ids])


def pairs(store: Store) -> list[tuple[int, int, str]]:
    rows = store.read_table("returned").to_pylist()
    return sorted((row["round"], row["image_id"], row["gate"]) for row in rows)


def test_rows_take_the_place_of_those_of_the_same_name(empty_store: Store) -> None:
    by = ("stage", "round", "image_id")
    for number in (1, 2):
        assert empty_store.put_rows("returned", back("a", number, 3, 5), by=by)
    assert not empty_store.put_rows("returned", back("a", 1, 5, 3), by=by), "in any order, whatever other rounds have"
    assert empty_store.put_rows("returned", back("b", 1, 5, 7), by=by)
    assert pairs(empty_store) == [(1, 3, "a"), (1, 5, "b"), (1, 7, "b"), (2, 3, "a"), (2, 5, "a")]
    with pytest.raises(ValueError, match="rows for table returned have the same image_id"):
        empty_store.put_rows("returned", back("c", 1, 5, 5), by=by)
    mixed = pa.concat_tables([back("c", 1, 5), back("c", 2, 7)])
    with pytest.raises(ValueError, match="rows to replace round = 1 have other values there"):
        empty_store.put_rows("returned", mixed, by=by)
    two_shards = pa.concat_tables([back("d", 1, 3), back("d", 1, 8, shard="000001")])
    assert empty_store.put_rows("returned", two_shards, by=by)
    assert not empty_store.put_rows("returned", two_shards, by=by)
    assert pairs(empty_store)[:4] == [(1, 3, "d"), (1, 5, "b"), (1, 7, "b"), (1, 8, "d")]


def test_all_rows_of_a_name_are_replaced_at_once(empty_store: Store) -> None:
    first, second = {"stage": STAGE, "round": 1}, {"stage": STAGE, "round": 2}
    assert empty_store.replace_rows("returned", back("a", 1, 3, 5), **first)
    assert empty_store.replace_rows("returned", back("a", 2, 3), **second)
    version = empty_store.versions()["returned"]
    assert not empty_store.replace_rows("returned", back("a", 1, 5, 3), **first)
    assert empty_store.versions()["returned"] == version
    assert empty_store.replace_rows("returned", back("b", 1, 7), **first)
    assert pairs(empty_store) == [(1, 7, "b"), (2, 3, "a")]
    assert empty_store.replace_rows("returned", back("b", 1), **first)
    assert pairs(empty_store) == [(2, 3, "a")]
    with pytest.raises(ValueError, match="round = 1"):
        empty_store.replace_rows("returned", back("b", 2, 7), **first)


def test_rows_are_found_by_their_values(empty_store: Store) -> None:
    for shard, ids in (("000000", (3, 5)), ("000001", (8,))):
        empty_store.put_rows("returned", back("a", 1, *ids, shard=shard), by=("stage", "round", "image_id"))

    def found(columns: list[str] | None = None, **values: str | int) -> list[dict[str, Any]]:
        return empty_store.read_rows("returned", columns, **values).sort_by("image_id").to_pylist()

    assert [row["image_id"] for row in found(round=1)] == [3, 5, 8]
    assert [row["image_id"] for row in found(shard="000000")] == [3, 5]
    assert found(["image_id"], shard="000001", round=1) == [{"image_id": 8}]
    assert found(shard="000001", round=2) == found(image_id=4) == []


def test_what_a_shard_may_be_told_of(empty_store: Store) -> None:
    with pytest.raises(ValueError, match="unknown stage 'other'"):
        empty_store.committed("events", "000000", stage="other", round=1)
    for place in ({"stage": STAGE}, {"round": 1}):
        with pytest.raises(ValueError, match="give stage and round"):
            empty_store.committed("events", "000000", **place)  # type: ignore[arg-type]
    for shard in ("00000", "1", "a00000", ""):
        with pytest.raises(ValueError, match="six digits"):
            empty_store.committed(STAGE, shard, round=1)
    assert empty_store.committed(STAGE, "1000000", round=1) is None
    key = "0123456789abcdef"
    empty_store.replace_shard(STAGE, "000000", masks_table(), round=1, key=key)
    assert empty_store.committed(STAGE, "000000", round=1) == key, "with all its digits"
    for wrong in ("8" + key[1:], key[1:], key + "0", key.upper()):
        with pytest.raises(ValueError, match="16 hex digits, 63 bits"):
            empty_store.replace_shard(STAGE, "000000", masks_table(), round=1, key=wrong)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(1, 2), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=8
    )
)
def test_any_order_of_replacements_leaves_the_last_of_each(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[int, int, int, int]]
) -> None:
    """A dictionary (shard, round) -> rows is the model of the table."""
    store = Store.create(tmp_path_factory.mktemp("any") / "w")
    expected: dict[tuple[str, int], tuple[str, int]] = {}
    for number, round, count, version in writes:
        shard, mark = f"{number:06d}", f"{count}-{version}"
        rows = masks_table(shard=shard, round=round, count=count, mark=mark)
        wrote = store.replace_shard(STAGE, shard, rows, round=round, key=content_key(mark))
        assert wrote == (expected.get((shard, round)) != (mark, count))
        expected[shard, round] = (mark, count)
    found = store.read_table(STAGE, columns=["shard", "round", "label"]).to_pylist()
    wanted = [(*place, mark) for place, (mark, count) in expected.items() for _ in range(count)]
    assert sorted((row["shard"], row["round"], row["label"]) for row in found) == sorted(wanted)


_WRITER = """
import sys
from pathlib import Path
from engine.keys import content_key
from engine.store import Store
from tests.engine.stores import STAGE, masks_table
workspace, name, turns, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
store = Store(workspace)
for turn in range(turns):
    mark = f"{name}-{turn}"
    store.replace_shard(STAGE, "000000", masks_table(count=count, mark=mark), round=1, key=content_key(mark))
    print(mark, flush=True)
"""
_ROOT = Path(__file__).resolve().parents[2]


def start_writer(store: Store, name: str, turns: int, count: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", _WRITER, str(store.workspace), name, str(turns), str(count)]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def check_whole(store: Store, counts: set[int]) -> str:
    """All rows are of one write. Returns its mark, "" for none yet."""
    labels = store.read_shard(STAGE, "000000")["label"].to_pylist()
    assert len(set(labels)) <= 1
    assert len(labels) in counts | {0}
    return labels[0] if labels else ""


def test_two_writers_of_one_shard_never_mix(empty_store: Store) -> None:
    writers = [start_writer(empty_store, name, turns=12, count=count) for name, count in (("a", 20), ("b", 30))]
    while any(writer.poll() is None for writer in writers):
        check_whole(empty_store, {20, 30})
    said = [writer.communicate() for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], said
    assert check_whole(empty_store, {20, 30}) in ("a-11", "b-11")
    assert empty_store.versions()[STAGE] == 24


def test_two_writers_of_the_same_work_write_it_once(empty_store: Store) -> None:
    writers = [start_writer(empty_store, "a", turns=1, count=20) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    for writer in writers:
        writer.communicate()
    assert empty_store.versions()[STAGE] == 1


@pytest.mark.faults
def test_a_killed_writer_leaves_one_whole_version(empty_store: Store) -> None:
    rng = random.Random(0)
    for attempt in range(8):
        writer = start_writer(empty_store, f"w{attempt}", turns=10_000, count=300)
        assert writer.stdout
        writer.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.2))
        writer.send_signal(signal.SIGKILL)
        said = writer.communicate()[0].split()
        mark = check_whole(Store(empty_store.workspace), {300})
        last = int(said[-1].split("-")[1]) if said else 0
        assert mark in (f"w{attempt}-{last}", f"w{attempt}-{last + 1}")
    assert Store(empty_store.workspace).replace_shard(
        STAGE, "000000", masks_table(mark="end"), round=1, key=content_key("end")
    )


_FULL = """
import shutil, sys
from pathlib import Path
import numpy as np
from engine.keys import content_key
from engine.store import Store
from schemas.errors import InputError
from tests.engine.stores import STAGE, masks_table
store = Store.create(Path(sys.argv[1]) / "w")
for number in range(10_000):
    try:
        store.replace_shard(STAGE, "000000", masks_table(mark=str(number)), round=1, key=content_key(number))
    except InputError as error:
        labels = Store(store.workspace).read_shard(STAGE, "000000")["label"].to_pylist()
        assert labels == [str(number - 1)] * 4, labels
        print(number, error)
        break
"""


@pytest.mark.faults
def test_a_full_disk_is_one_line_and_the_last_commit_stays(tmp_path: Path) -> None:
    script = f'mount -t tmpfs -o size=1m none "{tmp_path}" && exec "{sys.executable}" -c "$1" "{tmp_path}"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", _FULL]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"needs a small disk of its own: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    number, _, line = done.stdout.strip().partition(" ")
    assert int(number) > 3
    assert line.startswith(f"{tmp_path}/w/tables/{STAGE}: the disk is full")
