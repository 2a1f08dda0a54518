"""What annotators and the mask generator did, as rows of the tables."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from engine.analysis.statistics import GENERATOR
from engine.masks.difference import MaskDifference
from engine.masks.generator import GeneratedMask, GenerationResult
from engine.rle import Rle
from engine.rows import mask_id, mask_row, row_rle
from schemas.config import Stage
from stages.annotators import ImageWork, MadeMask


@dataclass
class ShardRows:
    """The rows that one shard of a round adds to the tables; masks by mask_id, so that none is there twice."""

    masks: dict[int, dict[str, Any]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    generation: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Where:
    """What all rows of one image in one round share. model_id: the model that the masks are made with."""

    image_id: int
    shard: str
    stage: Stage
    round: int
    model_id: str

    def columns(self) -> dict[str, Any]:
        return {"image_id": self.image_id, "shard": self.shard, "stage": self.stage, "round": self.round}


def add_annotations(
    rows: ShardRows, work: ImageWork, where: Where, *, annotator: str, generator_config: str = ""
) -> None:
    """Add what an annotator did on an image; generator_config: hash of the settings that made prefilled masks."""
    ids = []
    for made in work.masks:
        row = _annotated_row(made, where, annotator, "" if made.origin == "manual" else generator_config)
        ids.append(row["mask_id"])
        rows.masks.setdefault(row["mask_id"], row)
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


def add_generation(
    rows: ShardRows,
    result: GenerationResult,
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


def add_generated_mask(rows: ShardRows, mask: GeneratedMask, where: Where, *, generator_config: str) -> None:
    """Add a mask that nobody looked at."""
    row = mask_row(
        mask.rle,
        **where.columns(),
        origin="automatic",
        annotator=GENERATOR,
        model_id=where.model_id,
        generator_config=generator_config,
        points=[(mask.point_xy[0], mask.point_xy[1], 1)],
        predicted_iou=mask.predicted_iou,
        stability_score=mask.stability_score,
        crop_box=mask.crop_box_xyxy,
    )
    rows.masks.setdefault(row["mask_id"], row)


def masks_by_image(masks: pa.Table) -> dict[int, list[Rle]]:
    """The masks of a masks table, grouped by image, each group in the order of mask ids."""
    grouped: dict[int, list[Rle]] = {}
    for row in masks.sort_by("mask_id").to_pylist():
        grouped.setdefault(row["image_id"], []).append(row_rle(row))
    return grouped


def _annotated_row(made: MadeMask, where: Where, annotator: str, generator_config: str) -> dict[str, Any]:
    return mask_row(
        made.rle,
        **where.columns(),
        origin=made.origin,
        annotator=annotator,
        model_id=where.model_id if made.made_by_model else "",
        generator_config=generator_config,
        points=made.points,
        box=made.box,
        predicted_iou=made.predicted_iou,
        stability_score=made.stability_score,
        crop_box=made.crop_box_xyxy or (),
        seconds=made.seconds,
        clicks=made.clicks,
    )


def _parents(result: GenerationResult, where: Where) -> list[dict[str, int]]:
    """Ids of the masks that have a parent, each with its parent's; masks that are equal pixel for pixel have one id."""
    ids = [mask_id(where.image_id, where.stage, where.round, mask.rle.counts) for mask in result.masks]
    nested = {ids[child]: ids[parent] for child, parent in enumerate(result.parents or ()) if parent is not None}
    return [{"mask_id": child, "parent_mask_id": parent} for child, parent in nested.items()]


def _event_id(where: Where, number: int) -> int:
    digest = hashlib.sha256(f"{where.image_id}/{where.stage}/{where.round}/{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
