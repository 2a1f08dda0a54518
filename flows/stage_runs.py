"""The flow of a stage: tick until there is nothing left to do, shards in groups as Prefect tasks.

Prefect schedules, retries and shows. What is done is known by the store alone, so nothing here is cached or persisted.
"""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

from prefect import Flow, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.utilities.annotations import quote

from engine.store import Store
from flows.allocator import keep_freed_memory
from flows.ray_shards import RayShards
from schemas.config import FlowConfig
from schemas.errors import InputError, WaitError
from schemas.stages import Stage
from stages.planning import next_step
from stages.progress import Progress, silent
from stages.rounds import TickResult, tick
from stages.shards import MapShards, ShardOutcome, serial

# A flow's parameters are recorded by Prefect and have to be plain values; who wants bars sets them here.
current_progress: ContextVar[Progress] = ContextVar("current_progress", default=silent)
_RETRY_DELAY_S = 5.0


@task(name="shards", cache_policy=NO_CACHE, persist_result=False)
def do_shards(worker: Callable[[str], ShardOutcome], shards: list[str], map_group: MapShards) -> Sequence[ShardOutcome]:
    """Do a group of shards. Each commits itself, so a retry goes on behind the last one that was finished."""
    return map_group(worker, shards)


@task(name="tick", cache_policy=NO_CACHE, persist_result=False)
def do_tick(workspace: str, stage: Stage) -> TickResult:
    """One step of a stage."""
    store = Store(workspace)
    flow_config = store.files.settings().flow
    return tick(store, stage, map_shards=shard_groups(flow_config), progress=current_progress.get())


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

    It goes on where the workspace stands. Raises WaitError where the stage may not start yet.
    """

    def run(workspace: str) -> list[dict[str, Any]]:
        return run_until_done(workspace, stage)

    run.__name__ = stage
    run.__doc__ = f"Run the stage {stage} to its end, or until people have to work; goes on where the workspace stands."
    return flow(run, name=stage.replace("_", "-"))


def run_until_done(workspace: str, stage: Stage) -> list[dict[str, Any]]:
    """Tick a stage until it is done, or until people have to work. Returns what each tick did; call it within a flow.

    Raises WaitError where the stage may not start yet.
    """
    keep_freed_memory()
    results: list[dict[str, Any]] = []
    store = Store(workspace)
    while True:
        step = next_step(store, stage)
        result = do_tick.with_options(task_run_name=f"{stage}: {step.action} {step.round or ''}".rstrip())(
            workspace, stage
        )
        results.append(result.to_dict())
        if result.state != "advanced":
            return results


def _worth_a_retry(_task: Any, _task_run: Any, state: Any) -> bool:
    """What a user has to mend does not get better by itself."""
    error = state.result(raise_on_failure=False)
    return not isinstance(error, InputError | WaitError)
