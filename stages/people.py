"""People in Label Studio as annotators: a tick publishes what is missing and collects what is done, then stops.

A later tick goes on; nothing has to stay alive while people annotate for days.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from engine.keys import content_key
from engine.labeling.annotations import CollectedImage, CollectedMask
from engine.labeling.client import LabelStudioClient
from engine.labeling.collect import CollectedRound, fetch, read_round
from engine.labeling.folder import LabelingFolder, Scope
from engine.labeling.publish import ImageToPublish, Publisher, to_publish
from engine.labeling.published import MAX_PREFILLED, Prefilled, PublishedImage, prefilled_of
from engine.labeling.records import RoundRecords
from engine.labeling.setup import known_project
from engine.labeling.usefulness import usefulness
from engine.quality.returned import ReturnedImage, masks_shown_again, returned_images, waiting
from engine.store import Store
from schemas.config import EngineConfig
from schemas.errors import WaitError
from schemas.tables import Round
from stages.annotators import Event, EventKind, ImageWork
from stages.assisted_manual import AssistedManualWorker
from stages.gates import as_prefilled
from stages.progress import Progress
from stages.records import ShardRows, Where, add_annotations
from stages.semi_automatic import SemiAutomaticWorker

_RANKED_TOGETHER = 8  # chunks: so many images are looked at before the most useful of them go out


@dataclass(frozen=True)
class PeopleAtWork:
    """How far people are with a round. url: where they work. message: for operators."""

    finished: bool
    url: str
    message: str


class PeopleRound:
    """One open round of a stage, in the hands of people."""

    def __init__(self, store: Store, config: EngineConfig, record: Round, progress: Progress) -> None:
        self.store, self.config, self.record, self.progress = store, config, record, progress
        self.folder = LabelingFolder(store.workspace)
        self.scope = Scope(record.stage, record.stage, record.round)
        self.records = RoundRecords(store, self.scope)

    @cached_property
    def client(self) -> LabelStudioClient:
        return LabelStudioClient(self.folder.credentials(self.config.labeling.url))

    @cached_property
    def project(self) -> int:
        """Raises WaitError where there is none yet."""
        found = known_project(self.client, self.folder, self.record.stage, self.store.files.name)
        if found is None:
            raise WaitError(
                f"Label Studio at {self.client.url} has no project for {self.record.stage}; run: sam-engine labeling "
                f"setup {self.store.files}"
            )
        return found

    def move(self, worker: "PeopleWorker") -> PeopleAtWork:
        """Publish what is missing, collect what is done, and say how far it is.

        worker: gives images and prefilled masks. Raises WaitError where Label Studio does not answer, InputError where
        somebody has to mend something.
        """
        self._publish(worker)
        fetch(self.client, self.records, self.scope, project=self.project)
        if self._enough(self.collected()):
            # Not every change has a time: before it counts, all is looked at once more.
            fetch(self.client, self.records, self.scope, project=self.project, everything=True)
        return self._at_work(self.collected())

    def collected(self) -> CollectedRound:
        return read_round(self.records.published(), self.records.collected(), self.record.image_ids)

    def _publish(self, worker: "PeopleWorker") -> None:
        publisher = Publisher(self.client, self.folder, self.records, self.scope, project=self.project)
        missing = publisher.missing(self.record.image_ids)
        total, chunk = len(self.record.image_ids), self.config.labeling.images_per_chunk
        done = total - len(missing)
        for group in _groups(missing, chunk * _RANKED_TOGETHER):
            for image_ids in _groups(worker.most_useful_first(group), chunk):
                self.progress(f"{self.record.stage} round {self.record.round}: publish", done, total)
                publisher.publish(worker.to_publish(image_ids), chunk=chunk)
                done += len(image_ids)
        if missing:
            self.progress(f"{self.record.stage} round {self.record.round}: publish", done, total)

    def _enough(self, found: CollectedRound) -> bool:
        return found.done >= math.ceil(self.config.labeling.done_frac * len(self.record.image_ids))

    def _at_work(self, found: CollectedRound) -> PeopleAtWork:
        url = f"{self.client.url}/projects/{self.project}/data"
        total, masks = len(self.record.image_ids), sum(len(image.masks) for image in found.images)
        message = f"{found.done} of {total} images are annotated or skipped, {masks} masks; annotators work at {url}"
        if found.problems:
            message += f"; {len(found.problems)} to be looked at, the first: {found.problems[0]}"
        return PeopleAtWork(self._enough(found), url, message)


class PeopleWorker(AssistedManualWorker):
    """Makes the rows of a round that people have finished; before that, gives what they are shown."""

    @cached_property
    def at_work(self) -> PeopleRound:
        return PeopleRound(self.store, self.config, self.record, self.progress)

    def settings(self, shard: str) -> Sequence[object]:
        """What was published and collected is all that the rows follow from."""
        shown = {image_id: image.to_json() for image_id, image in self.at_work.records.published(shard).items()}
        collected = self.at_work.records.collected(shard)
        return (content_key([(shown.get(each), collected.get(each)) for each in self.images_by_shard[shard]]),)

    def make_rows(self, shard: str, image_ids: Sequence[int]) -> ShardRows:
        rows = ShardRows()
        records = self.at_work.records
        published = records.published(shard)
        for image in read_round(published, records.collected(shard), image_ids).images:
            shown = published[image.image_id]
            rows.generation += shown.generation
            if image.done:
                where = Where(image.image_id, shard, self.stage, self.round, shown.model_id)
                add_annotations(rows, as_work(image), where, annotator=image.annotator)
        return rows

    @property
    def _max_prefilled(self) -> int:
        return self.config.semi_automatic.max_prefilled_masks

    @cached_property
    def _returned(self) -> dict[int, ReturnedImage]:
        """Images that a gate of quality sent back, which come with the masks that they had."""
        earlier = [record for record in self.store.rounds() if record != self.record]
        return {image.image_id: image for image in waiting(returned_images(self.store), earlier)}

    def most_useful_first(self, image_ids: Sequence[int]) -> list[int]:
        """Images that the model is least sure of first: they teach it most."""
        scores = {image_id: self._usefulness(image_id) for image_id in image_ids}
        return sorted(image_ids, key=lambda image_id: (-scores[image_id], image_id))

    def _usefulness(self, image_id: int) -> float:
        self.predictor.set_image(self.store.load_image(image_id))
        return usefulness(self.predictor)

    def to_publish(self, image_ids: Sequence[int]) -> Iterator[ImageToPublish]:
        """Images with what is prefilled on them, one by one."""
        for picture in self.pictures(image_ids):
            shard = self.store.shard_of(picture.image_id)
            where = Where(picture.image_id, shard, self.stage, self.round, self.record.model_before)
            rows = ShardRows()
            returned = self._returned.get(picture.image_id)
            masks = (
                () if returned else prefilled_of(list(self.prefilled(picture, where, rows)), limit=self._max_prefilled)
            )
            hw = (picture.pixels.shape[0], picture.pixels.shape[1])
            record = PublishedImage(
                picture.image_id,
                task=0,
                shown_hw=hw,
                full_hw=hw,
                model_id=self.record.model_before,
                generator_config=self.generator_config_hash if masks else "",
                prefilled=self._shown_again(returned) if returned else masks,
                generation=tuple(rows.generation),
            )
            yield to_publish(picture.pixels, record, longest_side_px=self.config.labeling.longest_side_px)

    def _shown_again(self, image: ReturnedImage) -> tuple[Prefilled, ...]:
        return tuple(as_prefilled(row) for row in masks_shown_again(self.store, image)[:MAX_PREFILLED])


class PeopleSemiAutomaticWorker(PeopleWorker, SemiAutomaticWorker):
    """The same where confident masks are prefilled."""


def as_work(image: CollectedImage) -> ImageWork:
    """What a person did on an image in the form in which any annotator's work is stored; times are Unix time."""
    work = ImageWork(clock_s=image.submitted_s)
    at = image.submitted_s
    if image.skipped:
        work.events.append(Event("skip", at, image.lead_time_s, detail={"reason": "skipped by the annotator"}))
        return work
    for number, mask in enumerate(image.masks):
        work.masks.append(mask.mask)
        detail: dict[str, Any] = {"clicks": mask.mask.clicks, "over_limit": mask.over_limit}
        if mask.made_by_prompts:
            detail |= {"first_prompt_s": mask.first_prompt_s, "last_prompt_s": mask.last_prompt_s}
        ended = mask.last_prompt_s if mask.made_by_prompts else at
        work.events.append(Event(_kind(mask), ended, mask.mask.seconds, number, detail))
    for gone in image.deleted:
        known = {"predicted_iou": round(float(gone.mask.predicted_iou), 4)} if gone.mask.origin != "manual" else {}
        work.events.append(Event("delete", at, 0.0, detail={"reason": "deleted by the annotator", **known}))
    return work


def _kind(mask: CollectedMask) -> EventKind:
    if mask.prefilled is not None:
        return "accept" if mask.untouched else "edit"
    return "accept" if mask.made_by_prompts else "draw"


def _groups(ids: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (ids[at : at + size] for at in range(0, len(ids), size))
