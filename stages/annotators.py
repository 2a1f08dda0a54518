"""Who makes masks in the first two stages, and the simulated annotator that stands in for people.

The simulated annotator reads ground-truth masks, clicks as the paper samples clicks and keeps a simulated clock. What
it makes says so: every row carries the annotator's name, "simulated".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from engine import rle as rle_codec
from engine.masks.generator import GeneratedMask
from engine.rle import Rle
from schemas.config import AnnotatorConfig
from stages.clicks import Clicked, PromptablePredictor, click_until, logits_of_mask

SIMULATED = "simulated"
Origin = Literal["manual", "automatic", "automatic_corrected"]
EventKind = Literal["prompt", "accept", "draw", "edit", "delete", "skip"]
# Below this IoU with every object a prefilled mask is quicker made anew than edited.
EDIT_IOU = 0.5


@dataclass(frozen=True)
class MadeMask:
    """A mask that an annotator accepted. Boxes XYXY, points (x, y, label), all in pixels of the image.

    made_by_model is False for a mask drawn by hand. seconds: the annotator's time for this mask, looking included. box:
    the prompt, XYXY, where there was one.
    """

    rle: Rle
    origin: Origin
    seconds: float
    clicks: int
    made_by_model: bool = True
    points: Sequence[tuple[float, float, int]] = ()
    predicted_iou: float = float("nan")
    stability_score: float = float("nan")
    crop_box_xyxy: Sequence[float] | None = None
    box: Sequence[float] = ()


@dataclass(frozen=True)
class Event:
    """Something an annotator did. at_s: when it ended, on the annotator's clock. mask: index in `ImageWork.masks`."""

    kind: EventKind
    at_s: float
    seconds: float
    mask: int | None = None
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass
class ImageWork:
    """What an annotator did on one image."""

    masks: list[MadeMask] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    clock_s: float = 0.0


class PromptableImage(Protocol):
    """An image that can be prompted; it is encoded when that is first needed."""

    @property
    def input_hw(self) -> tuple[int, int]: ...

    @property
    def image_size(self) -> int: ...

    def predictor(self) -> PromptablePredictor: ...


class SimulatedAnnotator:
    """Annotates one image after the other from its ground truth."""

    name = SIMULATED

    def __init__(self, config: AnnotatorConfig) -> None:
        self.config = config

    def annotate(
        self,
        image: PromptableImage,
        targets: Sequence[Rle],
        *,
        rng: np.random.Generator,
        prefilled: Sequence[GeneratedMask] = (),
        clock_s: float = 0.0,
    ) -> ImageWork:
        """Review the prefilled masks of an image, then add its objects that no mask shows yet.

        targets: ground truth. prefilled: confident masks of the generator (semi-automatic stage). clock_s: time on the
        annotator's clock at which this image comes up. An image without ground truth is skipped, and an event says so.
        """
        session = _Session(self.config, image, rng, ImageWork(clock_s=clock_s))
        if not targets:
            session.log("skip", 0.0, reason="no ground truth", prefilled=len(prefilled))
            return session.work
        by_prominence = sorted(targets, key=rle_codec.area, reverse=True)
        unfinished = session.review(prefilled, by_prominence)
        if session.edit(unfinished):
            session.add_missing(by_prominence)
        return session.work


@dataclass(frozen=True)
class _ToEdit:
    mask: GeneratedMask
    target: Rle


@dataclass
class _Session:
    """An annotator at one image. Methods that can end the image early return False then (the 30 second rule)."""

    config: AnnotatorConfig
    image: PromptableImage
    rng: np.random.Generator
    work: ImageWork

    def log(self, kind: EventKind, seconds: float, mask: int | None = None, **detail: Any) -> None:
        self.work.clock_s += seconds
        self.work.events.append(Event(kind, self.work.clock_s, seconds, mask, detail))

    def review(self, prefilled: Sequence[GeneratedMask], targets: Sequence[Rle]) -> list[_ToEdit]:
        """Keep, delete or mark for editing each prefilled mask by the object it shows best."""
        iou = rle_codec.iou_matrix([mask.rle for mask in prefilled], targets)
        unfinished: list[_ToEdit] = []
        for row, mask in zip(iou, prefilled, strict=True):
            best = int(row.argmax())
            found = float(row[best])
            if found >= self.config.accept_iou:
                self._keep(mask)
            elif found >= EDIT_IOU:
                unfinished.append(_ToEdit(mask, targets[best]))
            else:
                self._delete(mask, "shows no object")
                continue
            # One mask an object: a second prefilled mask of it is deleted.
            iou[:, best] = 0
        return unfinished

    def edit(self, unfinished: Iterable[_ToEdit]) -> bool:
        """Click the marked masks right, starting from what they are."""
        in_time = True
        for item in unfinished:
            if not in_time:
                self._delete(item.mask, "left unfinished: out of time")
                continue
            in_time = self._finish(item.target, "automatic_corrected", self.config.seconds_to_review, item.mask)
        return in_time

    def add_missing(self, targets: Sequence[Rle]) -> bool:
        """Make a mask of each object that has none, most prominent first."""
        for target in targets:
            made = [mask.rle for mask in self.work.masks]
            if made and rle_codec.iou_matrix(made, [target]).max() >= self.config.accept_iou:
                continue
            if not self._finish(target, "manual", self.config.seconds_to_find, None):
                return False
        return True

    def _finish(self, target: Rle, origin: Origin, seconds: float, start: GeneratedMask | None) -> bool:
        """Click, and draw where clicks do not get there. False if this mask took longer than the limit."""
        config = self.config
        wanted = rle_codec.decode(target)
        clicked = click_until(
            self.image.predictor(),
            wanted,
            rng=self.rng,
            max_clicks=config.max_clicks,
            accept_iou=config.accept_iou,
            start=None if start is None else self._as_start(start),
        )
        index = len(self.work.masks)
        self._log_clicks(clicked, index, seconds)
        final = rle_codec.encode(clicked.mask)
        reached = float(rle_codec.iou_matrix([final], [target])[0, 0])
        accepted = reached >= config.accept_iou
        kind: EventKind = ("edit" if start else "accept") if accepted else "draw"
        rest = config.seconds_to_review if accepted else config.seconds_to_draw
        self.log(kind, rest, index, clicks=clicked.clicks, iou=round(reached, 4))
        seconds += clicked.clicks * config.seconds_per_click + rest
        self.work.masks.append(
            MadeMask(final, origin, seconds, clicked.clicks, True, clicked.points, clicked.predicted_iou)
            if accepted
            else MadeMask(target, origin, seconds, clicked.clicks, made_by_model=False)
        )
        if seconds <= config.seconds_per_mask_limit:
            return True
        self.log("skip", 0.0, reason="a mask took over the limit", limit_s=config.seconds_per_mask_limit)
        return False

    def _as_start(self, mask: GeneratedMask) -> Clicked:
        x, y = mask.point_xy
        shape = rle_codec.decode(mask.rle)
        logits = logits_of_mask(shape, input_hw=self.image.input_hw, image_size=self.image.image_size)
        return Clicked(shape, [(float(x), float(y), 1)], mask.predicted_iou, logits)

    def _log_clicks(self, clicked: Clicked, index: int, seconds_before: float) -> None:
        """One event a click; the first carries the time to find the object."""
        own = clicked.points[len(clicked.points) - clicked.clicks :]
        for number, (x, y, label) in enumerate(own):
            before = seconds_before if number == 0 else 0.0
            self.log("prompt", before + self.config.seconds_per_click, index, x=x, y=y, label=label)

    def _keep(self, mask: GeneratedMask) -> None:
        seconds = self.config.seconds_to_review
        self.log("accept", seconds, len(self.work.masks), prefilled=True)
        kept = MadeMask(
            mask.rle,
            "automatic",
            seconds,
            clicks=0,
            points=[(float(mask.point_xy[0]), float(mask.point_xy[1]), 1)],
            predicted_iou=mask.predicted_iou,
            stability_score=mask.stability_score,
            crop_box_xyxy=[float(side) for side in mask.crop_box_xyxy],
        )
        self.work.masks.append(kept)

    def _delete(self, mask: GeneratedMask, reason: str) -> None:
        self.log(
            "delete", self.config.seconds_to_review, reason=reason, predicted_iou=round(float(mask.predicted_iou), 4)
        )
