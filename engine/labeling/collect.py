"""What people did comes back from Label Studio. Polling is the truth; a webhook only says that it is worth looking.

Whatever was fetched is kept as it came, but for anybody's name, and read anew each time: a task that comes twice, late
or out of order changes nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from engine.labeling.annotations import CollectedImage, read_task
from engine.labeling.client import LabelStudioClient
from engine.labeling.folder import Scope
from engine.labeling.publish import image_of
from engine.labeling.published import PublishedImage
from engine.labeling.records import RoundRecords
from schemas.counted import counted

_KEPT = ("id", "data", "annotations", "updated_at", "total_annotations", "cancelled_annotations")
_KEPT_OF_ANNOTATION = ("id", "result", "was_cancelled", "lead_time", "completed_by", "created_at", "updated_at")
_KEPT_TOGETHER = 100  # tasks in one commit
_CLOCKS_DIFFER = timedelta(minutes=5)  # of the server and of this machine
_TOLD_EVERY = 100  # tasks: one page of the server's list, about a second


@dataclass(frozen=True)
class CollectedRound:
    """images: all of the round that are published, done or not."""

    images: tuple[CollectedImage, ...]

    @property
    def done(self) -> int:
        """Images that as many people as were asked have annotated or skipped."""
        return sum(image.done and not image.missing_people for image in self.images)

    @property
    def waiting(self) -> int:
        """Images that somebody has done, and that somebody else is to do as well."""
        return sum(image.done and image.missing_people > 0 for image in self.images)

    @property
    def superseded(self) -> int:
        """Annotations that do not count, since another one of their image does."""
        return sum(len(image.others) for image in self.images)

    @property
    def problems(self) -> list[str]:
        read = [one for image in self.images for one in (image, *image.others)]
        return [problem for one in read for problem in one.problems]


def fetch(
    client: LabelStudioClient,
    records: RoundRecords,
    scope: Scope,
    *,
    project: int,
    everything: bool = False,
    tell: Callable[[int], None] = lambda looked_at: None,
    problem: Callable[[str], None] = lambda line: None,
) -> int:
    """Keep the tasks of a round that changed since the last time; gives back how many had changed.

    everything: look at all tasks, for the last time before a round is closed: the server does not say of every change,
    such as a deleted annotation, when it was. The time that later calls start from moves with the last commit alone:
    the server lists tasks in no order of time. Where that time is still to come, a clock was set back, and all tasks
    are looked at too. tell: how many tasks are looked at, now and then. problem: a line on a task that is of no use.
    """
    known, seen_until = records.collected(), records.seen_until()
    everything = everything or _is_to_come(seen_until)
    fresh: dict[int, dict[str, Any]] = {}
    changed, looked_at, latest = 0, 0, seen_until
    for task in client.tasks(project, updated_since="" if everything else seen_until):
        image_id = image_of(task, scope)
        if image_id is None:
            continue
        looked_at += 1
        if looked_at % _TOLD_EVERY == 0:
            tell(looked_at)
        latest = max(latest, str(task.get("updated_at") or ""))
        if not records.has_image(image_id):
            problem(_of_no_image(task, image_id))
            continue
        kept = kept_of_task(task)
        if _is_stale(known.get(image_id), kept) or known.get(image_id) == kept:
            continue
        if len(fresh) == _KEPT_TOGETHER:
            records.put_collected(fresh, seen_until=seen_until)
            fresh = {}
        known[image_id] = fresh[image_id] = kept
        changed += 1
    records.put_collected(fresh, seen_until=latest)
    return changed


def kept_of_task(task: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a task as the API gives it: of people the number of their account, never a name or an address."""
    kept = {key: task.get(key) for key in _KEPT}
    annotations = [
        {key: each[key] for key in _KEPT_OF_ANNOTATION if key in each} for each in task.get("annotations") or ()
    ]
    for annotation in annotations:
        if isinstance(account := annotation.get("completed_by"), dict):
            annotation["completed_by"] = account.get("id")
    return kept | {"annotations": annotations}


def read_round(
    published: Mapping[int, PublishedImage], collected: Mapping[int, dict[str, Any]], image_ids: Sequence[int]
) -> CollectedRound:
    """What people made of the images of a round, from what was fetched; images that were not published are left out."""
    return CollectedRound(
        tuple(
            read_task(collected.get(image_id) or {}, published[image_id])
            for image_id in image_ids
            if image_id in published
        )
    )


def _of_no_image(task: dict[str, Any], image_id: int) -> str:
    count = len(task.get("annotations") or ())
    return (
        f"task {task['id']} is of image {image_id}, which the workspace does not have; its "
        f"{counted(count, 'annotation')} {'stays' if count == 1 else 'stay'} in "
        "Label Studio: ingest the picture again and they are read, or delete the task"
    )


def _is_to_come(time: str) -> bool:
    return bool(time) and datetime.fromisoformat(time) > datetime.now(UTC) + _CLOCKS_DIFFER


def _is_stale(kept: dict[str, Any] | None, task: dict[str, Any]) -> bool:
    """Whether what is kept is newer, or of another task of the same image that people worked on."""
    if kept is None:
        return False
    if kept["id"] != task["id"]:
        return bool(kept["annotations"]) and not task["annotations"]
    known = {annotation["id"] for annotation in kept["annotations"]}
    if any(annotation["id"] not in known for annotation in task["annotations"]):
        return False  # somebody's work, whatever the clock said when they submitted it
    return str(kept["updated_at"] or "") > str(task["updated_at"] or "")
