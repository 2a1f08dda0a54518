"""How runs tell how far they are: to Prefect's page and log, to the record in the workspace, to Prometheus."""

import math
import time
from contextlib import suppress
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

from flows.artifacts import artifact_key, may_fail
from flows.metrics import with_metrics
from flows.run_records import also_told, innermost_record
from stages.progress import Progress

_EVERY_S = 5.0


def told_everywhere(progress: Progress, workspace: str) -> Progress:
    """Tells `progress` all, and the run's places now and then. workspace: its name, for Prefect's page."""
    places = _Places(workspace)
    if (record := innermost_record()) is not None:
        progress = also_told(progress, record)

    def tell(what: str, done: int, total: int, note: str = "") -> None:
        progress(what, done, total, note)
        places(what, done, total, note)

    return with_metrics(tell)


def log_line(line: str) -> None:
    """A line in the log of the run."""
    with suppress(MissingContextError):  # outside a flow
        get_run_logger().info("%s", line)


class _Places:
    """The log and an artifact that moves; when something begins, ends, and every few seconds in between."""

    def __init__(self, workspace: str) -> None:
        self._workspace = workspace
        self._last: dict[str, float] = {}
        self._artifacts: dict[str, UUID] = {}

    def __call__(self, what: str, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        if done < total and now - self._last.get(what, -math.inf) < _EVERY_S:
            return
        self._last[what] = now
        try:
            get_run_logger().info("%s: %d of %d%s", what, done, total, f", {note}" if note else "")
        except MissingContextError:  # outside a flow
            return
        self._move(what, 100.0 * done / total if total else 100.0, f"{what}, {note}" if note else what)

    def _move(self, what: str, percent: float, description: str) -> None:
        with may_fail():
            if what in self._artifacts:
                update_progress_artifact(self._artifacts[what], progress=percent, description=description)
            else:
                key = artifact_key(self._workspace, what)
                self._artifacts[what] = create_progress_artifact(percent, key=key, description=description)
