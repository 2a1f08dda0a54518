"""People in front of Label Studio, played by a script: what they do follows from what they see, not from when."""

from typing import Any

from engine.labeling.client import LabelStudioClient
from engine.store import Store
from tests.labelstudio.engine_workspace import drawn


def open_tasks(client: LabelStudioClient, project: int) -> list[dict[str, Any]]:
    """Those that nobody has submitted or skipped."""
    return [task for task in client.tasks(project) if not task["annotations"]]


def annotate_all(client: LabelStudioClient, project: int, store: Store) -> None:
    """Masks that are shown are kept as they are; where there are none two objects are drawn."""
    for task in open_tasks(client, project):
        shown = [region for prediction in task["predictions"] for region in prediction["result"]]
        regions = shown or [drawn(store, task, number) for number in (0, 1)]
        client.annotate(task["id"], regions, lead_time_s=30.0)


def answer_all(client: LabelStudioClient, project: int, answers: dict[int, str], *, key: str) -> None:
    """answers: by what the task asks about, whose id stands in its data under `key`."""
    for task in open_tasks(client, project):
        choices = {"choices": [answers[int(task["data"][key])]]}
        region = {"id": "c", "type": "choices", "from_name": "verdict", "to_name": "image", "value": choices}
        client.annotate(task["id"], [region], lead_time_s=5.0)
