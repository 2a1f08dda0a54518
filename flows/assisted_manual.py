"""The flow of the stage `assisted_manual`."""

from typing import Any

from prefect import flow

from flows.stage_runs import run_until_done


@flow(name="assisted-manual")
def assisted_manual(workspace: str) -> list[dict[str, Any]]:
    """Stage 1: annotators make masks with SAM under the cursor; each round ends with a retraining.

    Goes on where the workspace stands. Raises WaitError where the stage may not start yet.
    """
    return run_until_done(workspace, "assisted_manual")
