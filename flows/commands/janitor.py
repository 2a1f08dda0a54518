"""`sam-engine janitor`: what killed processes left behind is put in order."""

import os
from typing import Annotated, Any

import typer

from flows.commands.approve import go_on
from flows.console import JsonFlag, emit
from schemas.counted import counted


def janitor(
    workspace: Annotated[str, typer.Argument(help="The workspace.")],
    grace: Annotated[
        float, typer.Option("--grace", min=0, help="Seconds that a run of Prefect may have no process yet.")
    ] = 240.0,
    restart: Annotated[
        bool, typer.Option(help="Let the closed runs of deployments start again; they go on where they were.")
    ] = True,
    as_json: JsonFlag = False,
) -> None:
    """Close the runs that Prefect takes for alive and that are dead, and sweep what killed writers left.

    What works is never touched. Runs are looked at where PREFECT_API_URL names a server; `sam-engine schedule` has the
    same on a schedule.
    """
    from engine.workspace import Workspace
    from flows.prefect_settings import prepare_prefect, server_errors

    files = Workspace(workspace)
    files.settings()
    with_prefect = "PREFECT_API_URL" in os.environ
    prepare_prefect(files.root.on_disk())
    from flows.janitor import clean

    with server_errors():
        done = clean(files, grace_s=grace, restart=restart, with_prefect=with_prefect)
    emit(done, as_json=as_json, text=_as_text(done, with_prefect=with_prefect))


def _as_text(done: dict[str, Any], *, with_prefect: bool) -> str:
    lines = [f"{run['ending']}: {run['name']} ({run['reason']})" for run in done["closed"]]
    if done["resumed"]:
        lines.append(go_on(done["resumed"]))
    if done["skipped"]:
        lines.append(f"skipped {counted(done['skipped'], 'late run')}: a later one of each deployment does the same")
    lines += [f"removed: {path}" for path in done["swept"]]
    if done["records"]:
        lines.append(f"forgot {counted(done['records'], 'record')} of processes that are gone")
    if not with_prefect:
        lines.append("Prefect's runs were not looked at: PREFECT_API_URL names no server")
    return "\n".join(lines or ["nothing to put in order"])
