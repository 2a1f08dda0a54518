"""`sam-engine labeling`: people annotate in Label Studio, with the model under the cursor."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from flows.console import JsonFlag, emit, note, progress_bars

if TYPE_CHECKING:
    from engine.annotation import AnnotationTool
    from engine.labeling.server import LabelStudioServer
    from schemas.stages import Stage

_WATCH_EVERY_S = 10.0  # a round trip makes a project and deletes it
app = typer.Typer(no_args_is_help=True, help="People annotate in Label Studio, with the model under the cursor.")
Workspace = Annotated[str, typer.Argument(help="The workspace.")]
StageOption = Annotated[
    str | None, typer.Option("--stage", help="assisted_manual or semi_automatic; default: both, or the open one.")
]


@app.command()
def server(
    workspace: Workspace,
    host: Annotated[
        str, typer.Option(help="Address to listen on; other machines reach it only if it is not loopback.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
    database: Annotated[
        str | None,
        typer.Option(
            envvar="SAM_ENGINE_LABELING_DATABASE",  # where other users of the machine do not see the password
            help="postgresql://USER:PASSWORD@HOST:PORT/NAME for a team; default: an SQLite file.",
        ),
    ] = None,
    show_password: Annotated[
        bool, typer.Option("--show-password", help="Print the password of the first account when it is up.")
    ] = False,
) -> None:
    """Start a local Label Studio for the workspace, installing it on first use (1 GB); Ctrl-C stops it."""
    from engine.labeling.server import serve_forever
    from engine.store import Store

    def ready(running: "LabelStudioServer") -> None:
        account = running.account
        password = f", password {account.password}" if show_password else " (--show-password prints the password)"
        note(f"Label Studio is up: {running.url}, log in as {account.email}{password}; Ctrl-C stops it")

    serve_forever(
        Store(workspace).files.local_path("a local Label Studio"),
        ready=ready,
        host=host,
        port=port,
        database=database,
        note=note,
    )


@app.command()
def serve(
    workspace: Workspace,
    host: Annotated[str, typer.Option(help="Address to listen on; loopback unless told otherwise.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 9090,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Name or id, which stays; default: always the newest that the stages trained."
        ),
    ] = None,
) -> None:
    """Answer clicks and boxes in Label Studio with masks: the model backend. Ctrl-C stops it."""
    from engine.labeling.backend import serve as serve_backend
    from engine.labeling.folder import LabelingFolder
    from engine.store import Store
    from model.devices import device_of
    from stages.planning import model_of_annotators

    store = Store(workspace)
    config = store.files.settings()

    def of_open_round() -> str:
        return model_of_annotators(config, store.rounds())

    name = model or of_open_round()
    pictures = LabelingFolder(workspace).pictures()
    note(f"model {name} answers at http://{host}:{port}; Ctrl-C stops it")
    serve_backend(
        store.files.local_path("the model backend's folder"),
        host=host,
        port=port,
        model=name,
        wanted=None if model else of_open_round,
        device=device_of(config.model.device),
        queue=pictures,
    )


@app.command()
def setup(
    workspace: Workspace,
    stage: StageOption = None,
    gates: Annotated[
        bool, typer.Option("--gates", help="Also those for all gates and the audit; default: gates of engine.yaml.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make the stages' projects in Label Studio, or put them right; prints the links for annotators."""
    from engine.labeling.tool import LabelStudioTool
    from schemas.labeling import GATES

    of = _Opened(workspace)
    links = [of.tool.setup(each) for each in _stages(stage)]
    links += [LabelStudioTool(of.store, of.config).setup(gate) for gate in (GATES if gates else of.config.gates.wanted)]
    lines = [f"{link.purpose}: {link.url} ({', '.join(link.changed) or 'nothing to change'})" for link in links]
    result = {link.purpose: {"project": link.project, "url": link.url, "changed": list(link.changed)} for link in links}
    if not of.config.annotator.by_people:
        note("engine.yaml still says annotator.kind: simulated; set it to label_studio, or nothing is published")
    emit(result, as_json=as_json, text="\n".join(lines))


@app.command()
def sync(
    workspace: Workspace,
    stage: StageOption = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Go on until the stage is done: whenever somebody submits, and every minute."),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Publish what is missing and collect what is done: the same tick as `sam-engine run`, again and again."""
    from engine.labeling.folder import LabelingFolder
    from engine.store import Store
    from stages.rounds import tick

    store = Store(workspace)
    wake_file = LabelingFolder(workspace).wake_file
    name = _stages(stage)[0] if stage else _open_stage(store)
    noted = ""
    with progress_bars() as progress:
        while True:
            woken_at = _changed_at(wake_file)
            done = tick(store, name, progress=progress)
            if not watch or done.state == "done":
                break
            if done.message != noted:
                note(noted := done.message)
            if done.state == "waiting":
                _sleep_until_woken(wake_file, woken_at)
    more = "; run it again for the next step, or with --watch" if done.state == "advanced" else ""
    emit(done.to_dict(), as_json=as_json, text=f"{name}: {done.message}{more}")


@app.command()
def gate(
    name: Annotated[str, typer.Argument(help="verification (of masks), exhaustivity (of images) or audit.")],
    workspace: Workspace,
    stage: StageOption = None,
    number: Annotated[int | None, typer.Option("--round", help="Default: the last one that is annotated.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Have a sample of a round looked at: publish it, read the answers so far, draw consequences once all are there.

    Verification and exhaustivity send bad masks and unfinished images back to annotators and take rejected masks away;
    the audit only measures. Run it again as people answer; what was found is kept in WORK/reports.
    """
    from schemas.errors import InputError
    from schemas.labeling import GATES
    from stages.quality import move_gate

    if name not in GATES:
        raise InputError(f"unknown gate {name!r}; choose one of {', '.join(GATES)}")
    store = _Opened(workspace).store
    of_stage = _stages(stage)[0] if stage else None
    with progress_bars() as progress:
        found = move_gate(store, name, stage=of_stage, round=number, progress=progress)
    emit(found.to_dict(), as_json=as_json, text=found.message)


@app.command()
def doctor(
    workspace: Workspace,
    stage: StageOption = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Look again every few seconds, and print a line for each change. Ctrl-C ends it."),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Check all that annotators need, one round trip included, and name the first thing that is wrong."""
    if watch:
        _watch(workspace, stage)
    checks = _checks(workspace, stage)
    lines = [
        f"{'ok   ' if check['right'] else 'WRONG'}  {check['check']}  {check['remedy']}".rstrip() for check in checks
    ]
    emit({"checks": checks}, as_json=as_json, text="\n".join(lines))
    if not all(check["right"] for check in checks):
        raise typer.Exit(1)


def _checks(workspace: str, stage: str | None) -> list[dict[str, Any]]:
    of = _Opened(workspace)
    return [
        {"stage": each, "check": check.name, "right": check.right, "remedy": check.remedy}
        for each in (_stages(stage) if stage else [_open_stage(of.store)])
        for check in of.tool.doctor(each)
    ]


def _watch(workspace: str, stage: str | None) -> NoReturn:
    """The settings are read anew each time: somebody may be mending them."""
    from schemas.errors import InputError, WaitError

    said = None
    while True:
        try:
            wrong = next((check for check in _checks(workspace, stage) if not check["right"]), None)
            line = (
                f"WRONG  {wrong['check']}  {wrong['remedy']}" if wrong else "ok     all that annotators need is there"
            )
        except (InputError, WaitError) as error:
            line = f"WRONG  {error}"
        if line != said:
            typer.echo(f"{time.strftime('%H:%M:%S')}  {line}")
            said = line
        time.sleep(_WATCH_EVERY_S)


class _Opened:
    """What most commands need of a workspace."""

    def __init__(self, workspace: str) -> None:
        from engine.store import Store

        self.store = Store(workspace)
        self.config = self.store.files.settings()

    @property
    def tool(self) -> "AnnotationTool":
        """The one that people work in; where the annotator is simulated still, the one that is prepared for them."""
        from stages.annotation_tools import ANNOTATION_TOOLS

        kind = self.config.annotator.kind if self.config.annotator.by_people else "label_studio"
        return ANNOTATION_TOOLS[kind](self.store, self.config)


def _stages(name: str | None) -> "list[Stage]":
    from schemas.errors import InputError
    from schemas.stages import ANNOTATED_STAGES
    from stages.planning import parse_stage

    if name is None:
        return list(ANNOTATED_STAGES)
    stage = parse_stage(name)
    if stage not in ANNOTATED_STAGES:
        raise InputError(f"{stage} has no annotators; choose one of {', '.join(ANNOTATED_STAGES)}")
    return [stage]


def _open_stage(store: Any) -> "Stage":
    """The stage whose round is open, else the first that is not through."""
    from schemas.stages import ANNOTATED_STAGES
    from stages.planning import next_step

    steps = [next_step(store, stage) for stage in ANNOTATED_STAGES]
    unfinished = [step.stage for step in steps if step.action not in ("none", "wait")]
    return unfinished[0] if unfinished else ANNOTATED_STAGES[0]


def _changed_at(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def _sleep_until_woken(path: Path, since: float, *, at_most_s: float = 60.0) -> None:
    """Until the backend hears of something; a webhook may get lost, so no longer than a minute."""
    end = time.monotonic() + at_most_s
    while time.monotonic() < end and _changed_at(path) == since:
        time.sleep(0.5)
