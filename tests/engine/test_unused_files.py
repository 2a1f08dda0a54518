"""What models and releases name can be read as before; what nobody names is gone."""

import os
import re
import shutil
import time
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from engine.delta import ShardedTable
from engine.keys import content_key
from engine.release.build import build_release
from engine.release.repair import repair_release
from engine.store import Store
from engine.unused_files import named_versions, remove_unused
from schemas.config import ReleaseConfig
from schemas.errors import InputError
from schemas.stages import Stage
from schemas.tables import TABLES, table_of
from stages.rounds import tick
from tests.flows.cli_runner import sam_engine
from tests.forks import PROCESSES
from tests.stages.workspaces import make_workspace

STAGE: Stage = "assisted_manual"
_LONG_AGO_S = 100 * 86_400.0


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one round, and a model that learned from it."""
    store = make_workspace(
        tmp_path_factory.mktemp("unused"), images=4, holdout=0, assisted_manual={"rounds": 1}, retraining={"steps": 1}
    )
    while tick(store, STAGE).state != "done":
        pass
    return store.workspace


@pytest.fixture
def store(trained: Path, tmp_path: Path) -> Store:
    return Store(shutil.copytree(trained, tmp_path / "w"))


def replaced(store: Store, *, keep: int) -> None:
    rows = store.read_shard(STAGE, "000000").slice(0, keep)
    store.replace_shard(STAGE, "000000", rows, round=1, key=content_key("fewer", keep))


def grow_old(store: Store) -> None:
    """As if all that was done so far had been done long ago."""
    then = time.time() - _LONG_AGO_S
    for path in (store.workspace / "tables").rglob("*"):
        if path.suffix == ".json" and path.parent.name == "_delta_log":
            text = path.read_text()
            for name in ("deletionTimestamp", "modificationTime", "timestamp"):
                text = _with_number(text, name, int(then * 1000))
            path.write_text(text)
        os.utime(path, (then, then))


def _with_number(text: str, name: str, value: int) -> str:
    return re.sub(rf'"{name}":\d+', f'"{name}":{value}', text)


def rows(store: Store, version: int) -> list[str]:
    return sorted(map(repr, store.read_table(STAGE, version=version).to_pylist()))


def test_what_a_model_names_stays_and_what_nobody_names_goes(store: Store) -> None:
    named = max(named_versions(store)[STAGE])
    learned_from = rows(store, named)
    replaced(store, keep=4)
    between = store.versions()[STAGE]
    replaced(store, keep=2)
    assert remove_unused(store, older_than_h=24) == {}, "it was there within a day"
    grow_old(store)
    versions, now = store.versions(), rows(store, store.versions()[STAGE])

    told = remove_unused(store, older_than_h=24, dry_run=True)
    assert told[STAGE].files == 1
    assert told[STAGE].size_bytes > 0
    assert len(rows(store, between)) > len(now), "told, not removed"
    assert remove_unused(store, older_than_h=24) == told
    assert store.versions() == versions, "nothing was committed: a release of these tables is the same"
    again = Store(store.workspace)
    assert rows(again, named) == learned_from
    assert rows(again, versions[STAGE]) == now
    with pytest.raises(InputError, match="is gone, maybe cleaned away"):
        rows(again, between)
    assert remove_unused(again, older_than_h=24) == {}


def test_what_a_killed_writer_left_goes(store: Store) -> None:
    left = store.workspace / "tables" / STAGE / "shard=000000" / "part-of-nobody.parquet"
    left.write_bytes(b"half")
    assert remove_unused(store, older_than_h=24) == {}
    os.utime(left, (time.time() - _LONG_AGO_S,) * 2)
    assert remove_unused(store, older_than_h=24)[STAGE] == (1, 4)
    assert not left.exists()


def test_what_a_release_names_can_be_made_again(store: Store) -> None:
    config = ReleaseConfig(blur=False)
    replaced(store, keep=4)
    built = build_release(store, config=config, stages=[STAGE])
    replaced(store, keep=2)
    grow_old(store)
    remove_unused(store, older_than_h=24)
    tar = next(built.place.on_disk().glob("*.tar"))
    whole = tar.read_bytes()
    tar.unlink()
    assert repair_release(built.place, Store(store.workspace))[1] == []
    assert tar.read_bytes() == whole


def with_rounds(store: Store, count: int) -> None:
    """The masks of round 1 in so many further ones, a commit and a file each."""
    for shard in store.shards(STAGE):
        masks = store.read_shard(STAGE, shard, round=1)
        place = masks.schema.get_field_index("round")
        for round in range(2, 2 + count):
            rounds = pa.repeat(pa.scalar(round, pa.int32()), len(masks))
            rows = masks.set_column(place, masks.schema.field(place), rounds)
            store.replace_shard(STAGE, shard, rows, round=round, key=content_key("copied", round))


def files_of(store: Store) -> int:
    return len(store.files_at(STAGE).names["000000"])


def test_files_of_a_shard_are_put_together_and_models_still_read_theirs(store: Store) -> None:
    named = max(named_versions(store)[STAGE])
    learned_from = rows(store, named)
    with_rounds(store, 10)
    assert files_of(store) == 11
    before, version = rows(store, store.versions()[STAGE]), store.versions()[STAGE]
    assert store.compact(more_than=32, in_shard=11) == {}
    assert store.compact(more_than=32, in_shard=10) == {STAGE: 10}
    again = Store(store.workspace)
    assert files_of(again) == 1
    for of in (store, again):
        assert rows(of, of.versions()[STAGE]) == rows(of, version) == before
        assert rows(of, named) == learned_from
        assert of.committed(STAGE, "000000", round=3) == content_key("copied", 3), "its work is not done again"
    assert store.compact(more_than=32, in_shard=10) == {}
    grow_old(store)
    remove_unused(Store(store.workspace), older_than_h=24)
    last = Store(store.workspace)
    assert rows(last, named) == learned_from
    assert last.replace_shard(STAGE, "000000", last.read_shard(STAGE, "000000").slice(0, 0), round=3, key="0" * 16)
    assert len(rows(last, last.versions()[STAGE])) == len(before) * 10 // 11


def compact(workspace: Path) -> None:
    Store(workspace).compact(more_than=1, in_shard=1)


@pytest.mark.slow
@pytest.mark.faults
def test_putting_files_together_can_be_killed_at_any_moment(store: Store) -> None:
    with_rounds(store, 10)
    before, key = rows(store, store.versions()[STAGE]), store.committed(STAGE, "000000", round=3)
    folder = store.workspace / "tables" / STAGE / "shard=000000"
    known = set(os.listdir(folder))
    for delay_s in (0.0, 0.0, 0.001, 0.002, 0.005, 0.01):
        process = PROCESSES.Process(target=compact, args=(store.workspace,))
        process.start()
        while set(os.listdir(folder)) <= known and process.is_alive():
            pass
        time.sleep(delay_s)
        process.kill()
        process.join()
        known = set(os.listdir(folder))
        again = Store(store.workspace)
        assert rows(again, again.versions()[STAGE]) == before
        assert again.committed(STAGE, "000000", round=3) == key
    compact(store.workspace)
    last = Store(store.workspace)
    assert files_of(last) == 1
    assert rows(last, last.versions()[STAGE]) == before


def test_checkpoints_that_nothing_is_read_from_go(tmp_path: Path) -> None:
    """Every tenth commit is a checkpoint here; versions 0 to 60."""
    table = ShardedTable(tmp_path / "t", TABLES["shard_sums"])
    table.create()
    row = {"stage": STAGE, "round": 1, "shard": "000000", "key": "", "sums": ""}
    for number in range(1, 61):
        table.append(table_of("shard_sums", [row | {"key": str(number)}]), app_id="all", number=number)
        if number % 10 == 0:
            DeltaTable(tmp_path / "t").create_checkpoint()
    unused = table.unused_checkpoints([25, 30])
    assert unused == [f"_delta_log/{version:020d}.checkpoint.parquet" for version in (10, 40)]
    for name in unused:
        (tmp_path / "t" / name).unlink()
    again = ShardedTable(tmp_path / "t", TABLES["shard_sums"])
    assert [again.read(version=version).num_rows for version in (5, 15, 25, 30, 45, 60)] == [5, 15, 25, 30, 45, 60]
    assert again.unused_checkpoints([25, 30]) == []
    assert [name[-29:-19] for name in again.unused_checkpoints([])] == ["0000000020", "0000000030"]


@pytest.mark.parametrize("kind", ["models", "labeling/detectors"])
def test_a_damaged_card_stops_it(store: Store, kind: str) -> None:
    card = store.workspace / kind / "broken" / "card.json"
    card.parent.mkdir(parents=True)
    card.write_text("{")
    with pytest.raises(InputError, match=r"broken/card\.json: damaged, so the table versions it names are not known"):
        remove_unused(store, older_than_h=24)


def test_a_named_version_that_is_gone_stops_it(store: Store) -> None:
    replaced(store, keep=2)
    table = store.workspace / "tables" / STAGE
    DeltaTable(table).create_checkpoint()
    (table / "_delta_log" / f"{0:020d}.json").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        remove_unused(Store(store.workspace), older_than_h=24)


def test_the_command_puts_small_files_together_and_removes(store: Store) -> None:
    def call(at: int) -> dict[str, object]:
        unknown = {"region": "", "predicted_iou": 0.5, "server_ms": 1.0, "model_id": "m"}
        drawn = {"prompt_ids": [], "points": [], "boxes": []}
        return {"project": 1, "task": 1, "image_id": 1, "at": float(at), **drawn, **unknown}

    for at in range(40):
        store.append_rows("prompts", table_of("prompts", [call(at)]), source="log", until=at + 1)
    before = store.versions()["prompts"]
    replaced(store, keep=2)
    grow_old(store)
    told = sam_engine("vacuum", store.workspace, "--dry-run", "--json").result
    assert told["removed"] == {}
    done = sam_engine("vacuum", store.workspace, "--compact", "--json").result
    assert done["compacted"] == {"prompts": 39}
    assert done["removed"] == told["unused"], "what was put together was there today"
    again = Store(store.workspace)
    assert sorted(again.read_table("prompts")["at"].to_pylist()) == list(range(40))
    assert len(again.read_table("prompts", version=before)) == 40
    assert again.read_until("prompts", "log") == 40
    assert "nothing to remove" in sam_engine("vacuum", store.workspace).out
    assert sam_engine("vacuum", store.workspace, "--days", "0").status == 2
