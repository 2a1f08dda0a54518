"""Workspaces that older versions made, kept as they were; tests/engine/kept_workspaces says which."""

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.files import open_lock, take
from engine.labeling.collect import read_round
from engine.labeling.folder import LabelingFolder, Scope
from engine.labeling.records import RoundRecords
from engine.migrations import FORMAT, FORMAT_FILE, read_format
from engine.quality.gate_records import GateRecords
from engine.quality.returned import masks_shown_again, returned_images, waiting
from engine.store import Store
from engine.workspace import Workspace
from schemas.errors import InputError
from schemas.tables import TABLES

KEPT = Path(__file__).parent / "kept_workspaces"
STAGE = "assisted_manual"


def kept(name: str, folder: Path) -> Path:
    with tarfile.open(KEPT / f"{name}.tar.xz") as tar:
        tar.extractall(folder, filter="data")
    return folder / "workspace"


@pytest.mark.parametrize("name", ["format_1_first_tables", "format_1_people_and_gates"])
def test_an_old_workspace_opens_as_it_was(name: str, tmp_path: Path) -> None:
    workspace = kept(name, tmp_path)
    assert read_format(Workspace(workspace)) == 1
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
