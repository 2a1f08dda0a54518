"""Workspaces that older versions made, kept as they were; tests/engine/kept_workspaces says which."""

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deltalake import DeltaTable

from engine import rle
from engine.files import open_lock, take
from engine.labeling.collect import read_round
from engine.labeling.folder import LabelingFolder, Scope
from engine.labeling.records import RoundRecords
from engine.migrations import FORMAT, FORMAT_FILE, read_format, write_format
from engine.quality.gate_records import GateRecords
from engine.quality.returned import masks_shown_again, returned_images, waiting
from engine.store import Store
from engine.workspace import Workspace
from schemas.errors import InputError
from schemas.rle import Rle
from schemas.tables import TABLES

KEPT = Path(__file__).parent / "kept_workspaces"
STAGE = "assisted_manual"


def kept(name: str, folder: Path) -> Path:
    with tarfile.open(KEPT / f"{name}.tar.xz") as tar:
        tar.extractall(folder, filter="data")
    return folder / "workspace"


ALL = ["format_1_first_tables", "format_1_people_and_gates", "format_2_all_stages"]


@pytest.mark.parametrize("name", ALL)
def test_an_old_workspace_opens_as_it_was(name: str, tmp_path: Path) -> None:
    workspace = kept(name, tmp_path)
    assert read_format(Workspace(workspace)) == int(name.split("_")[1])
    before = {table for table in TABLES if (workspace / "tables" / table).is_dir()}
    store = Store(workspace)
    assert before < set(TABLES)
    assert read_format(Workspace(workspace)) == FORMAT
    assert set(store.counts()) == set(TABLES)
    assert store.counts()["images"] > 0
    assert all(record.state in ("open", "annotated", "retrained") for record in store.rounds())
    written = sorted(row["metrics"] for row in store.read_table("rounds").to_pylist())
    assert sorted(record.metrics.to_json() for record in store.rounds()) == written
    assert len(store.read_table(STAGE)) == sum(len(store.read_shard(STAGE, shard)) for shard in store.shards(STAGE)) > 0
    versions = store.versions()
    assert Store(workspace).versions() == versions, "once is enough"


@pytest.mark.parametrize("name", ALL)
def test_rounds_keep_their_images_in_their_order(name: str, tmp_path: Path) -> None:
    workspace = kept(name, tmp_path)
    rows = DeltaTable(str(workspace / "tables" / "rounds")).to_pyarrow_table().to_pylist()
    expected = {(row["stage"], row["round"]): row["image_ids"] for row in rows}
    store = Store(workspace)
    assert {(record.stage, record.round): list(record.image_ids) for record in store.rounds()} == expected
    versions = store.versions()
    for record in store.rounds():
        store.put_round(record)
    assert store.versions() == versions | {"rounds": versions["rounds"] + len(expected)}, "rows alone get their keys"
    in_rounds = store.read_table("round_images").to_pylist()
    assert all(store.shard_of(each) == row["in_shard"] for row in in_rounds for each in row["image_ids"])


def test_killed_between_the_images_of_rounds_and_the_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = kept("format_2_all_stages", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("engine.migrations.write_format", killed_at(1, write_format))
        with pytest.raises(Killed):
            Store(workspace)
    first = [list(record.image_ids) for record in Store(workspace).rounds()]
    assert first == [list(record.image_ids) for record in Store(kept("format_2_all_stages", tmp_path / "w")).rounds()]


def test_what_people_did_is_in_the_tables_now(tmp_path: Path) -> None:
    workspace = kept("format_1_people_and_gates", tmp_path)
    tasks = json.loads((workspace / "label_studio.json").read_text())
    store = Store(workspace)
    shutil.rmtree(workspace / "labeling")
    store = Store(workspace)

    records = RoundRecords(store, Scope(STAGE, STAGE, 2))
    second = next(record for record in store.rounds(STAGE) if record.round == 2)
    assert set(records.published()) == set(second.image_ids)
    assert {image.task for image in records.published().values()} == {1, 2}
    found = read_round(records.published(), records.collected(), second.image_ids)
    assert found.done == 1
    assert sum(len(image.masks) for image in found.images) == 3
    assert records.seen_until() == max(task["updated_at"] for task in tasks.values())

    gate = GateRecords(store, Scope("verification", STAGE, 1))
    assert sorted(gate.verdicts().values()) == ["bad", "good", "good", "good", "good", "reject"]
    sample = gate.sample()
    assert sample is not None
    assert len(sample.masks) == 6
    (back,) = returned_images(store)
    shown = masks_shown_again(store, back)
    assert {row["mask_id"] for row in shown} == {
        row["mask_id"] for row in sample.masks.to_pylist() if row["image_id"] == back.image_id
    }
    assert {row["annotator"] for row in shown} == {"label_studio:3"}, "as they were, not as labeling/ had them"
    assert waiting([back], store.rounds()) == [], "round 2 took it up"
    clicked = [row for row in shown if row["clicks"]]
    assert all(len(row["points"]) == 2 for row in clicked)
    assert all(not row["points"] for row in shown if not row["clicks"]), "nobody clicked what was drawn by hand"
    rejected = [row for row in store.read_rows("removed").to_pylist() if not row["shown_again"]]
    assert [gate.verdicts()[row["mask_id"]] for row in rejected] == ["reject"]


class Killed(BaseException):
    pass


def killed_at(call: int, real: Callable[..., Any]) -> Callable[..., Any]:
    """`real`, but the process is killed before the call of this number."""
    calls = iter(range(1, 1000))

    def counted(*args: Any, **named: Any) -> Any:
        if next(calls) == call:
            raise Killed
        return real(*args, **named)

    return counted


def test_the_data_of_a_local_server_get_a_folder_of_their_own(tmp_path: Path) -> None:
    workspace = kept("format_1_people_and_gates", tmp_path)
    (workspace / "labeling" / "server").mkdir()
    (workspace / "labeling" / "server" / "label_studio.sqlite3").write_text("database")
    (workspace / "labeling" / "credentials.json").write_text('{"token": "abc"}')
    with open_lock(workspace / "labeling" / ".server.lock") as lock:
        assert take(lock)
        with pytest.raises(InputError, match="still runs; end it first"):
            Store(workspace)
    assert read_format(Workspace(workspace)) == 1
    Store(workspace)
    assert LabelingFolder(workspace).credentials("http://x").token == "abc"
    assert (workspace / "label_studio" / "server" / "label_studio.sqlite3").read_text() == "database"


@pytest.mark.parametrize("step", ["put_rows", "replace_rows", "create_table"])
def test_killed_while_it_is_brought_up_to_date(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Store(kept("format_1_people_and_gates", tmp_path / "whole"))
    for call in range(1, 40):
        workspace = kept("format_1_people_and_gates", tmp_path / str(call))
        with monkeypatch.context() as patch:
            patch.setattr(Store, step, killed_at(call, getattr(Store, step)))
            try:
                Store(workspace)
                break
            except Killed:
                assert read_format(Workspace(workspace)) == 1
        again = Store(workspace)
        for table in TABLES:
            rows, wanted = (sorted(map(repr, store.read_table(table).to_pylist())) for store in (again, expected))
            assert rows == wanted, table
    assert call > 1


def test_a_newer_workspace_is_refused(tmp_path: Path) -> None:
    Store.create(tmp_path / "w")
    (tmp_path / "w" / "tables" / FORMAT_FILE).write_text(json.dumps({"format": FORMAT + 1}))
    with pytest.raises(InputError, match=f"format {FORMAT + 1}, and this version .* up to {FORMAT}; update it"):
        Store(tmp_path / "w")
    (tmp_path / "w" / "tables" / FORMAT_FILE).write_text("{")
    with pytest.raises(InputError, match="damaged"):
        Store(tmp_path / "w")


def test_a_table_that_came_with_a_newer_version_is_made(tmp_path: Path) -> None:
    Store.create(tmp_path / "w")
    shutil.rmtree(tmp_path / "w" / "tables" / "rejected")
    assert Store(tmp_path / "w").counts()["rejected"] == 0


def test_a_table_that_had_masks_is_not_replaced_by_an_empty_one(tmp_path: Path) -> None:
    workspace = kept("format_1_first_tables", tmp_path)
    shutil.rmtree(workspace / "tables" / STAGE)
    with pytest.raises(InputError, match=f"the table '{STAGE}' is gone; restore"):
        Store(workspace)


def test_a_mask_that_only_the_folder_knows_of_is_kept_all_the_same(tmp_path: Path) -> None:
    workspace = kept("format_1_people_and_gates", tmp_path)
    file = workspace / "labeling" / "returned.json"
    (image,) = json.loads(file.read_text())
    lost = rle.encode(np.eye(48, 56, dtype=bool))
    image["masks"][0] |= {
        "region_id": "mask-99",
        "counts": lost.counts.decode(),
        "area": 48,
        "box_xyxy": [0, 0, 47, 47],
    }
    file.write_text(json.dumps([image]))
    store = Store(workspace)
    (back,) = returned_images(store)
    assert (back.image_id, back.stage, back.round) == (int(image["image_id"]), STAGE, 1)
    shown = {row["mask_id"]: row for row in masks_shown_again(store, back)}
    assert set(shown) > {int(mask["region_id"].removeprefix("mask-")) for mask in image["masks"][1:]}
    (row,) = (row for row in shown.values() if Rle.of_row(row) == lost)
    assert (row["height"], row["width"], row["area"], row["origin"]) == (48, 56, 48, "manual")
    assert (row["gate"], row["shard"]) == ("verification", store.shard_of(back.image_id))
    versions = store.versions()
    assert Store(workspace).versions() == versions


@pytest.mark.parametrize(
    "name",
    [
        "returned.json",
        f"rounds/verification-{STAGE}-1/sample.parquet",
        f"rounds/verification-{STAGE}-1/answers.json",
        f"rounds/{STAGE}-{STAGE}-1/cursor.json",
    ],
)
def test_a_damaged_file_of_an_old_workspace_is_named(tmp_path: Path, name: str) -> None:
    workspace = kept("format_1_people_and_gates", tmp_path)
    (workspace / "labeling" / name).write_bytes(b"{")
    with pytest.raises(InputError, match=f"{name}: damaged .*; restore it from a backup"):
        Store(workspace)
    assert read_format(Workspace(workspace)) == 1


def test_what_an_old_workspace_need_not_have(tmp_path: Path) -> None:
    """A round of which nothing was collected yet, a gate that nobody answered, and folders of somebody else's."""
    workspace = kept("format_1_people_and_gates", tmp_path)
    rounds = workspace / "labeling" / "rounds"
    (rounds / f"{STAGE}-{STAGE}-1" / "cursor.json").unlink()
    (rounds / f"verification-{STAGE}-1" / "answers.json").unlink()
    (rounds / f"verification-{STAGE}-2").mkdir()
    (workspace / "labeling" / "returned.json").unlink()
    for name in ("notes", f"{STAGE}-{STAGE}-x", f"{STAGE}-other-1", f"other-{STAGE}-1", f"audit-{STAGE}-1"):
        (rounds / name).mkdir()
    store = Store(workspace)
    assert read_format(store.files) == FORMAT
    records = RoundRecords(store, Scope(STAGE, STAGE, 1))
    assert (records.seen_until(), len(records.published()), len(records.collected())) == ("", 2, 2)
    gate = GateRecords(store, Scope("verification", STAGE, 1))
    assert gate.verdicts() == {}
    assert gate.sample() is not None
    assert GateRecords(store, Scope("verification", STAGE, 2)).sample() is None, (
        "it was killed before its draw was kept"
    )
    assert returned_images(store) == []


def test_a_format_is_one_number(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "w")
    file = tmp_path / "w" / "tables" / FORMAT_FILE
    assert json.loads(file.read_text()) == {"format": FORMAT}
    for content in ("[]", "{}", '{"format": "new"}', '{"format": null}', "x"):
        file.write_text(content)
        with pytest.raises(InputError, match=rf'damaged; write \{{"format": {FORMAT}\}} into it'):
            read_format(store.files)
    file.unlink()
    assert read_format(store.files) == 1


def test_only_what_is_there_of_a_local_server_is_moved(tmp_path: Path) -> None:
    workspace = kept("format_1_people_and_gates", tmp_path)
    (workspace / "labeling" / "server.log").write_text("started")
    store = Store(workspace)
    assert [path.name for path in (workspace / "label_studio").iterdir()] == ["server.log"]
    assert not (workspace / "labeling" / "server.log").exists()
    assert store.counts()["images"] > 0
    plain = kept("format_1_first_tables", tmp_path / "plain")
    Store(plain)
    assert not (plain / "label_studio").exists()
