"""The flow of the stage `fully_automatic`."""

from typing import Any

from prefect import flow

from flows.stage_runs import run_until_done


@flow(name="fully-automatic")
def fully_automatic(workspace: str) -> list[dict[str, Any]]:
    """Stage 3: the generator makes the masks of all images; then the model is retrained on all masks.

    Goes on where the workspace stands. Raises WaitError where the stage may not start yet.
    """
    return run_until_done(workspace, "fully_automatic")
