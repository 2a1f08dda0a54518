"""Label Studio as an annotation tool: a tick publishes what is missing and collects what is done, then stops.

A later tick goes on; nothing has to stay alive while people annotate for days.
"""

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from engine.annotation import (
    AnnotatedImage,
    AnnotationProgress,
    Check,
    Event,
    EventKind,
    GivenAnnotation,
    ImageWork,
    Link,
    OpenRound,
    ShownImage,
)
from engine.keys import content_key
from engine.labeling.annotations import CollectedImage, CollectedMask
from engine.labeling.client import LabelStudioClient
from engine.labeling.collect import CollectedRound, fetch, read_round
from engine.labeling.doctor import Doctor
from engine.labeling.folder import LabelingFolder, Scope
from engine.labeling.links import PictureLinks, picture_links
from engine.labeling.prompt_log import keep_prompts
from engine.labeling.publish import ImageToPublish, Publisher, to_publish
from engine.labeling.published import MAX_PREFILLED, Prefilled, PublishedImage, prefilled_of
from engine.labeling.records import RoundRecords
from engine.labeling.registered import backend_problem, renew_login
from engine.labeling.secret import backend_login
from engine.labeling.setup import known_project, setup_project
from engine.store import Store
from schemas.config import EngineConfig
from schemas.counted import counted
from schemas.errors import WaitError
from schemas.labeling import GATES, Purpose
from schemas.tables import Round

_SHORT_S = 0.001  # less is rounding
_RANKED_TOGETHER = 8  # chunks: so many images are looked at before the most useful of them go out


class LabelStudioTool:
    """The workspace's projects in Label Studio, one a stage; see `engine.annotation.AnnotationTool`."""

    def __init__(self, store: Store, config: EngineConfig) -> None:
        self.store, self.config = store, config
        self.folder = LabelingFolder(store.files)
        self._projects: dict[Purpose, int] = {}

    @cached_property
    def client(self) -> LabelStudioClient:
        """Raises InputError where there is no token for it."""
        return LabelStudioClient(self.folder.credentials(self.config.labeling.url))

    @cached_property
    def links(self) -> PictureLinks:
        """Addresses of pictures."""
        return picture_links(self.folder, self.config.labeling)

    @property
    def _backend_url(self) -> str:
        return self.config.labeling.backend_url.rstrip("/")

    @property
    def name(self) -> str:
        """Of the workspace, in the titles of its projects."""
        return self.store.files.name

    def project(self, purpose: Purpose) -> int:
        """The project of a stage or a gate. Raises WaitError where there is none yet."""
        if purpose not in self._projects:
            found = known_project(self.client, self.folder, purpose, self.name)
            if found is None:
                gates = " --gates" if purpose in GATES else ""
                raise WaitError(
                    f"Label Studio at {self.client.url} has no project for {purpose}; run: sam-engine labeling setup "
                    f"{self.store.files}{gates}"
                )
            self._projects[purpose] = found
        return self._projects[purpose]

    def url(self, purpose: Purpose) -> str:
        """Where people work."""
        return f"{self.client.url}/projects/{self.project(purpose)}/data"

    def setup(self, purpose: Purpose) -> Link:
        url = self.config.labeling.backend_url
        return setup_project(self.client, self.folder, purpose, name=self.name, backend_url=url, links=self.links)

    def doctor(self, purpose: Purpose) -> Iterator[Check]:
        opened = [
            record.model_before for record in self.store.rounds() if record.stage == purpose and record.state == "open"
        ]
        return Doctor(
            self.client,
            self.folder,
            purpose,
            name=self.name,
            backend_url=self.config.labeling.backend_url,
            model_id=next(iter(opened), ""),
            links=self.links,
        ).checks()

    def publish(self, work: OpenRound) -> None:
        record, scope = work.record, _scope(work)
        records = RoundRecords(self.store, scope)
        project = self.project(record.stage)
        renew_login(self.client, project, self._backend_url, backend_login(self.folder))
        publisher = Publisher(self.client, self.folder, records, scope, project=project, links=self.links)
        missing = publisher.missing(record.image_ids)
        total, chunk = len(record.image_ids), self.config.labeling.images_per_chunk
        twice = annotated_twice(record, share=self.config.labeling.overlap_frac, seed=self.config.seed)
        done = total - len(missing)
        for group in _groups(missing, chunk * _RANKED_TOGETHER):
            for image_ids in _groups(work.most_useful_first(group), chunk):
                work.tell("publish", done, total)
                shown = work.shown(image_ids)
                to_send = (self._to_publish(image, people=2 if image.image_id in twice else 1) for image in shown)
                publisher.publish(to_send, chunk=chunk)
                done += len(image_ids)
        if missing:
            work.tell("publish", done, total)

    def collect(self, work: OpenRound) -> AnnotationProgress:
        keep_prompts(self.store)
        scope, project = _scope(work), self.project(work.record.stage)
        records = RoundRecords(self.store, scope)
        problems: dict[str, None] = {}  # each line once, in order

        def look(what: str, *, everything: bool) -> None:
            def tell(looked_at: int) -> None:
                work.tell(what, looked_at, len(work.record.image_ids))

            fetch(
                self.client,
                records,
                scope,
                project=project,
                everything=everything,
                tell=tell,
                problem=problems.setdefault,
            )

        look("collect", everything=False)
        if self._enough(work, _read(records, work)):
            # Not every change has a time: before it counts, all is looked at once more.
            look("collect all again", everything=True)
        login, model_id = backend_login(self.folder), work.record.model_before
        if wrong := backend_problem(self.client, project, self._backend_url, login=login, model_id=model_id):
            problems.setdefault(wrong)
        return self._progress(work, _read(records, work), list(problems))

    def annotated(self, work: OpenRound, shard: str, image_ids: Sequence[int]) -> Iterator[AnnotatedImage]:
        records = RoundRecords(self.store, _scope(work))
        published = records.published(shard)
        for image in read_round(published, records.collected(shard), image_ids).images:
            shown = published[image.image_id]
            done = as_work(image) if image.done else None
            given = [as_given(one, valid=one is image and image.done, people=shown.people) for one in _all(image)]
            yield AnnotatedImage(image.image_id, image.annotator, shown.model_id, done, shown.generation, given)

    def settings(self, work: OpenRound, shard: str, image_ids: Sequence[int]) -> Sequence[object]:
        """What was published and collected is all that the work follows from."""
        records = RoundRecords(self.store, _scope(work))
        shown = {image_id: image.to_json() for image_id, image in records.published(shard).items()}
        collected = records.collected(shard)
        return (content_key([(shown.get(each), collected.get(each)) for each in image_ids]),)

    def _to_publish(self, image: ShownImage, *, people: int) -> ImageToPublish:
        hw = (image.pixels.shape[0], image.pixels.shape[1])
        record = PublishedImage(
            image.image_id,
            task=0,
            shown_hw=hw,
            full_hw=hw,
            model_id=image.model_id,
            generator_config=image.generator_config,
            prefilled=self._prefilled(image),
            generation=image.generation,
            people=people,
        )
        return to_publish(image.pixels, record, longest_side_px=self.config.labeling.longest_side_px)

    def _prefilled(self, image: ShownImage) -> tuple[Prefilled, ...]:
        if image.mask_ids:
            known = zip(image.mask_ids, image.masks, strict=True)
            return tuple(Prefilled(f"mask-{mask_id}", mask) for mask_id, mask in known)[:MAX_PREFILLED]
        return prefilled_of(list(image.masks), limit=self.config.semi_automatic.max_prefilled_masks)

    def _enough(self, work: OpenRound, found: CollectedRound) -> bool:
        wanted = len(work.record.image_ids) - len(work.unreadable)
        return found.done >= math.ceil(self.config.labeling.done_frac * wanted)

    def _progress(self, work: OpenRound, found: CollectedRound, problems: list[str]) -> AnnotationProgress:
        total, masks = len(work.record.image_ids), sum(len(image.masks) for image in found.images)
        url = self.url(work.record.stage)
        message = (
            f"{found.done} of {counted(total, 'image')} {'is' if total == 1 else 'are'} "
            f"annotated or skipped, {counted(masks, 'mask')}; annotators work at {url}"
        )
        if found.waiting:
            message += f"; {found.waiting} wait for a second person (labeling.overlap_frac)"
        if found.superseded:
            message += f"; {found.superseded} more of images that somebody else, or the same person, annotated as well"
        if problems := [*found.problems, *problems]:
            message += f"; {len(problems)} to be looked at, the first: {problems[0]}"
        return AnnotationProgress(self._enough(work, found), message)


def as_work(image: CollectedImage) -> ImageWork:
    """What a person did on an image in the form in which any annotator's work is stored; times are Unix time."""
    work = ImageWork(clock_s=image.submitted_s)
    at = image.submitted_s
    if image.skipped:
        work.events.append(Event("skip", at, image.lead_time_s, detail={"reason": "skipped by the annotator"}))
        return work
    for number, mask in enumerate(image.masks):
        work.masks.append(mask.mask)
        detail: dict[str, Any] = {"clicks": mask.mask.clicks, "over_limit": mask.over_limit, "timed": mask.timed}
        if mask.made_by_prompts:
            detail |= {"first_prompt_s": mask.first_prompt_s, "last_prompt_s": mask.last_prompt_s}
        ended = mask.last_prompt_s if mask.made_by_prompts else at
        work.events.append(Event(_kind(mask), ended, mask.mask.seconds, number, detail))
    for gone in image.deleted:
        known = {"predicted_iou": round(float(gone.mask.predicted_iou), 4)} if gone.mask.origin != "manual" else {}
        work.events.append(Event("delete", at, 0.0, detail={"reason": "deleted by the annotator", **known}))
    rest = image.lead_time_s - sum(mask.mask.seconds for mask in image.masks)
    if rest > _SHORT_S:
        work.events.append(Event("look", at, rest))
    return work


def as_given(image: CollectedImage, *, valid: bool, people: int) -> GivenAnnotation:
    """An annotation as it is kept, whether it counts or not."""
    masks = tuple(mask.mask for mask in image.masks)
    return GivenAnnotation(
        image.annotation,
        image.annotator,
        valid,
        image.skipped,
        people,
        image.unaccepted_prompts,
        image.lead_time_s,
        image.submitted_s,
        len(masks),
        () if valid else masks,
    )


def annotated_twice(record: Round, *, share: float, seed: int) -> frozenset[int]:
    """Images of a round that two people are to annotate: a share of them, at least one, the same at every call."""
    count = max(1, round(share * len(record.image_ids))) if share else 0
    order = sorted(record.image_ids, key=lambda each: content_key("overlap", seed, record.stage, record.round, each))
    return frozenset(order[:count])


def _all(image: CollectedImage) -> list[CollectedImage]:
    """The annotations of an image, the valid one first."""
    return [image, *image.others] if image.annotation else []


def _kind(mask: CollectedMask) -> EventKind:
    if mask.prefilled is not None:
        return "accept" if mask.untouched else "edit"
    return "accept" if mask.made_by_prompts else "draw"


def _scope(work: OpenRound) -> Scope:
    return Scope(work.record.stage, work.record.stage, work.record.round)


def _read(records: RoundRecords, work: OpenRound) -> CollectedRound:
    return read_round(records.published(), records.collected(), work.record.image_ids)


def _groups(ids: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (ids[at : at + size] for at in range(0, len(ids), size))
