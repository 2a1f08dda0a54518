"""The flows on a real Prefect server where people annotate; a stand-in is in the place of Label Studio."""

from pathlib import Path

import pytest

from flows import stage_runs
from flows.data_engine import data_engine
from flows.endings import WAITING
from flows.events import MODEL_REGISTERED, ROUND_COMPLETE, STAGE_FINISHED
from flows.people import annotation_sync
from flows.retrain import retrain
from schemas.stages import STAGES
from tests.stages.people_at_work import annotate, stand_in
from tests.stages.workspaces import make_workspace

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_the_parent_flow_ends_where_people_have_to_work_and_goes_on_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scheduled again and again, as an operator would: each run does what can be done, and fails never."""
    server = stand_in(monkeypatch)
    rounds = {"rounds": 1, "images_per_round": 2}
    second = rounds | {"prefill": "generator"}
    settings = {"annotator": {"kind": "label_studio"}, "assisted_manual": rounds, "semi_automatic": second}
    store = make_workspace(tmp_path, images=5, **settings)
    first = data_engine(str(store.workspace))
    assert list(first) == ["assisted_manual"]
    assert [(done["action"], done["state"]) for done in first["assisted_manual"]] == [
        ("open", "advanced"),
        ("annotate", "waiting"),
    ]
    assert "0 of 2 images" in first["assisted_manual"][-1]["message"]
    assert data_engine(str(store.workspace))["assisted_manual"] == first["assisted_manual"][1:], "nobody did anything"
    assert len(server.stored) == 2

    for task in (1, 2):
        annotate(server, store, task, at=f"2026-01-02T00:00:0{task}Z")
    second = data_engine(str(store.workspace))
    assert [done["action"] for done in second["assisted_manual"]] == ["annotate", "retrain", "none"]
    assert [done["state"] for done in second["semi_automatic"]] == ["advanced", "waiting"]
    assert "fully_automatic" not in second

    for task in (3, 4):
        annotate(server, store, task, at=f"2026-01-03T00:00:0{task}Z")
    third = data_engine(str(store.workspace))
    assert [third[stage][-1]["state"] for stage in STAGES] == ["done"] * 3
    assert all(record.model_after != record.model_before for record in store.rounds() if record.stage in STAGES[:2])
    assert store.counts()["assisted_manual"] > 0 < store.counts()["semi_automatic"]


def test_schedules_collect_and_retrain_and_tell_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told starts the next deployment; a run that finds people still at work waits, and is no failure."""
    server = stand_in(monkeypatch)
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(stage_runs, "tell", lambda files, event, *, stage, **payload: told.append((event, stage)))
    rounds = {"rounds": 1, "images_per_round": 2}
    store = make_workspace(tmp_path, annotator={"kind": "label_studio"}, assisted_manual=rounds)
    workspace = str(store.workspace)
    assert annotation_sync(workspace) == [], "a sync opens no round"
    assert data_engine(workspace, return_state=True).name == WAITING
    for flow in (annotation_sync, retrain):
        state = flow(workspace, return_state=True)
        assert (state.name, state.is_completed()) == (WAITING, True)
        assert "0 of 2 images" in state.message
    assert told == []

    for task in (1, 2):
        annotate(server, store, task, at=f"2026-01-02T00:00:0{task}Z")
    (synced,) = annotation_sync(workspace)
    assert (synced["action"], synced["state"]) == ("annotate", "advanced")
    assert told == [(ROUND_COMPLETE, "assisted_manual")]
    (retrained,) = retrain(workspace)
    assert (retrained["action"], retrained["state"]) == ("retrain", "advanced")
    assert told[1:] == [(MODEL_REGISTERED, "assisted_manual"), (STAGE_FINISHED, "assisted_manual")]
    assert retrain(workspace) == []
