"""An ablation as a flow: a task a training, then one that measures and reports."""

from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from engine.places import place
from engine.store import Store
from flows.allocator import keep_freed_memory
from flows.engine_flows import engine_flow
from flows.slots import slot
from flows.stage_runs import current_progress
from flows.telling import told_everywhere
from schemas.ablation import parse_ablation
from schemas.errors import InputError
from stages.ablation import AblationRun


@task(name="train", cache_policy=NO_CACHE, persist_result=False)
def train(workspace: str, file: str, number: int) -> str:
    """One training; after a kill it goes on from its last checkpoint, and one that is done is found."""
    return _opened(workspace, file).train(number).model_id


@task(name="measure", cache_policy=NO_CACHE, persist_result=False)
def measure(workspace: str, file: str) -> dict[str, Any]:
    """Measure what was not measured yet, and write the report."""
    run = _opened(workspace, file)
    left_out: list[str] = []
    result = run.measure(tell=left_out.append)
    run.report(result)
    return {"output": run.ablation.output, "models": len(run.trainings), "left_out": result.left_out}


@engine_flow("ablation")
def ablation(workspace: str, file: str = "") -> Any:
    """Train and measure what a file asks for, as `sam-engine ablate`. file: the path of its YAML."""
    keep_freed_memory()
    run = _opened(workspace, file)
    for number, done in enumerate(run.done()):
        if not done:
            with slot(run.store.files):
                train(workspace, file, number)
    with slot(run.store.files):
        return measure(workspace, file)


def _opened(workspace: str, file: str) -> AblationRun:
    if not file:
        raise InputError("parameter file: name the YAML of an ablation; sam-engine ablate --help says what is in it")
    try:
        content = place(file).read()
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}") from error
    store = Store(workspace)
    progress = told_everywhere(current_progress.get(), store.files.name)
    return AblationRun(store, parse_ablation(content, file=Path(file)), progress=progress)
