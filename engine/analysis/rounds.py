"""What a round cost and what it brought, read from the store; `engine.analysis.report` writes it for people.

Without matplotlib: `sam-engine status` reads it too, and answers at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.store import Store
from schemas.tables import Round

_LEARNED = ("guard", "share", "left_out", "measured_on", "measured_images", "measured_masks")
_LEARNED_SCORES = ("miou", "old_miou", "iou_error")


@dataclass(frozen=True)
class RoundReport:
    """One round; None where there is nothing to say (nobody clicks in the fully automatic stage).

    drawn: share of the masks that annotators made which they had to finish with the brush. kept, edited, deleted:
    shares of the masks that they were shown ready-made. by_annotator: what each one's masks took
    (`engine.analysis.statistics`). prefill: how well the object detector's masks show objects. generation: what the
    mask generator took and dropped (`engine.analysis.generation.GenerationSummary`). learned: what was measured of the
    retraining (`engine.analysis.learning`).
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
    by_annotator: dict[str, dict[str, Any]] | None = None
    prefill: dict[str, Any] | None = None
    generation: dict[str, Any] | None = None
    learned: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


def round_reports(store: Store) -> list[RoundReport]:
    """Reports of all rounds, in the order in which the stages and their rounds come."""
    return [_round_report(record) for record in store.rounds()]


def _round_report(record: Round) -> RoundReport:
    metrics = record.metrics
    same_name = (
        "images",
        "masks",
        "masks_per_image",
        "seconds_per_mask",
        "clicks_per_mask",
        "miou_before",
        "miou_after",
    )
    return RoundReport(
        stage=record.stage,
        round=record.round,
        state=record.state,
        drawn=metrics["drawn"] / metrics["masks"]
        if metrics.get("drawn") is not None and metrics.get("masks")
        else None,
        kept=metrics.get("prefilled_kept_frac"),
        edited=metrics.get("prefilled_edited_frac"),
        deleted=metrics.get("prefilled_deleted_frac"),
        model_before=record.model_before,
        model_after=record.model_after,
        simulated="simulated" in metrics.get("annotators", ()),
        by_annotator=metrics.get("by_annotator"),
        prefill=metrics.get("prefill"),
        generation=metrics.get("generation"),
        learned=_learned(metrics),
        **{name: metrics.get(name) for name in same_name},
    )


def _learned(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """Of a round's metrics those of its retraining; None where it was not retrained yet."""
    names = [name for name in metrics if name in _LEARNED or name.startswith(_LEARNED_SCORES)]
    return {name: metrics[name] for name in names} if "guard" in metrics else None
