"""Running flows from the command line: Prefect is set up for the workspace, and only where there is something to do."""

from collections.abc import Callable
from typing import Any, Literal

from engine.store import Store
from flows.console import note
from flows.prefect_server import tie_servers_to_this_process
from flows.prefect_settings import prepare_prefect
from schemas.errors import WaitError
from schemas.stages import Stage
from stages.movers import only_mover
from stages.planning import Step, next_step
from stages.progress import Progress
from stages.rounds import TickResult, nothing_done

DATA_ENGINE: Literal["data_engine"] = "data_engine"
Ticks = dict[str, list[dict[str, Any]]]


def run_flow(store: Store, name: Stage | Literal["data_engine"], progress: Progress) -> Ticks:
    """Run the flow of a stage, or of all that the workspace uses, to its end. Returns what each tick did, by stage.

    Where the store has nothing to do, Prefect, whose server takes seconds to start, is not even imported.
    Raises WaitError where the first stage may not start yet, or where Prefect's own server does not start.
    """
    stages = store.files.settings().stages_in_use if name == DATA_ENGINE else (name,)
    steps = [next_step(store, stage) for stage in stages]
    if steps[0].action == "wait":
        raise WaitError(steps[0].message)
    if all(step.action == "none" for step in steps):
        return {step.stage: [_nothing_to_do(step)] for step in steps}
    first = next(step.stage for step in steps if step.action != "none")
    with only_mover(store, first) as alone:
        return _run(store, name, first, progress) if alone else {first: [nothing_done(store, first).to_dict()]}


def _run(store: Store, name: Stage | Literal["data_engine"], first: Stage, progress: Progress) -> Ticks:
    prepare_prefect(store.files.root.on_disk())
    note("starting Prefect ...")
    from prefect.settings import PREFECT_API_URL

    from flows.stage_runs import current_progress

    if PREFECT_API_URL.value() is None:
        tie_servers_to_this_process()

    token = current_progress.set(progress)
    try:
        found = _flow(name)(str(store.files))
    except RuntimeError as error:
        if "Failed to reach API" in str(error):
            raise WaitError(
                f"{PREFECT_API_URL.value()}: Prefect's server does not answer; is it running? Without PREFECT_API_URL "
                f"the same command starts one of its own, and sam-engine run {first} {store.files} goes without"
            ) from error
        if "ephemeral Prefect API server" not in str(error):
            raise
        raise WaitError(
            "Prefect's own server did not start in time; try again on a less busy machine, name another server with "
            f"PREFECT_API_URL, or go without Prefect, step by step: sam-engine run {first} {store.files}"
        ) from error
    finally:
        current_progress.reset(token)
    ticks = found if isinstance(found, dict) else {name: found}
    last = list(ticks.values())[-1][-1]
    if last["action"] == "wait":
        raise WaitError(last["message"])
    return ticks


def _flow(name: Stage | Literal["data_engine"]) -> Callable[[str], Any]:
    """Prefect is imported here: nothing before needs it."""
    if name == DATA_ENGINE:
        from flows.data_engine import data_engine

        return data_engine
    from flows.stage_runs import stage_flow

    return stage_flow(name)


def _nothing_to_do(step: Step) -> dict[str, Any]:
    return TickResult(step.stage, "none", step.round, step.message, "done").to_dict()
