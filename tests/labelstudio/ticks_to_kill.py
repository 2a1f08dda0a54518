"""Ticks of a stage in a process that kills itself (SIGKILL) at a given moment.

A moment is a number of a call: of those that others can see, which are requests to Label Studio, commits of tables and
renames of files. A kill after a delay comes while the call is under way, or behind it.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from schemas.labeling import Gate
from schemas.stages import Stage

STAGE: Stage = "assisted_manual"
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["stages.steps", "engine.labeling.tool", "label_studio_sdk.base_client", __name__])


class Moment(NamedTuple):
    """number: of the call, counted from 0. delay_s: after the call began."""

    number: int
    delay_s: float


class Call(NamedTuple):
    """step: what the tick was doing, such as "publish"."""

    step: str
    name: str


def run_ticks(workspace: Path, *, kill: Moment | None = None) -> tuple[int, list[Call]]:
    """Tick until people have to work, in a process of its own. Returns its exit code and its calls, in order.

    The exit code is 0, or minus the number of the signal that killed it.
    """
    trace = workspace / "calls.txt"
    trace.unlink(missing_ok=True)
    process = _PROCESSES.Process(target=_tick_until_people_work, args=(workspace, trace, kill))
    process.start()
    process.join()
    lines = trace.read_text(encoding="utf-8").splitlines()
    return process.exitcode or 0, [Call(*line.split(": ", 1)) for line in lines]


class GateRun(NamedTuple):
    """code: as of `run_ticks`. requests: that were sent to Label Studio."""

    code: int
    requests: int


def run_gate(workspace: Path, gate: Gate, *, kill: int | None = None) -> GateRun:
    """Move a gate once, in a process of its own. kill: the request, counted from 0, that is sent and never answered."""
    sent = _PROCESSES.Value("i", 0)
    process = _PROCESSES.Process(target=_move_gate, args=(workspace, gate, kill, sent))
    process.start()
    process.join()
    return GateRun(process.exitcode or 0, sent.value)


def _move_gate(workspace: Path, gate: Gate, kill: int | None, sent: Any) -> None:
    import httpx

    from engine.store import Store
    from stages.quality import move_gate

    send = httpx.Client.send

    def watched(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        def trace(event: str, _: Any) -> None:
            if event == "http11.send_request_body.complete" and sent.value == kill:
                os.kill(os.getpid(), signal.SIGKILL)

        request.extensions["trace"] = trace
        response = send(client, request, **options)
        sent.value += 1
        return response

    httpx.Client.send = watched  # type: ignore[method-assign]
    move_gate(Store(workspace), gate)


def _tick_until_people_work(workspace: Path, trace: Path, kill: Moment | None) -> None:
    from engine.store import Store
    from stages.rounds import tick

    calls = _Calls(trace, kill)
    _watch(calls)
    store = Store(workspace)
    while tick(store, STAGE).state == "advanced":
        pass
    if calls.killer:
        calls.killer.join()


class _Calls:
    """Writes down each call before it is done, and ends the process at its moment."""

    def __init__(self, trace: Path, kill: Moment | None) -> None:
        self.step = "round"  # its report and its state, where nothing else is said
        self.killer: threading.Thread | None = None
        self._descriptor = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._kill, self._count = kill, 0

    def begin(self, name: str) -> None:
        os.write(self._descriptor, f"{self.step}: {name}\n".encode())
        if self._kill and self._count == self._kill.number:
            self.killer = threading.Thread(target=_die, args=(self._kill.delay_s,))
            self.killer.start()
            if not self._kill.delay_s:
                self.killer.join()
        self._count += 1


def _die(delay_s: float) -> None:
    time.sleep(delay_s)
    os.kill(os.getpid(), signal.SIGKILL)


def _watch(calls: _Calls) -> None:
    import httpx

    from engine.delta import ShardedTable
    from engine.labeling.tool import LabelStudioTool
    from stages import steps
    from stages.gates import ExhaustivityRound
    from stages.verification import VerificationRound

    _name_calls(calls, httpx.Client, "send", lambda _, request, **__: f"{request.method} {request.url.path}")
    _name_calls(calls, ShardedTable, "replace", lambda table, *_, **__: f"commit of {Path(table.uri).name}")
    _name_calls(calls, os, "replace", lambda _, target: f"rename to {Path(target).suffix or Path(target).name}")
    _name_steps(calls, LabelStudioTool, "publish", "publish")
    _name_steps(calls, LabelStudioTool, "collect", "collect")
    _name_steps(calls, VerificationRound, "move", "verification")
    _name_steps(calls, ExhaustivityRound, "move", "exhaustivity")
    for step in ("open_round", "annotate", "retrain_round"):
        _name_steps(calls, steps, step, step)


def _name_calls(calls: _Calls, owner: Any, name: str, describe: Callable[..., str]) -> None:
    function = getattr(owner, name)

    def watched(*arguments: Any, **options: Any) -> Any:
        calls.begin(describe(*arguments, **options))
        return function(*arguments, **options)

    setattr(owner, name, watched)


def _name_steps(calls: _Calls, owner: Any, name: str, step: str) -> None:
    function = getattr(owner, name)

    def watched(*arguments: Any, **options: Any) -> Any:
        before, calls.step = calls.step, step
        try:
            return function(*arguments, **options)
        finally:
            calls.step = before

    setattr(owner, name, watched)
