"""The parent flow: the three stages in order."""

from typing import Any

from prefect import flow

from flows.assisted_manual import assisted_manual
from flows.fully_automatic import fully_automatic
from flows.semi_automatic import semi_automatic


@flow(name="data-engine")
def data_engine(workspace: str) -> dict[str, list[dict[str, Any]]]:
    """Run all three stages to their end, or until people have to work; goes on where the workspace stands."""
    ticks: dict[str, list[dict[str, Any]]] = {}
    for stage in (assisted_manual, semi_automatic, fully_automatic):
        name = stage.fn.__name__
        ticks[name] = stage(workspace)
        if ticks[name][-1]["state"] == "waiting":
            break
    return ticks
