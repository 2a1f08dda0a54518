"""What annotators and the mask generator did, as rows of the tables."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypedDict

import pyarrow as pa

from engine.annotation import GivenAnnotation, ImageWork
from engine.masks.difference import MaskDifference
from schemas.content_ids import content_id
from schemas.mask import Mask, mask_id
from schemas.rle import Rle
from schemas.stages import Stage

if TYPE_CHECKING:
    from engine.masks.generator import GenerationResult


class _Place(TypedDict):
    image_id: int
    shard: str
    stage: Stage
    round: int


@dataclass
class ShardRows:
    """The rows that one shard of a round adds to the tables; masks by mask_id, so that none is there twice.

    unreadable: images that have none, since their picture cannot be read, with the reason.
    """

    masks: dict[int, dict[str, Any]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    generation: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    unreadable: dict[int, str] = field(default_factory=dict)

    def add_mask(self, mask: Mask, where: "Where") -> int:
        """Add a mask, where it is not there yet; returns its id."""
        row = mask.to_row(**where.columns())
        identity: int = row["mask_id"]
        self.masks.setdefault(identity, row)
        return identity


@dataclass(frozen=True)
class Where:
    """What all rows of one image in one round share. model_id: the model that the masks are made with."""

    image_id: int
    shard: str
    stage: Stage
    round: int
    model_id: str

    def columns(self) -> "_Place":
        return {"image_id": self.image_id, "shard": self.shard, "stage": self.stage, "round": self.round}


def add_annotations(rows: ShardRows, work: ImageWork, where: Where, *, annotator: str) -> None:
    """Add what an annotator did on an image."""
    ids = [rows.add_mask(replace(mask, annotator=annotator), where) for mask in work.masks]
    for number, event in enumerate(work.events):
        rows.events.append(
            {
                "event_id": _event_id(where, number),
                **where.columns(),
                "annotator": annotator,
                "kind": event.kind,
                "at_s": event.at_s,
                "seconds": event.seconds,
                "mask_id": 0 if event.mask is None else ids[event.mask],
                "detail": json.dumps(event.detail, sort_keys=True),
            }
        )


def add_given(rows: ShardRows, given: Sequence[GivenAnnotation], where: Where) -> None:
    """Add what each person gave for an image, whether it counts or not."""
    for one in given:
        masks = [replace(mask, annotator=one.annotator).to_json() for mask in one.masks]
        rows.annotations.append(
            {
                "annotation": one.number,
                **where.columns(),
                "annotator": one.annotator,
                "people": one.people,
                "valid": one.valid,
                "skipped": one.skipped,
                "unaccepted_prompts": one.unaccepted_prompts,
                "seconds": one.seconds,
                "submitted_s": one.submitted_s,
                "mask_count": one.mask_count,
                "masks": json.dumps(masks),
            }
        )


def add_generation(
    rows: ShardRows,
    result: "GenerationResult",
    where: Where,
    *,
    generator_config: str,
    difference: MaskDifference | None = None,
) -> None:
    """Add how the generator fared on an image: masks it made and dropped, what they cover, which lies inside which.

    difference: how a sample of its masks differs from those of the contract `exact`, where that was looked at.
    """
    rows.generation.append(
        {
            **where.columns(),
            "model_id": where.model_id,
            "generator_config": generator_config,
            "masks": len(result.masks),
            "dropped": json.dumps(result.dropped, sort_keys=True),
            "seconds": json.dumps({phase: round(spent, 4) for phase, spent in result.seconds.items()}, sort_keys=True),
            "coverage_frac": result.coverage_frac,
            "parents": _parents(result, where),
            "difference_to_exact": "" if difference is None else json.dumps(asdict(difference), sort_keys=True),
        }
    )


def masks_by_image(masks: pa.Table) -> dict[int, list[Rle]]:
    """The masks of a masks table, grouped by image, each group in the order of mask ids."""
    grouped: dict[int, list[Rle]] = {}
    for row in masks.sort_by("mask_id").to_pylist():
        grouped.setdefault(row["image_id"], []).append(Rle.of_row(row))
    return grouped


def _parents(result: "GenerationResult", where: Where) -> list[dict[str, int]]:
    """Ids of the masks that have a parent, each with its parent's; masks that are equal pixel for pixel have one id."""
    ids = [mask_id(where.image_id, where.stage, where.round, mask.rle.counts) for mask in result.masks]
    nested = {ids[child]: ids[parent] for child, parent in enumerate(result.parents or ()) if parent is not None}
    return [{"mask_id": child, "parent_mask_id": parent} for child, parent in nested.items()]


def _event_id(where: Where, number: int) -> int:
    return content_id(f"{where.image_id}/{where.stage}/{where.round}/{number}".encode())
