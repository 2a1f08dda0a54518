"""What a round cost and what it brought, read from the store; `engine.analysis.report` writes it for people.

Without matplotlib: `sam-engine status` reads it too, and answers at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.store import Store
from schemas.round_metrics import (
    AgreementMetrics,
    AnnotatorMetrics,
    GenerationMetrics,
    PersonMetrics,
    PrefillThreshold,
    RoundMetrics,
)
from schemas.tables import Round

_LEARNED = ("guard", "share", "left_out", "measured_on", "measured_images", "measured_masks")
_LEARNED_SCORES = ("miou", "old_miou", "iou_error")


@dataclass(frozen=True)
class RoundReport:
    """One round; None where there is nothing to say (nobody clicks in the fully automatic stage).

    drawn: share of the masks that annotators made which they had to finish with the brush. kept, edited, deleted:
    shares of the masks that they were shown ready-made. by_annotator: what each one's masks took. people: what each
    gave, also where it does not count; agreement: of those who annotated the same images.
    prefill: how well the object detector's masks show objects. generation: what the mask generator took and dropped.
    learned: what was measured, the retraining among it (`engine.analysis.learning`); None before that.
    unreadable: how many pictures were left out since they cannot be read, why_unreadable: a line on the first of them;
    killing: images that were left out since they take their process down.
    """

    stage: str
    round: int
    state: str
    images: int | None
    masks: int | None
    masks_per_image: float | None
    seconds_per_mask: float | None
    clicks_per_mask: float | None
    drawn: float | None
    kept: float | None
    edited: float | None
    deleted: float | None
    miou_before: float | None
    miou_after: float | None
    model_before: str
    model_after: str
    simulated: bool
    by_annotator: dict[str, AnnotatorMetrics] | None = None
    unreadable: int = 0
    why_unreadable: tuple[str, ...] = ()
    killing: tuple[int, ...] = ()
    people: dict[str, PersonMetrics] | None = None
    agreement: AgreementMetrics | None = None
    prefill: PrefillThreshold | None = None
    generation: GenerationMetrics | None = None
    learned: RoundMetrics | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values; of `learned` those of the retraining."""
        return dict(vars(self)) | {
            "by_annotator": _by_name(self.by_annotator),
            "people": _by_name(self.people),
            "agreement": self.agreement and self.agreement.to_dict(),
            "prefill": self.prefill and self.prefill.to_dict(),
            "generation": self.generation and self.generation.to_dict(),
            "learned": self.learned and _of_retraining(self.learned),
        }


def round_reports(store: Store) -> list[RoundReport]:
    """Reports of all rounds, in the order in which the stages and their rounds come."""
    return [_round_report(record) for record in store.rounds()]


def _round_report(record: Round) -> RoundReport:
    metrics = record.metrics
    return RoundReport(
        stage=record.stage,
        round=record.round,
        state=record.state,
        images=metrics.images,
        masks=metrics.masks,
        masks_per_image=metrics.masks_per_image,
        seconds_per_mask=metrics.seconds_per_mask,
        clicks_per_mask=metrics.clicks_per_mask,
        drawn=metrics.drawn / metrics.masks if metrics.drawn is not None and metrics.masks else None,
        kept=metrics.prefilled_kept_frac,
        edited=metrics.prefilled_edited_frac,
        deleted=metrics.prefilled_deleted_frac,
        miou_before=metrics.score("miou").before,
        miou_after=metrics.score("miou").after,
        model_before=record.model_before,
        model_after=record.model_after,
        simulated="simulated" in metrics.annotators,
        by_annotator=metrics.by_annotator,
        people=metrics.people,
        agreement=metrics.agreement,
        prefill=metrics.prefill,
        generation=metrics.generation,
        learned=metrics if metrics.guard is not None else None,
        unreadable=len(metrics.images_unreadable),
        why_unreadable=metrics.why_unreadable,
        killing=metrics.images_left_out,
    )


def _by_name(
    people: Mapping[str, AnnotatorMetrics] | Mapping[str, PersonMetrics] | None,
) -> dict[str, dict[str, Any]] | None:
    return None if people is None else {name: own.to_dict() for name, own in people.items()}


def _of_retraining(metrics: RoundMetrics) -> dict[str, Any]:
    """Of a round's metrics those of its retraining."""
    return {
        name: value for name, value in metrics.to_dict().items() if name in _LEARNED or name.startswith(_LEARNED_SCORES)
    }
