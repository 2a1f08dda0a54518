"""Images go out to Label Studio: in chunks, most useful first, scaled down for the browser, prefilled masks with them.

It can be stopped anywhere and run again: what is there is not sent twice, and what was sent and lost is sent anew.
"""

import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine.labeling.client import LabelStudioClient
from engine.labeling.folder import LabelingFolder, Scope
from engine.labeling.links import PictureLinks
from engine.labeling.published import Prefilled, PublishedImage
from engine.labeling.records import RoundRecords
from engine.labeling.regions import brush_region, scale_down, shown_hw
from engine.places import place
from schemas.counted import counted
from schemas.errors import InputError, WaitError

JPEG_QUALITY = 92


@dataclass(frozen=True)
class ImageToPublish:
    """pixels: (H, W, 3) uint8 RGB. record: with task 0."""

    pixels: npt.NDArray[np.uint8]
    record: PublishedImage


@dataclass(frozen=True)
class Published:
    """images: new ones. masks: prefilled on them. repaired: images whose masks had to be sent twice."""

    images: int
    masks: int
    repaired: int


class Publisher:
    """Sends the images of one round of a stage or a gate to its project."""

    def __init__(
        self,
        client: LabelStudioClient,
        folder: LabelingFolder,
        records: RoundRecords,
        scope: Scope,
        *,
        project: int,
        links: PictureLinks = PictureLinks(),
    ) -> None:
        self.links = links
        self.client, self.project, self.scope = client, project, scope
        self.folder, self.records = folder, records
        self._there: dict[int, int] = {}  # tasks by image, as `missing` saw them

    def missing(self, image_ids: Sequence[int]) -> list[int]:
        """Images of the round that have no task in the project, no picture, or masks that may not have arrived with it.

        Looks at the project itself. Raises InputError where it is gone.
        """
        there = self._there = self.tasks_by_image()
        arrived = {image_id: image for image_id, image in self.records.published().items() if image.task}
        moved = [
            replace(image, task=there[image_id])
            for image_id, image in arrived.items()
            if image_id in there and image.task != there[image_id]
        ]
        self.records.put_published(moved)
        complete = {image_id for image_id in arrived if image_id in there and self._has_picture(image_id)}
        return [image_id for image_id in image_ids if image_id not in complete]

    def tasks_by_image(self) -> dict[int, int]:
        """The task of each image of this round."""
        found: dict[int, int] = {}
        tasks = self.client.tasks(self.project, whole=False)
        for task in without_doubles(self.client, tasks, lambda task: image_of(task, self.scope)):
            renew_link(self.client, task, self._picture(cast(int, image_of(task, self.scope))), self.links)
            found.setdefault(cast(int, image_of(task, self.scope)), int(task["id"]))
        return found

    def publish(self, images: Iterable[ImageToPublish], *, chunk: int) -> Published:
        """Send images that `missing` named; each is taken when it is its turn. After each chunk all of it is there.

        Raises WaitError if prefilled masks do not arrive even the second time.
        """
        total = Published(0, 0, 0)
        left = iter(images)
        while group := list(islice(left, chunk)):
            repaired = self._publish_chunk(group)
            masks = sum(len(image.record.prefilled) for image in group)
            total = Published(total.images + len(group), total.masks + masks, total.repaired + repaired)
        return total

    def _publish_chunk(self, group: Sequence[ImageToPublish]) -> int:
        known = self.records.published_of([image.record.image_id for image in group])
        # The list of a project is long: it is asked for anew only where one of these images may be on its way there.
        there = self.tasks_by_image() if known else dict(self._there)
        for image in group:
            self._write_picture(image)
        # Written before the import: once a task is there, what its prefilled masks were in full must be known; so what
        # people see already stays as it is.
        seen = [known[image.record.image_id] for image in group if image.record.image_id in known.keys() & there]
        group = [image for image in group if image.record.image_id not in known.keys() & there]
        self.records.put_published([image.record for image in group])
        fresh = [image.record for image in group if image.record.image_id not in there]
        if fresh:
            ids = self.client.import_tasks(self.project, [self.task_body(record) for record in fresh])
            if len(ids) != len(fresh):
                raise WaitError(
                    f"Label Studio took {len(ids)} of {len(fresh)} tasks; run the same command again: it sends the rest"
                )
            there |= {record.image_id: task for record, task in zip(fresh, ids, strict=True)}
        records = [
            replace(record, task=there[record.image_id]) for record in (*seen, *(image.record for image in group))
        ]
        for record in records:
            if record.people > 1:
                self.client.want_people(record.task, record.people)
        repaired = sum(self._repair(record) for record in records if record.prefilled)
        self._show_prefilled(records)
        # Last: an image whose task is known here is not looked at again, so people must see all of it by now.
        self.records.put_published(records)
        return repaired

    def _repair(self, record: PublishedImage) -> bool:
        """Whether the prefilled masks of a task had to be sent again."""
        if self._has_prefilled(record):
            return False
        self.client.add_prediction(record.task, self._prediction(record))
        if self._has_prefilled(record):
            return True
        raise WaitError(
            f"task {record.task} (image {record.image_id}) does not show its "
            f"{counted(len(record.prefilled), 'prefilled mask')}, "
            "sent twice; look at the log of Label Studio and run the same command again"
        )

    def _has_prefilled(self, record: PublishedImage) -> bool:
        wanted = {one.region_id for one in record.prefilled}
        predictions = self.client.task(record.task).get("predictions") or ()
        return any({region.get("id") for region in one.get("result") or ()} == wanted for one in predictions)

    def _show_prefilled(self, records: Sequence[PublishedImage]) -> None:
        """Let annotators start from predictions; the server accepts a version only once predictions of it exist."""
        version = next((self.model_version(record) for record in records if record.prefilled), None)
        if version is not None and self.client.project(self.project).get("model_version") != version:
            self.client.update_project(self.project, model_version=version, show_collab_predictions=True)

    def task_body(self, record: PublishedImage) -> dict[str, Any]:
        """What the import is sent for an image."""
        body: dict[str, Any] = {
            "data": {
                "image": self.links.url(self._picture(record.image_id)),
                "image_id": str(record.image_id),  # text: a browser would round it
                **self.scope.data,
                "width": record.full_hw[1],
                "height": record.full_hw[0],
            }
        }
        if record.prefilled:
            body["predictions"] = [self._prediction(record)]
        return body

    def _prediction(self, record: PublishedImage) -> dict[str, Any]:
        regions = [
            brush_region(
                scale_down(one.mask.rle, record.shown_hw),
                region_id=one.region_id,
                score=_score(one),
                meta={"prefilled": one.region_id},
            )
            for one in record.prefilled
        ]
        best = max(_score(one) or 0.0 for one in record.prefilled)
        return {"result": regions, "score": best, "model_version": self.model_version(record)}

    def model_version(self, record: PublishedImage) -> str:
        """The name under which Label Studio shows the prefilled masks of a round."""
        return f"{self.scope.stage} round {self.scope.round}, model {record.model_id}"

    def _picture(self, image_id: int) -> str:
        return f"{self.scope.path}/{image_id}.jpg"

    def _has_picture(self, image_id: int) -> bool:
        return place(self.folder.images / self._picture(image_id)).exists()

    def _write_picture(self, image: ImageToPublish) -> None:
        height, width = image.record.shown_hw
        shown = Image.fromarray(image.pixels)
        if shown.size != (width, height):
            shown = shown.resize((width, height), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        shown.save(buffer, "JPEG", quality=JPEG_QUALITY)
        place(self.folder.images / self._picture(image.record.image_id)).write(buffer.getvalue())


def renew_link(client: LabelStudioClient, task: Mapping[str, Any], path: str, links: PictureLinks) -> None:
    """Put a new address of its picture into a task where the one that it has is of another kind or expires soon."""
    if not links.is_good(task["data"].get("image")):
        client.put_data(int(task["id"]), {**task["data"], "image": links.url(path)})


def _score(prefilled: Prefilled) -> float | None:
    """None for a mask that a person made: JSON has no NaN."""
    score = float(prefilled.mask.predicted_iou)
    return None if math.isnan(score) else score


def without_doubles(
    client: LabelStudioClient, tasks: Iterable[dict[str, Any]], subject_of: Callable[[dict[str, Any]], object | None]
) -> list[dict[str, Any]]:
    """The tasks that have a subject; first of each subject the one that people worked on, else the oldest.

    What a killed process had sent may arrive only after the next one has looked. Of a subject that is there twice the
    tasks that nobody worked on are deleted, but for one; what people did stays.
    """
    kept: list[dict[str, Any]] = []
    seen: set[object] = set()
    for task in sorted(tasks, key=lambda task: (not _worked_on(task), int(task["id"]))):
        subject = subject_of(task)
        if subject is None:
            continue
        if subject in seen and not _worked_on(task):
            client.delete_task(int(task["id"]))
            continue
        seen.add(subject)
        kept.append(task)
    return kept


def _worked_on(task: Mapping[str, Any]) -> bool:
    return bool(task.get("total_annotations") or task.get("cancelled_annotations"))


def image_of(task: Mapping[str, Any], scope: Scope) -> int | None:
    """The image that a task is about; None for a task of another round, or one that somebody made by hand."""
    text = str((task.get("data") or {}).get("image_id", ""))
    return int(text) if scope.holds(task) and text.isdecimal() else None


def to_publish(pixels: npt.NDArray[np.uint8], record: PublishedImage, *, longest_side_px: int) -> ImageToPublish:
    """An image with its size in the browser filled in. Raises InputError if the pixels are not of the image's size."""
    if pixels.shape[:2] != record.full_hw:
        raise InputError(
            f"image {record.image_id}: {pixels.shape[1]}x{pixels.shape[0]} px, and the workspace says "
            f"{record.full_hw[1]}x{record.full_hw[0]}; its file was changed, put the old one back"
        )
    return ImageToPublish(pixels, replace(record, shown_hw=shown_hw(record.full_hw, longest_side_px=longest_side_px)))
