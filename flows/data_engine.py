"""The parent flow: the stages in order."""

from typing import Any

from engine.store import Store
from flows.asking import ask_for
from flows.endings import waiting
from flows.engine_flows import engine_flow
from flows.stage_runs import stage_flow
from schemas.stages import STAGES
from stages.planning import next_step

_FLOWS = {stage: stage_flow(stage) for stage in STAGES}


@engine_flow("data-engine")
def data_engine(workspace: str) -> Any:
    """Run all stages to their end, or until something or somebody has to come first; goes on where they stand.

    Returns what each tick did, by stage.
    """
    ticks: dict[str, list[dict[str, Any]]] = {}
    store = Store(workspace)
    for stage in store.files.settings().stages_in_use:
        step = next_step(store, stage)
        if step.approval is not None:  # here, since a run within this one cannot be suspended
            ask_for(store.files, step.approval, step.message)
        ticks[stage] = _FLOWS[stage](workspace)
        last = ticks[stage][-1]
        if last["state"] == "waiting":
            return waiting(f"{stage}: {last['message']}", ticks)
    return ticks
