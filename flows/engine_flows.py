"""Flows of the engine: each is about one workspace, says so in its name, and ends as `flows.endings` has it."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from prefect import Flow, flow
from prefect.runtime import flow_run

from engine.store import Store
from engine.workspace import Workspace
from flows.endings import ending_of
from flows.run_records import run_record
from schemas.errors import InputError, WaitError
from schemas.stages import Stage
from stages.planning import next_step


def engine_flow(name: str, *, stage: Stage | None = None) -> Callable[[Callable[..., Any]], "Flow[..., Any]"]:
    """A Prefect flow of a function whose first parameter is the workspace.

    While it runs, a record in the workspace says so (`flows.run_records`). A WaitError ends it as Completed under the
    name Waiting, an InputError as Failed; both tell it in one line.
    stage: whose last round its name tells.
    """

    def decorate(function: Callable[..., Any]) -> "Flow[..., Any]":
        @wraps(function)
        def run(workspace: str, *args: Any, **options: Any) -> Any:
            try:
                files = Workspace(workspace)
                files.settings()  # before anything is written into what may be no workspace
                with run_record(files, what=name, flow_run=str(flow_run.id or "")):
                    return function(workspace, *args, **options)
            except (InputError, WaitError) as error:
                return ending_of(error)

        return flow(run, name=name, flow_run_name=lambda: run_name(name, stage))

    return decorate


def run_name(name: str, stage: Stage | None) -> str:
    """WORKSPACE, flow and, for a stage, the round that it stands at when the run begins."""
    workspace = str(flow_run.parameters.get("workspace", ""))
    try:
        files = Workspace(workspace)
        round = next_step(Store(files), stage).round if stage else 0
    except (InputError, OSError):  # the run itself says what is wrong with it
        return f"{workspace} {name}"
    return f"{files.name} {name}" + (f" round {round}" if round else "")
