"""Where Prefect keeps what it knows. Call before the first `import prefect`: it reads its settings once."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

PREFECT_FOLDER = ".prefect"
_SERVER = b"prefect.server.api.server:create_app"


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
    for process_id in orphaned_servers(Path(os.environ["PREFECT_HOME"])):
        os.kill(process_id, signal.SIGTERM)


def orphaned_servers(home: Path) -> Iterator[int]:
    """Process ids of short-lived servers with this PREFECT_HOME whose flow was killed; they would never end.

    Finds none on systems without /proc.
    """
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if _SERVER not in (process / "cmdline").read_bytes():
                continue
            settings = (process / "environ").read_bytes().split(b"\0")
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            adopted = parent == "1" or b"python" not in (process.parent / parent / "cmdline").read_bytes()
        except OSError:  # it has ended, or it is another user's
            continue
        if f"PREFECT_HOME={home}".encode() in settings and adopted:
            yield int(process.name)
