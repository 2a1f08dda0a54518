"""The flow of the stage `semi_automatic`."""

from typing import Any

from prefect import flow

from flows.stage_runs import run_until_done


@flow(name="semi-automatic")
def semi_automatic(workspace: str) -> list[dict[str, Any]]:
    """Stage 2: annotators mend and complete confident masks; each round ends with a retraining.

    Goes on where the workspace stands. Raises WaitError where the stage may not start yet.
    """
    return run_until_done(workspace, "semi_automatic")
