"""The parent flow: the stages in order."""

from typing import Any

from prefect import flow

from flows.stage_runs import stage_flow
from schemas.config import STAGES

_FLOWS = {stage: stage_flow(stage) for stage in STAGES}


@flow(name="data-engine")
def data_engine(workspace: str) -> dict[str, list[dict[str, Any]]]:
    """Run all stages to their end, or until people have to work; goes on where the workspace stands."""
    ticks: dict[str, list[dict[str, Any]]] = {}
    for stage, run in _FLOWS.items():
        ticks[stage] = run(workspace)
        if ticks[stage][-1]["state"] == "waiting":
            break
    return ticks
