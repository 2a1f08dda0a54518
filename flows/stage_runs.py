"""The flow of a stage: tick until there is nothing left to do, shards in groups as Prefect tasks.

Prefect schedules, retries and shows. What is done is known by the store alone, so nothing here is cached or persisted.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from contextvars import ContextVar
from typing import Any

from prefect import Flow, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Failed
from prefect.utilities.annotations import quote

from engine.store import Store
from flows.allocator import keep_freed_memory
from flows.artifacts import show_round, show_stage
from flows.asking import ask_for
from flows.deployments import name_of
from flows.endings import waiting
from flows.engine_flows import engine_flow
from flows.events import MODEL_REGISTERED, ROUND_COMPLETE, STAGE_FINISHED, tell
from flows.ray_shards import RayShards
from flows.retraining_process import retraining_of
from flows.slots import slot
from flows.telling import log_line, told_everywhere
from schemas.config import FlowConfig
from schemas.errors import InputError, WaitError
from schemas.stages import Stage
from stages.movers import only_mover
from stages.planning import Step, next_step
from stages.progress import Progress, silent
from stages.rounds import TickResult, nothing_done, tick
from stages.shards import MapShards, ShardOutcome, serial

# A flow's parameters are recorded by Prefect and have to be plain values; who wants bars sets them here.
current_progress: ContextVar[Progress] = ContextVar("current_progress", default=silent)
_RETRY_DELAY_S = 5.0
_LONG = ("open", "annotate", "generate", "retrain")  # actions that compute


@task(name="shards", cache_policy=NO_CACHE, persist_result=False)
def do_shards(worker: Callable[[str], ShardOutcome], shards: list[str], map_group: MapShards) -> Any:
    """Do a group of shards. Each commits itself, so a retry goes on behind the last one that was finished."""
    try:
        return map_group(worker, shards)
    except (InputError, WaitError) as error:
        return Failed(message=str(error), data=error)


@task(name="tick", cache_policy=NO_CACHE, persist_result=False)
def do_tick(workspace: str, stage: Stage) -> Any:
    """One step of a stage, in the state that it ends in. Its result is a TickResult; where something has to come first,
    one with the action "wait"."""
    store = Store(workspace)
    config = store.files.settings().flow
    try:
        progress = told_everywhere(current_progress.get(), name_of(store.files))
        retraining = retraining_of(config, log_line)
        result = tick(store, stage, map_shards=shard_groups(config), progress=progress, retraining=retraining)
    except WaitError as error:
        return waiting(str(error), TickResult(stage, "wait", 0, str(error), "waiting"))
    except InputError as error:
        return Failed(message=str(error), data=error)
    return waiting(result.message, result) if result.state == "waiting" else result


def shard_groups(config: FlowConfig, *, retry_delay_s: float = _RETRY_DELAY_S) -> MapShards:
    """Map work over shards as Prefect tasks of `config.shards_per_task` shards, each retried `config.retries` times.

    One task after the other, in this thread: each already uses all cores, or the one GPU, and a signal ends it at once.
    """
    map_group: MapShards = RayShards(actors=config.ray_actors) if config.runner == "ray" else serial
    group_task = do_shards.with_options(
        retries=config.retries, retry_delay_seconds=retry_delay_s, retry_condition_fn=_worth_a_retry
    )

    def map_shards(function: Callable[[str], ShardOutcome], shards: Sequence[str]) -> list[ShardOutcome]:
        groups = [
            list(shards[at : at + config.shards_per_task]) for at in range(0, len(shards), config.shards_per_task)
        ]
        # quote: else Prefect searches the worker, and all it holds, for results of other tasks.
        states = [group_task(quote(function), group, quote(map_group), return_state=True) for group in groups]
        return [outcome for state in states for outcome in state.result()]

    return map_shards


def stage_flow(stage: Stage) -> "Flow[[str], list[dict[str, Any]]]":
    """The flow of a stage, under the stage's name with hyphens; its one parameter is the workspace.

    It goes on where the workspace stands. Where something or somebody has to come first it ends as waiting.
    """

    def run(workspace: str) -> Any:
        return end_of(run_until_done(workspace, stage))

    # The place where a deployment finds it: flows/STAGE.py.
    run.__name__ = run.__qualname__ = stage
    run.__module__ = f"flows.{stage}"
    run.__doc__ = f"Run the stage {stage} to its end, or until people have to work; goes on where the workspace stands."
    return engine_flow(stage.replace("_", "-"), stage=stage)(run)


def run_until_done(workspace: str, stage: Stage) -> list[dict[str, Any]]:
    """Tick a stage until it is done, or until something or somebody has to come first: then the last tick says that.

    No other process moves the stage meanwhile; where one does so already, that is all that is said.
    Returns what each tick did; call it within a flow.
    """
    keep_freed_memory()
    store = Store(workspace)
    with only_mover(store, stage) as alone:
        return _ticks(store, workspace, stage) if alone else [nothing_done(store, stage).to_dict()]


def _ticks(store: Store, workspace: str, stage: Stage) -> list[dict[str, Any]]:
    results: list[TickResult] = []
    while not results or results[-1].state == "advanced":
        step = next_step(store, stage)
        if step.approval is not None:
            ask_for(store.files, step.approval, step.message)
            step = next_step(store, stage)
        results.append(tick_once(store, step))
    return [result.to_dict() for result in results]


def tick_once(store: Store, step: Step) -> TickResult:
    """Do that step of a stage, show what came of it, and tell Prefect's automations; call it within a flow."""
    name = f"{step.stage}: {step.action} {step.round or ''}".rstrip()
    with slot(store.files) if step.action in _LONG else nullcontext():
        state = do_tick.with_options(task_run_name=name)(str(store.files), step.stage, return_state=True)
    result: TickResult = state.result()
    if result.state == "advanced" and result.action == "annotate":
        tell(store.files, ROUND_COMPLETE, stage=step.stage, round=step.round)
    if result.state == "advanced" and result.action == "retrain":
        _tell_of_retraining(store, step)
    return result


def _tell_of_retraining(store: Store, step: Step) -> None:
    show_round(store, step.stage, step.round)
    tell(store.files, MODEL_REGISTERED, stage=step.stage, round=step.round)
    if next_step(store, step.stage).action == "none":
        show_stage(store, step.stage)
        tell(store.files, STAGE_FINISHED, stage=step.stage)


def end_of(ticks: Sequence[dict[str, Any]]) -> Any:
    """What a flow returns for its ticks: waiting, where the last one waits."""
    last = ticks[-1]
    return waiting(f"{last['stage']}: {last['message']}", list(ticks)) if last["state"] == "waiting" else list(ticks)


def _worth_a_retry(_task: Any, _task_run: Any, state: Any) -> bool:
    """What a user has to mend does not get better by itself."""
    error = state.result(raise_on_failure=False)
    return not isinstance(error, InputError | WaitError)
