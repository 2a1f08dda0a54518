"""The audit: experts correct all masks of a random sample of images, and the pairs are compared (SAM paper, section 5).

Nothing follows from it for the dataset but a figure: the share of masks that were right.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow.compute as pc

from engine.keys import content_key
from engine.labeling.annotations import CollectedImage
from engine.labeling.collect import fetch, read_round
from engine.labeling.publish import ImageToPublish, Publisher, to_publish
from engine.labeling.published import MAX_PREFILLED, Prefilled, PublishedImage
from engine.labeling.records import RoundRecords
from engine.quality.audit import AuditedImage, AuditReport, CorrectedMask, audit_report, compare
from engine.quality.gate_records import SKIPPED, Answer, GateRecords, Question
from engine.quality.sampling import sample_images
from schemas.errors import InputError
from schemas.mask import Mask
from stages.gates import GateRound
from stages.unreadable import check_unreadable


@dataclass(frozen=True)
class AuditState:
    """asked, answered: images. report: of those that are done, None before the first is. problems: one line each."""

    finished: bool
    url: str
    asked: int
    answered: int
    report: AuditReport | None
    problems: tuple[str, ...]


class AuditRound(GateRound):
    """The audit of one round. Of an image with more masks than a browser can bear, a random part is shown."""

    gate = "audit"

    def audit(self) -> AuditState:
        """Publish what is missing, read what is done. Raises WaitError where Label Studio does not answer."""
        records = RoundRecords(self.store, self.scope)
        image_ids = self._sample(records)
        publisher = Publisher(
            self.client, self.folder, records, self.scope, project=self.project, links=self.label_studio.links
        )
        missing = publisher.missing(image_ids)
        unreadable: dict[int, Answer] = {}
        publisher.publish(self._to_publish(missing, unreadable), chunk=self.config.labeling.images_per_chunk)
        if unreadable:
            check_unreadable("the audit", [answer.comment for answer in unreadable.values()], of=len(image_ids))
            GateRecords(self.store, self.scope).put_answers(unreadable)
            image_ids = [image_id for image_id in image_ids if image_id not in unreadable]
        fetch(self.client, records, self.scope, project=self.project, everything=True)
        published = records.published()
        found = read_round(published, records.collected(), image_ids)
        done = [image for image in found.images if image.done and not image.skipped]
        audited = [_compared(image, published[image.image_id]) for image in done]
        skipped = sum(image.skipped for image in found.images)
        return AuditState(
            finished=found.done == len(image_ids),
            url=self.url,
            asked=len(image_ids),
            answered=found.done,
            report=audit_report(audited, skipped=skipped) if audited else None,
            problems=tuple(found.problems),
        )

    def _sample(self, records: RoundRecords) -> list[int]:
        """Images, in the order of the draw, which is kept before the first of them goes out: a gate may take masks away
        while experts are at work."""
        kept = GateRecords(self.store, self.scope)
        if not kept.is_drawn():
            drawn = sample_images(
                [int(image_id) for image_id in pc.unique(self.masks["image_id"]).to_pylist()],
                count=self.config.labeling.audit_images,
                gate=self.gate,
                seed=self.config.seed,
                stage=self.record.stage,
                round=self.record.round,
            )
            more = sorted(set(records.published()) - set(drawn))  # that went out before a draw was kept
            kept.draw([Question(image_id) for image_id in (*drawn, *more)])
        return [question.image_id for question in kept.questions() if question.answer is None]

    def _to_publish(self, image_ids: Sequence[int], unreadable: dict[int, Answer]) -> Iterator[ImageToPublish]:
        """unreadable: grows by the images whose picture cannot be read any more."""
        for number, image_id in enumerate(image_ids, start=1):
            try:
                pixels = self.store.load_image(image_id)
            except InputError as error:
                unreadable[image_id] = Answer(SKIPPED, "", None, str(error))
                self.progress("audit: publish", number, len(image_ids), f"left out: {error}")
                continue
            hw = (pixels.shape[0], pixels.shape[1])
            record = PublishedImage(image_id, 0, hw, hw, self.record.model_before, prefilled=self._shown(image_id))
            yield to_publish(pixels, record, longest_side_px=self.config.labeling.longest_side_px)
            self.progress("audit: publish", number, len(image_ids))

    def _shown(self, image_id: int) -> tuple[Prefilled, ...]:
        rows = self._masks_by_image.get(image_id, [])
        chosen = np.random.default_rng(int(content_key("audit", self.config.seed, image_id), 16)).permutation(len(rows))
        return tuple(rows[place] for place in sorted(chosen[:MAX_PREFILLED].tolist()))

    @cached_property
    def _masks_by_image(self) -> dict[int, list[Prefilled]]:
        grouped: dict[int, list[Prefilled]] = {}
        for row in self.masks.sort_by("mask_id").to_pylist():
            shown = Prefilled(str(row["mask_id"]), Mask.from_row(row))
            grouped.setdefault(row["image_id"], []).append(shown)
        return grouped


def _compared(image: CollectedImage, published: PublishedImage) -> AuditedImage:
    before = {int(one.region_id): one.mask.rle for one in published.prefilled}
    after = [
        CorrectedMask(mask.mask.rle, None if mask.prefilled is None else int(mask.prefilled.region_id))
        for mask in image.masks
    ]
    return compare(image.image_id, before, after)
