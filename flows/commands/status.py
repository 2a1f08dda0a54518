"""`sam-engine status`: where a workspace stands."""

import signal
import sys
import threading
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from flows.console import JsonFlag, emit
from schemas.counted import counted

if TYPE_CHECKING:
    from engine.store import Store

_WATCH_EVERY_S = 5.0
_CLEAR = "\x1b[2J\x1b[H"  # the terminal, and the cursor to its top


def status(
    workspace: Annotated[str, typer.Argument(help="The workspace.")],
    rejected: Annotated[bool, typer.Option("--rejected", help="List all that was rejected, with the reasons.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on looking: anew on a terminal, else a line a change. Ctrl-C ends it.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Rounds, shards, models, what each stage does or waits for next, and the runs that are at work on this machine."""
    from engine.store import Store
    from engine.workspace import Workspace

    Workspace(workspace).settings()
    if watch:
        _watch(workspace, all_rejected=rejected)
    found = workspace_status(Store(workspace))
    emit(found, as_json=as_json, text=None if as_json else _as_text(found, all_rejected=rejected))


def _watch(workspace: str, *, all_rejected: bool) -> NoReturn:
    from engine.store import Store

    shown: list[str] = []
    interrupted = _interruption()
    while True:
        text = _as_text(workspace_status(Store(workspace)), all_rejected=all_rejected)
        if sys.stdout.isatty():
            typer.echo(f"{_CLEAR}{text}")
        else:
            lines = text.splitlines()
            for line in (line for line in lines if line not in shown):
                typer.echo(f"{time.strftime('%H:%M:%S')} {line}")
            shown = lines
            sys.stdout.flush()
        if interrupted.wait(_WATCH_EVERY_S):
            raise KeyboardInterrupt


def _interruption() -> threading.Event:
    """Set on the first SIGINT: raised in the middle of a look, an exception may get lost in a library. The second one
    is raised. Who ignores SIGINT, as shells have it for what they start in the background, goes on doing so."""
    interrupted = threading.Event()

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        interrupted.set()

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    return interrupted


def workspace_status(store: "Store") -> dict[str, Any]:
    """All that `sam-engine status` tells, as plain values."""
    from engine.analysis.rounds import round_reports
    from flows.run_records import records
    from model.registry import list_models
    from stages.planning import next_step

    steps = [next_step(store, stage) for stage in store.files.settings().stages_in_use]
    names = {model.model_id: model.name for model in list_models(store.files.model_roots())}
    guards = [record.metrics.guard for record in store.rounds()]
    return {
        "workspace": store.files.full_name,
        "rows": store.counts(),
        "shards": len(store.shards()),
        "stages": {step.stage: {"next": step.action, "round": step.round, "message": step.message} for step in steps},
        "at_work": [asdict(record) for record, alive in records(store.files) if alive],
        "rounds": [
            report.to_dict()
            | {"model": names.get(report.model_before, report.model_before), "guard": guard and guard.to_dict()}
            for report, guard in zip(round_reports(store), guards, strict=True)
        ],
        "models": [{"name": model.name, "id": model.model_id} for model in list_models(store.files.model_roots()[:1])],
        "foreign_stages": store.foreign_stages(),
        "releases": [release.name for release in store.files.releases.find("[!.]*")],
        "rejected": store.read_table("rejected").to_pylist(),
    }


def _as_text(found: dict[str, Any], *, all_rejected: bool) -> str:
    rows = found["rows"]
    lines = [f"{found['workspace']}: {counted(rows['images'], 'image')} in {counted(found['shards'], 'shard')}"]
    lines += [
        f"  masks, {stage.replace('_', ' ')}: {rows.get(stage, 0)}" for stage in ("ground_truth", *found["stages"])
    ]
    lines.append("Next steps")
    lines += [f"  {stage}: {_next(step)}" for stage, step in found["stages"].items()]
    lines += ["At work"] if found["at_work"] else []
    lines += [f"  {_run(record)}" for record in found["at_work"]]
    lines.append("Rounds" if found["rounds"] else "Rounds: none yet")
    lines += [f"  {report['stage']} {report['round']}: {_round(report)}" for report in found["rounds"]]
    lines += [
        f"  {stage}: no installed package brings this stage, so it is left alone" for stage in found["foreign_stages"]
    ]
    lines.append("Models" if found["models"] else "Models: none of its own yet")
    lines += [f"  {model['name']} ({model['id']})" for model in found["models"]]
    lines += [f"Releases: {', '.join(found['releases'])}"] if found["releases"] else []
    if found["rejected"]:
        lines.append(f"Rejected: {len(found['rejected'])}" + ("" if all_rejected else " (list them with --rejected)"))
    if all_rejected:
        lines += [f"  {row['source']}: {row['reason']}" for row in found["rejected"]]
    return "\n".join(lines)


def _next(step: dict[str, Any]) -> str:
    prefix = {"wait": "waiting: ", "none": "done: "}.get(step["next"], "")
    return prefix + str(step["message"])


def _run(record: dict[str, Any]) -> str:
    """A run that is at work, and how far it was when it told last."""
    since = time.strftime("%d %b %H:%M", time.localtime(record["started"]))
    told = record["advance"]
    where = f"process {record['pid']} since {since}"
    if told is None:
        return f"{record['what']}: {where}"
    note = f", {told['note']}" if told["note"] else ""
    return f"{record['what']}: {told['what']}, {told['done']} of {told['total']}{note} ({where})"


def _round(report: dict[str, Any]) -> str:
    parts = [report["state"], f"model {report['model']}"]
    if report["masks"] is not None:
        parts.append(f"{counted(report['masks'], 'mask')} on {counted(report['images'], 'image')}")
    if report["unreadable"]:
        why = next(iter(report["why_unreadable"]), "")
        parts.append(f"{report['unreadable']} left out, since they cannot be read, the first: {why}")
    if report["miou_after"] is not None:
        parts.append(f"mIoU {report['miou_before']:.3f} -> {report['miou_after']:.3f}")
    if report["guard"] is not None and not report["guard"]["accepted"]:
        parts.append(f"retrained model not used: {report['guard']['reason']}")
    return ", ".join(parts)
