"""`sam-engine schedule`: a workspace that runs by itself, on a Prefect server or in one process."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.console import JsonFlag, emit, note
from schemas.counted import counted

if TYPE_CHECKING:
    from engine.workspace import Workspace

app = typer.Typer(no_args_is_help=True, help="Let a workspace run by itself, on Prefect's server or in one process.")
WorkspaceArgument = Annotated[str, typer.Argument(help="The workspace.")]
PoolOption = Annotated[str, typer.Option(help="Work pool of the workers that run the flows; made if need be.")]
CronOption = Annotated[
    list[str] | None,
    typer.Option(
        "--cron", help="NAME=EXPRESSION, when a deployment runs (UTC), NAME= for never; repeatable. show lists them."
    ),
]


@app.command()
def server(
    host: Annotated[str, typer.Option(help="Address to listen on; loopback unless told otherwise.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 4200,
) -> None:
    """Start Prefect's server with settings under which a restart of it ends no run. Ctrl-C or SIGTERM stops it.

    The same as prefect server start, with leases on disk and without telemetry; its data is in PREFECT_HOME.
    """
    from flows.prefect_settings import prepare_prefect_server

    prepare_prefect_server()
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", str(port)]
    os.execv(sys.executable, command)


@app.command()
def install(
    workspace: WorkspaceArgument,
    pool: PoolOption = "sam-data-engine",
    cron: CronOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Make the deployments of a workspace, their times and their triggers, on the server that PREFECT_API_URL names.

    Done again it changes what differs. A worker runs them: sam-engine schedule worker
    """
    files = _opened(workspace)
    when = _crons(cron)
    with _server():
        from flows.scheduling import install_schedule

        found = install_schedule(files, cron=when, pool=pool)
    emit(found, as_json=as_json, text=_as_text(found))


@app.command()
def worker(
    pool: PoolOption = "sam-data-engine",
    limit: Annotated[int, typer.Option(min=1, help="Flows at once.")] = 2,
) -> None:
    """Run the flows that the server schedules, in processes of this machine. Ctrl-C or SIGTERM stops it.

    The same as prefect worker start --type process, which is started again whenever it dies.
    """
    with _server():
        from flows.scheduling import check_name
        from flows.worker import keep_running, worker_command

        check_name("--pool", pool)
        keep_running(worker_command(pool, limit))


@app.command()
def show(workspace: WorkspaceArgument, as_json: JsonFlag = False) -> None:
    """What is scheduled for a workspace, what starts what, and whether a worker is there."""
    files = _opened(workspace)
    with _server():
        from flows.scheduling import read_schedule

        found = read_schedule(files)
    emit(found, as_json=as_json, text=_as_text(found))


@app.command()
def start(
    workspace: WorkspaceArgument,
    name: Annotated[str, typer.Argument(help="A deployment, as show lists them: data-engine, release, ...")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE, a parameter of the flow; repeatable.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Start a run now; a worker takes it up."""
    from flows.settings import parse_settings

    files = _opened(workspace)
    parameters = parse_settings(settings or [])
    with _server():
        from flows.scheduling import start_run

        found = start_run(files, name, parameters)
    emit(found, as_json=as_json, text=f"{found['name']}: {found['url']}")


@app.command()
def remove(workspace: WorkspaceArgument, as_json: JsonFlag = False) -> None:
    """Take the deployments of a workspace, with their times and triggers, from the server. Pools and runs stay."""
    files = _opened(workspace)
    with _server():
        from flows.scheduling import remove_schedule

        removed = remove_schedule(files)
    emit({"removed": removed}, as_json=as_json, text="\n".join(f"removed: {name}" for name in removed) or "none there")


@app.command()
def serve(
    workspace: WorkspaceArgument,
    limit: Annotated[int, typer.Option(min=1, help="Flows at once.")] = 2,
    cron: CronOption = None,
) -> None:
    """The light way: one process that schedules and runs the flows, without a pool and workers. Ctrl-C stops it.

    PREFECT_API_URL names the server, which has to run.
    """
    files = _opened(workspace)
    when = _crons(cron)
    with _server():
        from flows.scheduling import serve_schedule

        note(f"serving the flows of {files}; Ctrl-C stops it")
        serve_schedule(files, cron=when, limit=limit)


def _opened(workspace: str) -> "Workspace":
    from engine.migrations import refuse_newer
    from engine.workspace import Workspace

    files = Workspace(workspace)
    files.settings()
    refuse_newer(files)
    return files


def _crons(given: list[str] | None) -> dict[str, str]:
    from flows.deployments import crons
    from schemas.errors import InputError

    changed = {}
    for text in given or []:
        name, equals, expression = text.partition("=")
        if not equals:
            raise InputError(f"--cron {text}: expected NAME=EXPRESSION, for example --cron 'release=0 4 * * 0'")
        changed[name] = expression.strip()
    return crons(changed)


@contextmanager
def _server() -> Iterator[None]:
    """Raises InputError where no server is named, WaitError where it does not answer."""
    from flows.prefect_settings import prepare_prefect_server, server_errors
    from schemas.errors import InputError

    url = os.environ.get("PREFECT_API_URL", "")
    if not url:
        raise InputError(
            "PREFECT_API_URL names no Prefect server; start one (docs/operating.md says how), then: "
            "export PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    prepare_prefect_server()
    with server_errors():
        yield


def _as_text(found: dict[str, Any]) -> str:
    lines = [
        f"{found['workspace']}: {counted(len(found['deployments']), 'deployment')}, pool {found['pool'] or 'none'}"
    ]
    for each in found["deployments"]:
        when = [each["cron"] and f"at {each['cron']} UTC", each["after"] and f"after {each['after']}"]
        lines.append(f"  {each['name']}: {', '.join(filter(None, when)) or 'when asked'}")
    return "\n".join(lines + [f"WRONG  {problem}" for problem in found["problems"]])
