"""Runs that Prefect takes for alive and that are not: told by the records in the workspace and the process table.

A run is left alone wherever it may be alive: what is not known to be dead is not touched.
"""

import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

import psutil
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Cancelled, Crashed, Scheduled

from engine.places import LocalPlace
from engine.workspace import Workspace
from flows.run_records import RunRecord, records
from schemas.errors import InputError

_AT_WORK = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
_PAGE = 200
_MOST_STARTS = 20  # a run that takes its process down each time is left as crashed at last
_RUN_ID = "PREFECT__FLOW_RUN_ID"

Ending = Literal["crashed", "cancelled", "restarted"]


@dataclass(frozen=True)
class Closed:
    """A run that was taken for alive: what became of it, and why it is known to be dead."""

    flow_run: str
    name: str
    ending: Ending
    reason: str


def close_zombies(
    client: SyncPrefectClient, workspace: Workspace, *, grace_s: float, restart: bool, myself: str
) -> list[Closed]:
    """Close the dead runs of a workspace, which frees their slots.

    grace_s: so long a run may have no process yet. restart: let runs of deployments start again, they go on where the
    workspace stands. myself: id of the run that looks, which is alive.
    """
    known = {record.flow_run: (record, alive) for record, alive in records(workspace) if record.flow_run}
    on_disk = isinstance(workspace.root, LocalPlace)
    started = runs_of_processes()
    closed = []
    for run in _runs_of(client, workspace, _AT_WORK):
        if str(run.id) == myself:
            continue
        reason = _reason(run, known.get(str(run.id)), started, on_disk=on_disk, grace_s=grace_s)
        if reason is not None:
            closed.append(_close(client, run, reason, restart=restart))
    return closed


def skip_backlog(client: SyncPrefectClient, workspace: Workspace) -> int:
    """Of runs that pile up while no worker is there, or while one takes long, leave the last of each deployment.

    Each would go on where the workspace stands, so one does what all of them would. Returns how many were skipped.
    """
    due = _runs_of(client, workspace, [StateType.SCHEDULED])
    late = superseded(due, now=datetime.now(UTC))
    for run in late:
        client.set_flow_run_state(run.id, Cancelled(name="Skipped", message="a later run does the same"), force=True)
    return len(late)


def superseded(runs: Sequence[FlowRun], *, now: datetime) -> list[FlowRun]:
    """Runs that a time or an event made, whose time has come, and behind which another of their deployment waits."""
    last: dict[UUID, FlowRun] = {}
    late = []
    for run in sorted(runs, key=lambda run: (run.expected_start_time or now, str(run.id))):
        by_itself = run.auto_scheduled or (run.created_by is not None and run.created_by.type == "AUTOMATION")
        if not by_itself or run.deployment_id is None or run.run_count or (run.expected_start_time or now) > now:
            continue
        if run.deployment_id in last:
            late.append(last[run.deployment_id])
        last[run.deployment_id] = run
    return late


def _reason(
    run: FlowRun, known: tuple[RunRecord, bool] | None, started: set[str], *, on_disk: bool, grace_s: float
) -> str | None:
    """Why a run is dead; None where it lives, or nobody can say."""
    here = socket.gethostname()
    if str(run.id) in started:
        return None
    # What is known of a run that goes on after a death, or an approval, is of its process before.
    if not (_type_of(run) == StateType.PENDING and run.run_count):
        if known is not None:
            return _reason_of_record(*known, grace_s=grace_s)
        host, _, pid = (run.infrastructure_pid or "").rpartition(":")
        if host not in ("", here):
            return None
        if pid.isdigit() and host == here:
            return None if psutil.pid_exists(int(pid)) else f"process {pid} is gone"
    if _age_s(run) < grace_s:
        return None
    if _type_of(run) == StateType.PENDING:
        return "no process took it up"
    return "it left no record of a process" if on_disk else None


def _reason_of_record(record: RunRecord, alive: bool, *, grace_s: float) -> str | None:
    if alive or record.host != socket.gethostname():
        return None
    if record.ended is None:
        return f"process {record.pid} is gone"
    # It is given the time to tell Prefect, which may not answer just now.
    return "its work had ended" if time.time() - record.ended > grace_s else None


def _close(client: SyncPrefectClient, run: FlowRun, reason: str, *, restart: bool) -> Closed:
    message = f"closed by the janitor: {reason}"
    if _type_of(run) == StateType.CANCELLING:
        client.set_flow_run_state(run.id, Cancelled(message=message), force=True)
        return Closed(str(run.id), run.name, "cancelled", reason)
    client.set_flow_run_state(run.id, Crashed(message=message), force=True)
    if not (restart and run.deployment_id and run.run_count < _MOST_STARTS):
        return Closed(str(run.id), run.name, "crashed", reason)
    again = Scheduled(name="AwaitingRetry", message=f"{message}; it goes on in another")
    client.set_flow_run_state(run.id, again, force=True)
    return Closed(str(run.id), run.name, "restarted", reason)


def _runs_of(client: SyncPrefectClient, workspace: Workspace, types: list[StateType]) -> list[FlowRun]:
    """All runs of a workspace in states of these types."""
    of_types = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=types)))
    found: list[FlowRun] = []
    while True:
        page = client.read_flow_runs(flow_run_filter=of_types, sort=FlowRunSort.ID_DESC, limit=_PAGE, offset=len(found))
        found += page
        if len(page) < _PAGE:
            return [run for run in found if is_about(run, workspace)]


def is_about(run: FlowRun, workspace: Workspace) -> bool:
    """Whether a run is of this workspace, however its parameter calls it."""
    named = run.parameters.get("workspace")
    try:
        return isinstance(named, str) and Workspace(named).full_name == workspace.full_name
    except InputError:  # an address that nothing here can open
        return False


def runs_of_processes() -> set[str]:
    """Ids of the runs for which a process of this machine was started."""
    return set(_ids())


def _ids() -> Iterator[str]:
    for process in psutil.process_iter():
        try:
            named = process.environ().get(_RUN_ID)
        except (psutil.Error, OSError):  # it has ended, or it is another user's
            continue
        if named:
            yield named


def _type_of(run: FlowRun) -> StateType | None:
    return run.state.type if run.state else None


def _age_s(run: FlowRun) -> float:
    since = run.state.timestamp if run.state else run.created
    return (datetime.now(UTC) - since).total_seconds() if since else 0.0
