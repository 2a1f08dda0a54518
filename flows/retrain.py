"""Closing a round: what people did is collected, its gates are passed, the model is retrained."""

from typing import Any

from engine.store import Store
from flows.allocator import keep_freed_memory
from flows.engine_flows import engine_flow
from flows.stage_runs import end_of, tick_once
from schemas.stages import Stage
from stages.planning import next_step, parse_stage

_CLOSES = ("annotate", "generate", "verify", "retrain")


@engine_flow("retrain")
def retrain(workspace: str, stage: str | None = None) -> Any:
    """Go on with the open round until its model is retrained; no further round is opened. stage: default all in use.

    Returns what the ticks did; none where no round is open.
    """
    keep_freed_memory()
    store = Store(workspace)
    stages: tuple[Stage, ...] = (parse_stage(stage),) if stage else store.files.settings().stages_in_use
    ticks: list[dict[str, Any]] = []
    for each in stages:
        while (step := next_step(store, each)).action in _CLOSES:
            ticks.append(tick_once(store, step).to_dict())
            if ticks[-1]["state"] != "advanced":
                return end_of(ticks)
    return ticks
