"""A stage is a state machine over the store, moved by a tick: look at the state, do the next step, stop.

A round goes open -> annotated -> verified -> retrained, verified only where gates are asked for. A cron run, a person
and a flow can all move it; nothing has to stay alive in between, and a step that was killed is done again without
redoing the shards that are committed.
"""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from engine.store import Store
from schemas.errors import WaitError
from schemas.stages import Stage
from stages.movers import another_moves, only_mover
from stages.planning import Action, next_step
from stages.progress import Progress, silent
from stages.shards import MapShards, serial

if TYPE_CHECKING:
    from stages.retraining import Retraining


@dataclass(frozen=True)
class TickResult:
    """What a tick did.

    state: "advanced" where there may be more to do at once, "waiting" where people have to work first, or where another
    process moves the stage, "done" where the stage has nothing left.
    """

    stage: Stage
    action: Action
    round: int
    message: str
    state: Literal["advanced", "waiting", "done"]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def tick(
    store: Store,
    stage: Stage,
    *,
    map_shards: MapShards = serial,
    progress: Progress = silent,
    retraining: "Retraining | None" = None,
) -> TickResult:
    """Do the next step of a stage: open a round, annotate or generate its shards, pass its gates, or retrain.

    Where people annotate or answer, that step publishes what is missing and collects what is done; it waits until
    enough is. While another process moves the stage, nothing is done. retraining: what retrains; None for this process.

    Raises WaitError, naming what is missing and the command for it, where the stage may not go on yet.
    """
    with only_mover(store, stage) as alone:
        return _tick_alone(store, stage, map_shards, progress, retraining) if alone else nothing_done(store, stage)


def nothing_done(store: Store, stage: Stage) -> TickResult:
    """Of a stage that another process moves."""
    return TickResult(stage, "none", 0, another_moves(store, stage), "waiting")


def _tick_alone(
    store: Store, stage: Stage, map_shards: MapShards, progress: Progress, retraining: "Retraining | None"
) -> TickResult:
    step = next_step(store, stage)
    if step.action == "wait":
        raise WaitError(step.message)
    if step.action == "none":
        return TickResult(stage, "none", step.round, step.message, "done")
    # Only now: what does a step brings torch along, seconds and half a gigabyte, and most ticks of a schedule find
    # nothing to do.
    from stages.steps import annotate, open_round, pass_gates, retrain_round, wait_for_annotators

    if step.action == "open":
        message = open_round(store, step, progress)
    elif step.action == "retrain":
        message = retrain_round(store, step, progress, retraining)
    elif step.action == "verify":
        passed, message = pass_gates(store, step, progress)
        if not passed:
            return TickResult(stage, step.action, step.round, message, "waiting")
    else:
        annotators = wait_for_annotators(store, step, progress)
        if not annotators.finished:
            return TickResult(stage, step.action, step.round, annotators.message, "waiting")
        message = annotate(store, step, map_shards, progress)
    return TickResult(stage, step.action, step.round, message, "advanced")
