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
from engine.quality.sampling import sample_images
from schemas.mask import Mask
from stages.gates import GateRound


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
        image_ids = sample_images(
            [int(image_id) for image_id in pc.unique(self.masks["image_id"]).to_pylist()],
            count=self.config.labeling.audit_images,
            gate="audit",
            seed=self.config.seed,
            stage=self.record.stage,
            round=self.record.round,
        )
        records = RoundRecords(self.store, self.scope)
        publisher = Publisher(
            self.client, self.folder, records, self.scope, project=self.project, links=self.label_studio.links
        )
        missing = publisher.missing(image_ids)
        publisher.publish(self._to_publish(missing), chunk=self.config.labeling.images_per_chunk)
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

    def _to_publish(self, image_ids: Sequence[int]) -> Iterator[ImageToPublish]:
        for number, image_id in enumerate(image_ids, start=1):
            pixels = self.store.load_image(image_id)
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
