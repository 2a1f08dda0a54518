"""What the engine tells Prefect's server of a workspace, so that automations can start the next piece of work."""

from typing import Any

from engine.keys import content_key
from engine.workspace import Workspace

ROUND_COMPLETE = "sam-engine.round.complete"  # annotators are done with a round
MODEL_REGISTERED = "sam-engine.model.registered"  # a round's retraining has made a model
STAGE_FINISHED = "sam-engine.stage.finished"
STAGE_LABEL = "sam-engine.stage"  # of the resource: what an automation can match


def resource_of(workspace: Workspace) -> str:
    """The id by which events and triggers call a workspace."""
    return f"sam-engine.workspace.{content_key(workspace.full_name)}"


def tell(workspace: Workspace, event: str, *, stage: str, **payload: Any) -> None:
    """Send an event to the server that is named by PREFECT_API_URL; without one there is nobody to hear it."""
    from prefect.events import emit_event
    from prefect.settings import PREFECT_API_URL

    if PREFECT_API_URL.value() is None:
        return
    resource = {
        "prefect.resource.id": resource_of(workspace),
        "prefect.resource.name": workspace.name,
        STAGE_LABEL: stage,
    }
    emit_event(event, resource=resource, payload={"workspace": workspace.full_name, "stage": stage, **payload})
