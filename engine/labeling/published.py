"""An image as it was published: its task, its size in the browser, and the masks that were shown ready-made."""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from engine.rle import measured
from schemas.mask import Mask, Prompt
from schemas.rle import Rle

Hw = tuple[int, int]

MAX_PREFILLED = 40  # more make the browser take gigabytes and half a minute for one picture
_FRESH = "prefilled-"  # ids of regions with masks that were in no table before


class MadeBy(NamedTuple):
    """What made prefilled masks. from_points: the generator, from points of its grid; not a detector, from boxes."""

    model_id: str
    generator_config: str
    from_points: bool


@dataclass(frozen=True)
class Prefilled:
    """A mask shown ready-made. region_id: of its region. mask: of the full picture; it stays if nobody touches it."""

    region_id: str
    mask: Mask

    def to_json(self) -> dict[str, Any]:
        return {"region_id": self.region_id, "mask": self.mask.to_json()}

    @classmethod
    def from_json(cls, record: dict[str, Any], full_hw: Hw, *, made_by: MadeBy | None = None) -> "Prefilled":
        """made_by: where known, for records of the first form, in which masks did not say it of themselves."""
        region_id = record["region_id"]
        if "mask" in record:
            return cls(region_id, Mask.from_json(record["mask"]))
        shown_first = region_id.startswith(_FRESH)
        return cls(region_id, _read_first_form(record, full_hw, made_by if shown_first else None))


@dataclass(frozen=True)
class PublishedImage:
    """task: 0 until the import is known to have arrived. shown_hw, full_hw: (height, width) of the picture shown, and
    of the image itself. generator_config: hash of the settings that made the prefilled masks, "" where there are none.
    generation: rows of the table of that name, for when the round is stored. people: how many are to annotate it.
    """

    image_id: int
    task: int
    shown_hw: tuple[int, int]
    full_hw: tuple[int, int]
    model_id: str
    generator_config: str = ""
    prefilled: tuple[Prefilled, ...] = field(default=())
    generation: tuple[dict[str, Any], ...] = field(default=())
    people: int = 1

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
            **({"people": self.people} if self.people != 1 else {}),  # records from before it stay what they are
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "PublishedImage":
        full_hw = (int(record["full_hw"][0]), int(record["full_hw"][1]))
        # The generator leaves a row of how it fared, a detector none.
        made_by = MadeBy(record["model_id"], record["generator_config"], from_points=bool(record["generation"]))
        return cls(
            int(record["image_id"]),
            int(record["task"]),
            (int(record["shown_hw"][0]), int(record["shown_hw"][1])),
            full_hw,
            record["model_id"],
            record["generator_config"],
            tuple(Prefilled.from_json(one, full_hw, made_by=made_by) for one in record["prefilled"]),
            tuple(record["generation"]),
            int(record.get("people", 1)),
        )


def prefilled_of(masks: list[Mask], *, limit: int) -> tuple[Prefilled, ...]:
    """The most confident masks, at most `limit` and `MAX_PREFILLED`, best first, with ids for their regions."""
    best = sorted(masks, key=lambda mask: mask.predicted_iou, reverse=True)[: min(limit, MAX_PREFILLED)]
    return tuple(Prefilled(f"{_FRESH}{number}", mask) for number, mask in enumerate(best))


def _read_first_form(record: dict[str, Any], full_hw: Hw, made_by: MadeBy | None) -> Mask:
    """A record of the first form, which named a point for every mask, also for one that a box or a hand had made.

    made_by: None for a mask that was in a table before. A point that nothing vouches for is left out.
    """
    mask = measured(Rle(*full_hw, record["counts"].encode("ascii")))
    x, y = record["point_xy"]
    x0, y0, x1, y1 = mask.box
    left, top, right, bottom = (float(side) for side in record["crop_box_xyxy"])
    clicked = record["origin"] == "manual" and (x, y) != ((x0 + x1) / 2, (y0 + y1) / 2)
    prompted = made_by.from_points if made_by else clicked
    return replace(
        mask,
        crop_box=(left, top, right, bottom),
        prompt=Prompt(points=((x, y, 1),)) if prompted else Prompt(),
        predicted_iou=record["predicted_iou"],
        stability_score=record["stability_score"],
        origin=record["origin"],
        model_id=made_by.model_id if made_by else "",
        generator_config=made_by.generator_config if made_by else "",
    )
