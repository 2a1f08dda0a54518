"""A slot of a limit that Prefect's server keeps, such as one a GPU, for as long as a long step works."""

from collections.abc import Iterator
from contextlib import contextmanager

from engine.workspace import Workspace
from schemas.errors import InputError

_LEASE_S = 120.0  # of a holder that was killed the slot is free again after so long; one that lives renews it


@contextmanager
def slot(workspace: Workspace) -> Iterator[None]:
    """Wait for a slot of `flow.concurrency_limit` and hold it; where none is named nothing is waited for.

    Raises InputError where the server has no such limit.
    """
    name = workspace.settings().flow.concurrency_limit
    if name is None:
        yield
        return
    from prefect.client.orchestration import get_client
    from prefect.concurrency.sync import concurrency
    from prefect.exceptions import ObjectNotFound

    try:
        with get_client(sync_client=True) as client:
            client.read_global_concurrency_limit_by_name(name)
    except ObjectNotFound as error:
        raise InputError(
            f"{workspace.config}: flow.concurrency_limit: Prefect's server has no limit {name!r}; make it with: "
            f"prefect gcl create {name} --limit 1"
        ) from error
    with concurrency(name, occupy=1, strict=False, lease_duration=_LEASE_S):
        yield
