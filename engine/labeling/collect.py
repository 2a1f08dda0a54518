"""What people did comes back from Label Studio. Polling is the truth; a webhook only says that it is worth looking.

Whatever was fetched is kept as it came, one file an image, and read anew each time: a task that comes twice, late or
out of order changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.labeling.annotations import CollectedImage, read_task
from engine.labeling.client import LabelStudioClient
from engine.labeling.folder import RoundFolder, Scope
from engine.labeling.publish import image_of
from engine.labeling.published import PublishedImage

_KEPT = ("id", "data", "annotations", "updated_at", "total_annotations", "cancelled_annotations")


@dataclass(frozen=True)
class CollectedRound:
    """images: all of the round that are published, done or not."""

    images: tuple[CollectedImage, ...]

    @property
    def done(self) -> int:
        return sum(image.done for image in self.images)

    @property
    def problems(self) -> list[str]:
        return [problem for image in self.images for problem in image.problems]


def fetch(
    client: LabelStudioClient, state: RoundFolder, scope: Scope, *, project: int, everything: bool = False
) -> int:
    """Keep the tasks of a round that changed since the last time; gives back how many had changed.

    everything: look at all tasks, for the last time before a round is closed: the server does not say of every change,
    such as a deleted annotation, when it was. The cursor moves only once all that was fetched is kept.
    """
    changed, latest = 0, state.cursor()
    for task in client.tasks(project, updated_since="" if everything else latest):
        image_id = image_of(task, scope)
        if image_id is None:
            continue
        kept = {key: task.get(key) for key in _KEPT}
        if not _is_stale(state, image_id, kept) and state.collected(image_id) != kept:
            state.put_collected(image_id, kept)
            changed += 1
        latest = max(latest, str(task.get("updated_at") or ""))
    state.put_cursor(latest)
    return changed


def read_round(state: RoundFolder, image_ids: Sequence[int]) -> CollectedRound:
    """What people made of the images of a round, from what was fetched; images that were not published are left out."""
    images = []
    for image_id in image_ids:
        record = state.published(image_id)
        if record is not None:
            task = state.collected(image_id) or {}
            images.append(read_task(task, PublishedImage.from_json(record)))
    return CollectedRound(tuple(images))


def _is_stale(state: RoundFolder, image_id: int, task: dict[str, Any]) -> bool:
    """Whether what is kept is newer, or of another task of the same image that people worked on."""
    kept = state.collected(image_id)
    if kept is None:
        return False
    if kept["id"] != task["id"]:
        return bool(kept["annotations"]) and not task["annotations"]
    return str(kept["updated_at"] or "") > str(task["updated_at"] or "")
