"""What is wrong with a deployment, a workspace or a server is said in one line, and the run says how to mend it."""

import json
from pathlib import Path

import httpx
import pytest
from prefect.settings import PREFECT_API_URL

from engine.store import Store
from flows.assisted_manual import assisted_manual
from flows.deployments import crons, runner_deployments
from flows.detector import detector
from flows.people import annotation_sync, audit, gates
from flows.report import report
from flows.retrain import retrain
from tests.stages.workspaces import SETTINGS, make_workspace

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_workspace(tmp_path, images=2, holdout=0, assisted_manual={"rounds": 1})


def test_a_limit_that_the_server_has_not(tmp_path: Path) -> None:
    flow = SETTINGS["flow"] | {"concurrency_limit": "of-nobody"}
    store = make_workspace(tmp_path, images=2, holdout=0, flow=flow)
    state = assisted_manual(str(store.workspace), return_state=True)
    assert state.is_failed()
    assert state.message.endswith("make it with: prefect gcl create of-nobody --limit 1")
    assert store.rounds() == []


def test_a_workspace_of_a_newer_version(store: Store) -> None:
    (store.workspace / "tables" / "format.json").write_text(json.dumps({"format": 99}))
    state = assisted_manual(str(store.workspace), return_state=True)
    assert state.is_failed()
    assert "update it, or use the version that made the workspace" in state.message


def test_parameters_that_are_wrong(store: Store) -> None:
    deployments = runner_deployments(store.files, cron=crons({}), pool=None)
    (release,) = (each for each in deployments if each.flow_name == "release")
    address = f"{PREFECT_API_URL.value()}/deployments/{release.apply()}/create_flow_run"
    for wrong in ({"withheld": "perhaps"}, {"workspace": 5}):
        answer = httpx.post(address, json={"parameters": wrong}, timeout=60)
        assert answer.status_code == 409
        assert next(iter(wrong)) in answer.text
    workspace = str(store.workspace)
    for run, said in (
        (retrain(workspace, stage="lunch", return_state=True), "unknown stage 'lunch'; choose one of"),
        (detector(workspace, coco=[], return_state=True), "name at least one COCO json"),
        (audit(workspace, stage="lunch", return_state=True), "unknown stage 'lunch'"),
    ):
        assert run.is_failed()
        assert said in run.message


def test_what_has_nothing_to_do_ends_well(store: Store) -> None:
    workspace = str(store.workspace)
    assert annotation_sync(workspace) == [], "the annotator is simulated"
    assert gates(workspace) == []
    assert retrain(workspace) == [], "no round is open"
    for run, said in (
        (report(workspace, return_state=True), "run: sam-engine release build"),
        (audit(workspace, return_state=True), "no such round is annotated yet"),
    ):
        assert (run.name, run.is_completed()) == ("Waiting", True)
        assert said in run.message
