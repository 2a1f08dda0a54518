"""Where Prefect keeps what it knows. Call before the first `import prefect`: it reads its settings once."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import WaitError

PREFECT_FOLDER = ".prefect"
# With leases in the server's memory, Prefect's default, a restart of the server ends every run that holds one.
LEASES_ON_DISK = "prefect.server.concurrency.lease_storage.filesystem"
# A busy SQLite is locked now and then, which the server answers with 500: worth asking again.
OF_CLIENTS = {"PREFECT_CLIENT_RETRY_EXTRA_CODES": "500"}


def prepare_prefect(workspace: Path) -> None:
    """Let Prefect carry flows with nothing to start: its own short-lived server, state under the workspace.

    With PREFECT_API_URL set, runs go to that server instead. Whatever the user set in the environment stays as it is;
    only telemetry is off in any case.
    """
    prepare_prefect_server()
    # Errors reach the user through the exceptions themselves; Prefect would print each a second time, with a traceback.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    if "PREFECT_API_URL" in os.environ:
        return
    os.environ.setdefault("PREFECT_HOME", str((workspace / PREFECT_FOLDER).resolve()))
    # On a busy machine the server takes far longer than the ten seconds it needs on an idle one.
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")


def prepare_prefect_server() -> None:
    """What holds for every server and client that is started here: no telemetry, leases that survive a restart."""
    os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
    os.environ["DO_NOT_TRACK"] = "1"
    os.environ.setdefault("PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE", LEASES_ON_DISK)
    for name, value in OF_CLIENTS.items():
        os.environ.setdefault(name, value)


@contextmanager
def server_errors() -> Iterator[None]:
    """Raises WaitError, one line, where the server that PREFECT_API_URL names does not answer as it should."""
    import httpx
    from prefect.exceptions import PrefectException

    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        url, told = os.environ.get("PREFECT_API_URL"), " ".join(str(error).split()) or type(error).__name__
        raise WaitError(f"{url}: Prefect's server does not answer as it should ({told}); is it running?") from error
