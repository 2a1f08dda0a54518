"""A mask and all that is known of it: one type from the generator's output, or a person's hand, to tables and releases.

Boxes are XYXY, right and bottom exclusive; points are (x, y, label), label 1 on the object and 0 on the background; all
in pixels of the picture. What nobody knows is NaN, "", 0, None or an empty tuple.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from schemas.content_ids import content_id
from schemas.rle import Rle
from schemas.sa1b import Sa1bAnnotation, Sa1bPrompt, Sa1bSegmentation, from_xywh, to_xywh
from schemas.tables import Origin

Box = tuple[float, float, float, float]
Point = tuple[float, float, int]

GENERATOR = "generator"  # the annotator of masks that nobody looked at


@dataclass(frozen=True)
class Prompt:
    """What a mask was made from, and nothing else: all empty for one that a hand drew.

    mask: the mask that was there before, of the same size, where a mask was mended. Beside it `points` and `box` are
    what the model was told to mend it; without any of these the hand did.
    """

    points: tuple[Point, ...] = ()
    box: Box | None = None
    mask: Rle | None = None

    @property
    def on_object(self) -> list[tuple[float, float]]:
        """(x, y) of the points on the object."""
        return [(x, y) for x, y, label in self.points if label == 1]

    @property
    def says_more_than_points_on_object(self) -> bool:
        return bool(self.box or self.mask) or any(label != 1 for _, _, label in self.points)


@dataclass(frozen=True)
class Mask:
    """A mask of a picture. `engine.rle.measured` makes one of its pixels; who knows more puts it in with `replace`.

    area: pixels. crop_box: the part of the picture that the model saw.
    predicted_iou, stability_score: in [0, 1]; of the mask before small regions were cleaned or a person mended it.
    annotator: who made or accepted it. model_id, generator_config: the model that made it or what was mended, and the
    hash of the settings of the generator or detector that prompted it. seconds, clicks: what it cost its annotator.
    """

    rle: Rle
    area: int
    box: Box
    crop_box: Box
    prompt: Prompt = Prompt()
    predicted_iou: float = math.nan
    stability_score: float = math.nan
    origin: Origin = "manual"
    annotator: str = ""
    model_id: str = ""
    generator_config: str = ""
    seconds: float = 0.0
    clicks: int = 0
    label: str = ""

    def to_row(self, *, image_id: int, shard: str, stage: str, round: int) -> dict[str, Any]:
        """A row of a masks table (`schemas.tables.MASKS`); the mask's id follows from its place and pixels."""
        place = {"image_id": image_id, "shard": shard, "stage": stage, "round": round}
        return {"mask_id": mask_id(image_id, stage, round, self.rle.counts), **place, **self._columns()}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> "Mask":
        """The mask of a row of a masks table."""
        rle, before = Rle.of_row(row), bytes(row["mask_prompt"])
        prompt = Prompt(
            tuple((float(point["x"]), float(point["y"]), int(point["label"])) for point in row["points"]),
            _box(row["box"]) if row["box"] else None,
            rle._replace(counts=before) if before else None,
        )
        return cls(
            rle=rle,
            area=int(row["area"]),
            box=_box(row["bbox"]),
            crop_box=_box(row["crop_box"]),
            prompt=prompt,
            predicted_iou=_known(row["predicted_iou"]),
            stability_score=_known(row["stability_score"]),
            origin=row["origin"],
            annotator=row["annotator"],
            model_id=row["model_id"],
            generator_config=row["generator_config"],
            seconds=float(row["seconds"]),
            clicks=int(row["clicks"]),
            label=row["label"],
        )

    def to_json(self) -> dict[str, Any]:
        """The columns of `to_row` without the place, as JSON."""
        columns = self._columns()
        return columns | {name: columns[name].decode("ascii") for name in ("rle", "mask_prompt")}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Mask":
        """What `to_json` wrote."""
        return cls.from_row(record | {name: record[name].encode("ascii") for name in ("rle", "mask_prompt")})

    def to_sa1b(self, annotation_id: int) -> Sa1bAnnotation:
        """One mask's part of an SA-1B record.

        SA-1B has points on the object alone; a prompt that was more than these stands whole in the field `prompt`.
        """
        more = {"prompt": _sa1b_prompt(self.prompt)} if self.prompt.says_more_than_points_on_object else {}
        return Sa1bAnnotation(
            id=annotation_id,
            segmentation=_segmentation(self.rle),
            bbox=to_xywh(self.box),
            area=self.area,
            predicted_iou=_or_none(self.predicted_iou),
            stability_score=_or_none(self.stability_score),
            crop_box=to_xywh(self.crop_box),
            point_coords=self.prompt.on_object,
            **more,
        )

    @classmethod
    def from_sa1b(cls, annotation: Sa1bAnnotation, *, origin: Origin = "automatic") -> "Mask":
        """The mask of an SA-1B record, as far as it tells; origin: it does not, and SA-1B's own masks are automatic.

        Whether counts decode to a mask of that size is for `engine.rle.from_coco` to say.
        """
        prompt = Prompt(tuple((x, y, 1) for x, y in annotation.point_coords))
        if annotation.prompt is not None:
            given = annotation.prompt
            prompt = Prompt(
                tuple(given.points),
                None if given.box is None else from_xywh(given.box),
                None if given.segmentation is None else _rle(given.segmentation),
            )
        return cls(
            rle=_rle(annotation.segmentation),
            area=annotation.area,
            box=from_xywh(annotation.bbox),
            crop_box=from_xywh(annotation.crop_box),
            prompt=prompt,
            predicted_iou=math.nan if annotation.predicted_iou is None else annotation.predicted_iou,
            stability_score=math.nan if annotation.stability_score is None else annotation.stability_score,
            origin=origin,
            label=annotation.label,
        )

    def _columns(self) -> dict[str, Any]:
        """What a masks table says of the mask itself, wherever it is."""
        return {
            "rle": self.rle.counts,
            "height": self.rle.height,
            "width": self.rle.width,
            "area": self.area,
            "bbox": [float(side) for side in self.box],
            "crop_box": [float(side) for side in self.crop_box],
            "points": [{"x": float(x), "y": float(y), "label": int(label)} for x, y, label in self.prompt.points],
            "box": [float(side) for side in self.prompt.box or ()],
            "mask_prompt": self.prompt.mask.counts if self.prompt.mask else b"",
            "predicted_iou": self.predicted_iou,
            "stability_score": self.stability_score,
            "origin": self.origin,
            "annotator": self.annotator,
            "model_id": self.model_id,
            "generator_config": self.generator_config,
            "seconds": self.seconds,
            "clicks": self.clicks,
            "label": self.label,
        }


def mask_id(image_id: int, stage: str, round: int, rle_counts: bytes) -> int:
    """63-bit id of a mask: equal masks of one image in one round of one stage are the same mask."""
    return content_id(f"{image_id}/{stage}/{round}/".encode() + rle_counts)


def _box(sides: Sequence[float]) -> Box:
    x0, y0, x1, y1 = (float(side) for side in sides)
    return x0, y0, x1, y1


def _known(value: float) -> float:
    """One NaN for all, so that masks with equal unknowns are equal."""
    return math.nan if math.isnan(value) else float(value)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _segmentation(rle: Rle) -> Sa1bSegmentation:
    return Sa1bSegmentation(size=(rle.height, rle.width), counts=rle.counts.decode("ascii"))


def _rle(segmentation: Sa1bSegmentation) -> Rle:
    return Rle(*segmentation.size, segmentation.counts.encode("ascii"))


def _sa1b_prompt(prompt: Prompt) -> Sa1bPrompt:
    """Without the parts that there were none of."""
    given: dict[str, Any] = {"points": list(prompt.points)} if prompt.points else {}
    given |= {"box": to_xywh(prompt.box)} if prompt.box else {}
    given |= {"segmentation": _segmentation(prompt.mask)} if prompt.mask else {}
    return Sa1bPrompt(**given)
