"""The release job on a real Prefect server."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.places import Place
from engine.processes import Processes
from engine.release import build as build_module
from engine.release.records import ReleasedImage
from engine.release.verify import verify_release
from flows import release as release_flow
from flows.endings import WAITING
from flows.release import release
from schemas.release import ReleasedTar
from stages.rounds import tick
from tests.stages.workspaces import make_workspace

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_a_release_is_built_verified_and_reported_on(tmp_path: Path) -> None:
    store = make_workspace(tmp_path, images=4, holdout=1, assisted_manual={"rounds": 1})
    workspace = str(store.workspace)
    state = release(workspace, stages=["assisted_manual"], return_state=True)
    assert (state.name, state.is_completed()) == (WAITING, True)
    assert "no masks of assisted_manual to release; make them first" in state.message
    while tick(store, "assisted_manual").state == "advanced":
        pass
    made = release(workspace, stages=["assisted_manual"])
    assert made["created"]
    assert made["masks"] == store.counts()["assisted_manual"]
    assert verify_release(made["path"]) == []
    page = Path(made["report"])
    assert page.is_relative_to(store.workspace / "reports")
    assert json.loads(page.with_suffix(".json").read_text())["masks"] == made["masks"]
    again = release(workspace, stages=["assisted_manual"])
    assert again == made | {"created": False}


def test_what_does_not_hold_is_never_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_workspace(tmp_path, images=3, holdout=1, assisted_manual={"rounds": 1})
    while tick(store, "assisted_manual").state == "advanced":
        pass
    writing = build_module.write_release_tar

    def cut_off(folder: Place, name: str, images: Iterator[ReleasedImage]) -> ReleasedTar:
        record = writing(folder, name, images)
        (folder / name).write((folder / name).read()[:-1024])
        return record

    monkeypatch.setattr(build_module, "write_release_tar", cut_off)
    monkeypatch.setattr(release_flow, "tars_of", lambda config: Processes(1))
    state = release(str(store.workspace), stages=["assisted_manual"], name="new", return_state=True)
    assert state.is_failed()
    assert "not published" in state.message
    assert "sa_000000.tar" in state.message
    assert not (store.workspace / "releases" / "new").exists()
    assert not list((store.workspace / "reports").glob("*new*"))
    monkeypatch.undo()
    assert release(str(store.workspace), stages=["assisted_manual"], name="new")["created"]
