"""The parent flow: the three stages in order."""

from typing import Any

from prefect import flow

from flows.assisted_manual import assisted_manual
from flows.fully_automatic import fully_automatic
from flows.semi_automatic import semi_automatic


@flow(name="data-engine")
def data_engine(workspace: str) -> dict[str, list[dict[str, Any]]]:
    """Run all three stages to their end; goes on where the workspace stands."""
    return {
        "assisted_manual": assisted_manual(workspace),
        "semi_automatic": semi_automatic(workspace),
        "fully_automatic": fully_automatic(workspace),
    }
