"""Asking a person in Prefect's page: the run is suspended, with no process, until it is resumed with an answer."""

import time
from collections.abc import Iterator
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import deployment

from engine.keys import content_key
from engine.workspace import Workspace
from flows.zombies import is_about, runs_of_processes
from schemas.errors import WaitError
from stages.approvals import Approval, Approved, approve, missing

_TO_END_S = 120.0
_LOOK_EVERY_S = 0.5


class Answer(RunInput):
    """What Prefect's page asks for when the run is resumed."""

    approved: bool
    by: str = ""
    note: str = ""


def ask_for(workspace: Workspace, wanted: Approval, message: str) -> None:
    """Suspend this run until a person answers in Prefect's page; then keep the answer in the workspace.

    Only a run of a deployment can be suspended: without one, and where another run asks the same already, nothing
    happens, and the caller waits as it does for anything else. Raises WaitError where the answer is no.
    """
    if not deployment.id or missing(workspace, wanted) is None or any(_asking(workspace, wanted)):
        return
    question = Answer.with_initial_data(description=f"Approve? {message}", approved=True, by="", note="")
    answer = suspend_flow_run(wait_for_input=question, key=key_of(wanted))
    if not answer.approved:
        raise WaitError(f"{wanted.what} was not approved{_of(answer)}; {message}")
    approve(workspace, wanted, by=answer.by or "Prefect's page", note=answer.note)


def key_of(wanted: Approval | Approved) -> str:
    """Names the question in the state of a suspended run: small letters, digits and hyphens, as Prefect wants them."""
    return f"approve-{wanted.what.replace('_', '-')}-{content_key(wanted.subject)}"


def resume_answered(workspace: Workspace, wanted: Approval | Approved, *, by: str, note: str) -> int:
    """Let the runs go on that ask for what was approved elsewhere. Returns how many."""
    resumed = 0
    with get_client(sync_client=True) as client:
        for run in _asking(workspace, wanted):
            _wait_for_its_process(str(run.id))
            client.resume_flow_run(run.id, run_input={"approved": True, "by": by, "note": note})
            resumed += 1
    return resumed


def _wait_for_its_process(run_id: str) -> None:
    """That which suspended a run takes seconds to end; a worker that is to start another for the run before, dies."""
    end = time.monotonic() + _TO_END_S
    while run_id in runs_of_processes() and time.monotonic() < end:
        time.sleep(_LOOK_EVERY_S)


def _asking(workspace: Workspace, wanted: Approval | Approved) -> Iterator[FlowRun]:
    """Suspended runs that ask for the same."""
    paused = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED])))
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=paused):
            if run.state.state_details.pause_key == key_of(wanted) and is_about(run, workspace):
                yield run


def _of(answer: Any) -> str:
    return (f" by {answer.by}" if answer.by else "") + (f": {answer.note}" if answer.note else "")
