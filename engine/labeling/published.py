"""An image as it was published: its task, its size in the browser, and the masks that were shown ready-made."""

from dataclasses import dataclass, field
from typing import Any

from engine.masks.generator import GeneratedMask
from engine.rle import Rle
from schemas.tables import Origin

MAX_PREFILLED = 40  # more make the browser take gigabytes and half a minute for one picture


@dataclass(frozen=True)
class Prefilled:
    """A mask shown ready-made.

    region_id: of its region. mask: of the full picture, with what the generator knew (NaN where none made it).
    origin: what it is called where nobody touches it.
    """

    region_id: str
    mask: GeneratedMask
    origin: Origin = "automatic"

    def to_json(self) -> dict[str, Any]:
        return {"region_id": self.region_id, "origin": self.origin, **_mask_to_json(self.mask)}

    @classmethod
    def from_json(cls, record: dict[str, Any], full_hw: tuple[int, int]) -> "Prefilled":
        return cls(record["region_id"], _mask_from_json(record, full_hw), record["origin"])


@dataclass(frozen=True)
class PublishedImage:
    """task: 0 until the import is known to have arrived. shown_hw, full_hw: (height, width) of the picture shown, and
    of the image itself. generator_config: hash of the settings that made the prefilled masks, "" where there are none.
    generation: rows of the table of that name, for when the round is stored.
    """

    image_id: int
    task: int
    shown_hw: tuple[int, int]
    full_hw: tuple[int, int]
    model_id: str
    generator_config: str = ""
    prefilled: tuple[Prefilled, ...] = field(default=())
    generation: tuple[dict[str, Any], ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        return {
            "image_id": str(self.image_id),
            "task": self.task,
            "shown_hw": list(self.shown_hw),
            "full_hw": list(self.full_hw),
            "model_id": self.model_id,
            "generator_config": self.generator_config,
            "prefilled": [one.to_json() for one in self.prefilled],
            "generation": list(self.generation),
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "PublishedImage":
        full_hw = (int(record["full_hw"][0]), int(record["full_hw"][1]))
        return cls(
            int(record["image_id"]),
            int(record["task"]),
            (int(record["shown_hw"][0]), int(record["shown_hw"][1])),
            full_hw,
            record["model_id"],
            record["generator_config"],
            tuple(Prefilled.from_json(one, full_hw) for one in record["prefilled"]),
            tuple(record["generation"]),
        )


def prefilled_of(masks: list[GeneratedMask], *, limit: int) -> tuple[Prefilled, ...]:
    """The most confident masks, at most `limit` and `MAX_PREFILLED`, best first, with ids for their regions."""
    best = sorted(masks, key=lambda mask: mask.predicted_iou, reverse=True)[: min(limit, MAX_PREFILLED)]
    return tuple(Prefilled(f"prefilled-{number}", mask) for number, mask in enumerate(best))


def _mask_to_json(mask: GeneratedMask) -> dict[str, Any]:
    return {
        "counts": mask.rle.counts.decode("ascii"),
        "box_xyxy": [int(side) for side in mask.box_xyxy],
        "area": int(mask.area),
        "predicted_iou": float(mask.predicted_iou),
        "stability_score": float(mask.stability_score),
        "crop_box_xyxy": [int(side) for side in mask.crop_box_xyxy],
        "point_xy": [float(value) for value in mask.point_xy],
    }


def _mask_from_json(record: dict[str, Any], full_hw: tuple[int, int]) -> GeneratedMask:
    return GeneratedMask(
        Rle(*full_hw, record["counts"].encode("ascii")),
        tuple(record["box_xyxy"]),
        record["area"],
        record["predicted_iou"],
        record["stability_score"],
        tuple(record["crop_box_xyxy"]),
        tuple(record["point_xy"]),
    )
