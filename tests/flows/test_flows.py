"""The flows on a real Prefect server."""

import uuid
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterParentFlowRunId
from prefect.client.schemas.objects import StateType
from prefect.runtime import flow_run

from engine.store import Store
from flows.assisted_manual import assisted_manual
from flows.data_engine import data_engine
from flows.endings import WAITING
from flows.fully_automatic import fully_automatic
from flows.running import run_flow
from flows.semi_automatic import semi_automatic
from flows.stage_runs import current_progress, shard_groups
from schemas.config import FlowConfig
from schemas.errors import InputError
from schemas.stages import STAGES
from stages.shards import ShardOutcome
from tests.stages.workspaces import make_workspace

pytestmark = pytest.mark.usefixtures("prefect_server")


def task_names(run_id: uuid.UUID) -> list[str]:
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])))
    return sorted(run.name for run in runs)


def masks_of(store: Store) -> dict[str, list[int]]:
    return {stage: sorted(store.read_table(stage, columns=["mask_id"])["mask_id"].to_pylist()) for stage in STAGES}


def test_the_parent_flow_does_what_ticks_do(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"images": 4, "assisted_manual": {"rounds": 1}}
    with_prefect = make_workspace(tmp_path / "flow", **settings)
    alone = make_workspace(tmp_path / "ticks", through=STAGES, **settings)
    seen: list[str] = []
    token = current_progress.set(lambda what, done, total, note="": seen.append(what))
    try:
        result = data_engine(str(with_prefect.workspace))
    finally:
        current_progress.reset(token)
    assert masks_of(with_prefect) == masks_of(alone)
    assert [record.model_after for record in with_prefect.rounds()] == [record.model_after for record in alone.rounds()]
    assert [result[stage][-1]["state"] for stage in STAGES] == ["done"] * 3
    assert "fully_automatic round 1" in seen, "work in Prefect's tasks tells how far it is"
    assert run_flow(with_prefect, "data_engine", lambda *_, **__: None)["semi_automatic"][0]["action"] == "none"


def test_a_stage_out_of_turn_waits_and_says_for_what(tmp_path: Path) -> None:
    store = make_workspace(tmp_path, images=2, holdout=0)
    for stage_flow in (semi_automatic, fully_automatic):
        state = stage_flow(str(store.workspace), return_state=True)
        assert (state.type, state.name) == (StateType.COMPLETED, WAITING)
        assert "run: sam-engine run assisted_manual" in state.message
        (last,) = state.result()
        assert (last["action"], last["state"]) == ("wait", "waiting")


def test_what_a_user_has_to_mend_ends_a_flow_with_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    nowhere = tmp_path / "nowhere"
    state = assisted_manual(str(nowhere), return_state=True)
    assert state.is_failed()
    assert "make a workspace first with: sam-engine init" in state.message
    assert not nowhere.exists(), "nothing is written where there is no workspace"
    with pytest.raises(InputError, match="no such file"):
        state.result()
    store = make_workspace(tmp_path, images=2, holdout=0, model={"start": "gone", "device": "cpu"})
    state = data_engine(str(store.workspace), return_state=True)
    assert state.is_failed()
    assert "gone" in state.message
    assert "\n" not in state.message
    assert "Traceback" not in caplog.text


def test_shards_go_in_groups_never_one_task_an_image(tmp_path: Path) -> None:
    store = make_workspace(tmp_path, images=14, holdout=0, assisted_manual={"rounds": 1})
    run_ids: list[uuid.UUID] = []

    @flow(name="remember")
    def remember() -> list[dict[str, Any]]:
        run_ids.append(uuid.UUID(flow_run.id))
        return assisted_manual.fn(str(store.workspace))

    remember()
    (record,) = store.rounds()
    shards = {store.shard_of(image_id) for image_id in record.image_ids}
    names = task_names(run_ids[0])
    assert len([name for name in names if name.startswith("shards")]) == -(-len(shards) // 2)
    assert [name for name in names if ":" in name] == [
        "assisted_manual: annotate 1",
        "assisted_manual: none 1",
        "assisted_manual: open 1",
        "assisted_manual: retrain 1",
    ]


def run_shards(function: Any, *, retries: int) -> list[ShardOutcome]:
    @flow
    def shards() -> list[ShardOutcome]:
        map_shards = shard_groups(FlowConfig(shards_per_task=2, retries=retries), retry_delay_s=0)
        return list(map_shards(function, ["000000", "000001", "000002"]))

    return shards()


def test_a_failing_group_is_retried() -> None:
    calls: list[str] = []

    def fails_once(shard: str) -> ShardOutcome:
        calls.append(shard)
        if len(calls) == 2:
            raise OSError("the network drive went away")
        return ShardOutcome(shard, 1, skipped=False, key="")

    outcomes = run_shards(fails_once, retries=1)
    assert [outcome.shard for outcome in outcomes] == ["000000", "000001", "000002"]
    assert sorted(calls) == ["000000", "000000", "000001", "000001", "000002"]


def test_what_a_user_has_to_mend_is_not_retried() -> None:
    calls: list[str] = []

    def fails(shard: str) -> ShardOutcome:
        calls.append(shard)
        raise InputError(f"{shard}.jpg: no such file")

    with pytest.raises(InputError, match="no such file"):
        run_shards(fails, retries=3)
    assert calls.count("000000") == 1


def test_subflows_belong_to_the_parent(tmp_path: Path) -> None:
    store = make_workspace(tmp_path, images=2, holdout=0, assisted_manual={"rounds": 1}, retraining={"steps": 1})
    run_ids: list[uuid.UUID] = []

    @flow(name="around")
    def around() -> None:
        run_ids.append(uuid.UUID(flow_run.id))
        data_engine.fn(str(store.workspace))

    around()
    children = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=run_ids))
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_run_filter=children)
        names = {client.read_flow(run.flow_id).name for run in runs}
    assert names == {"assisted-manual", "semi-automatic", "fully-automatic"}
    assert all(run.state is not None and run.state.is_completed() for run in runs)
