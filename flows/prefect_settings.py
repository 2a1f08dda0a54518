"""Where Prefect keeps what it knows. Call before the first `import prefect`: it reads its settings once."""

import os
from pathlib import Path

PREFECT_FOLDER = ".prefect"


def prepare_prefect(workspace: Path) -> None:
    """Let Prefect carry flows with nothing to start: its own short-lived server, state under the workspace.

    With PREFECT_API_URL set, runs go to that server instead. Whatever the user set in the environment stays as it is;
    only telemetry is off in any case.
    """
    os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
    os.environ["DO_NOT_TRACK"] = "1"
    # Errors reach the user through the exceptions themselves; Prefect would print each a second time, with a traceback.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    if "PREFECT_API_URL" in os.environ:
        return
    os.environ.setdefault("PREFECT_HOME", str((workspace / PREFECT_FOLDER).resolve()))
    # On a busy machine the server takes far longer than the ten seconds it needs on an idle one.
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
