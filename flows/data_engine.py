"""The parent flow: the stages in order."""

from typing import Any

from prefect import flow

from engine.workspace import Workspace
from flows.stage_runs import stage_flow
from schemas.stages import STAGES

_FLOWS = {stage: stage_flow(stage) for stage in STAGES}


@flow(name="data-engine")
def data_engine(workspace: str) -> dict[str, list[dict[str, Any]]]:
    """Run all stages to their end, or until people have to work; goes on where the workspace stands."""
    ticks: dict[str, list[dict[str, Any]]] = {}
    for stage in Workspace(workspace).settings().stages_in_use:
        ticks[stage] = _FLOWS[stage](workspace)
        if ticks[stage][-1]["state"] == "waiting":
            break
    return ticks
