"""The work of people, moved on by schedules: their masks collected, the gates of quality answered, audits taken."""

from typing import Any

from engine.store import Store
from flows.allocator import keep_freed_memory
from flows.endings import waiting
from flows.engine_flows import engine_flow
from flows.stage_runs import end_of, tick_once
from schemas.stages import ANNOTATED_STAGES, Stage
from stages.planning import next_step, parse_stage
from stages.quality import move_gate


@engine_flow("annotation-sync")
def annotation_sync(workspace: str) -> Any:
    """Publish what is missing of the open round and collect what is done; a round that is complete is told of.

    Returns what the ticks did; none where no round is open that people annotate.
    """
    return _move(workspace, "annotate")


@engine_flow("gates")
def gates(workspace: str) -> Any:
    """Ask the questions of the gates of the annotated round, and read the answers so far."""
    return _move(workspace, "verify")


@engine_flow("audit")
def audit(workspace: str, stage: str | None = None, round: int | None = None) -> Any:
    """Have a sample of a round corrected by experts, the last one if none is named; again and again until all are."""
    keep_freed_memory()
    store = Store(workspace)
    of_stage = parse_stage(stage) if stage else None
    found = move_gate(store, "audit", stage=of_stage, round=round)
    return found.to_dict() if found.finished else waiting(found.message, found.to_dict())


def _move(workspace: str, action: str) -> Any:
    """One tick of the stages whose next step that is."""
    keep_freed_memory()
    store = Store(workspace)
    config = store.files.settings()
    if not config.annotator.by_people:
        return []
    due: list[Stage] = [stage for stage in ANNOTATED_STAGES if next_step(store, stage).action == action]
    ticks = [tick_once(store, next_step(store, stage)).to_dict() for stage in due]
    return end_of(ticks) if ticks else []
