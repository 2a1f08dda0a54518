"""The janitor: closes runs that are dead, lets those go on that were answered, sweeps what killed writers left."""

from dataclasses import asdict
from typing import Any

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from engine.migrations import refuse_newer
from engine.workspace import Workspace
from flows.asking import resume_answered
from flows.engine_flows import engine_flow
from flows.run_records import forget_dead
from flows.zombies import Closed, close_zombies, skip_backlog
from stages.approvals import all_given

GRACE_S = 240.0  # with a look every five minutes nothing dead is left after ten
ABANDONED_S = 600.0


@engine_flow("janitor")
def janitor(workspace: str, grace_s: float = GRACE_S, restart: bool = True) -> dict[str, Any]:
    """Close the runs of the workspace whose processes are gone, and sweep what killed writers left.

    grace_s: so long a run may have no process yet. restart: let closed runs of deployments start again.
    """
    return clean(Workspace(workspace), grace_s=grace_s, restart=restart, with_prefect=True)


def clean(
    workspace: Workspace,
    *,
    grace_s: float = GRACE_S,
    restart: bool = True,
    abandoned_s: float = ABANDONED_S,
    with_prefect: bool,
) -> dict[str, Any]:
    """What the janitor does. abandoned_s: since the last write to what a writer left whose process is gone.

    Returns the runs that were closed, how many suspended ones go on, how many late ones were skipped since a later
    one does the same, how many records of dead processes there were, and what was swept.
    Raises InputError where a newer version made the workspace.
    """
    refuse_newer(workspace)
    closed: list[Closed] = []
    resumed = skipped = 0
    if with_prefect:
        with get_client(sync_client=True) as client:
            closed = close_zombies(client, workspace, grace_s=grace_s, restart=restart, myself=str(flow_run.id or ""))
            skipped = skip_backlog(client, workspace)
        resumed = sum(resume_answered(workspace, given, by=given.by, note=given.note) for given in all_given(workspace))
    return {
        "closed": [asdict(run) for run in closed],
        "resumed": resumed,
        "skipped": skipped,
        "records": forget_dead(workspace),
        "swept": workspace.remove_abandoned(older_than_s=abandoned_s),
    }
