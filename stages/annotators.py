"""The simulated annotator, which stands in for people.

It reads ground-truth masks, clicks as the paper samples clicks and keeps a simulated clock. What
it makes says so: every row carries the annotator's name, "simulated".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from engine import rle as rle_codec
from engine.annotation import Event, EventKind, ImageWork
from schemas.config import SIMULATED, AnnotatorConfig
from schemas.mask import Mask, Prompt
from schemas.rle import Rle
from schemas.tables import Origin
from stages.clicks import Clicked, PromptablePredictor, click_until, logits_of_mask

# Below this IoU with every object a prefilled mask is quicker made anew than edited.
EDIT_IOU = 0.5


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
        prefilled: Sequence[Mask] = (),
        clock_s: float = 0.0,
        model_id: str = "",
    ) -> ImageWork:
        """Review the prefilled masks of an image, then add its objects that no mask shows yet.

        targets: ground truth. prefilled: confident masks of the generator (semi-automatic stage). clock_s: time on the
        annotator's clock at which this image comes up. model_id: of the model that answers clicks. An image without
        ground truth is skipped, and an event says so.
        """
        session = _Session(self.config, image, rng, ImageWork(clock_s=clock_s), model_id)
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
    mask: Mask
    target: Rle


@dataclass
class _Session:
    """An annotator at one image. Methods that can end the image early return False then (the 30 second rule)."""

    config: AnnotatorConfig
    image: PromptableImage
    rng: np.random.Generator
    work: ImageWork
    model_id: str

    def log(self, kind: EventKind, seconds: float, mask: int | None = None, **detail: Any) -> None:
        self.work.clock_s += seconds
        self.work.events.append(Event(kind, self.work.clock_s, seconds, mask, detail))

    def review(self, prefilled: Sequence[Mask], targets: Sequence[Rle]) -> list[_ToEdit]:
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

    def add_missing(self, targets: Sequence[Rle]) -> None:
        """Make a mask of each object that has none, most prominent first, until one took too long."""
        for target in targets:
            made = [mask.rle for mask in self.work.masks]
            if made and rle_codec.iou_matrix(made, [target]).max() >= self.config.accept_iou:
                continue
            if not self._finish(target, "manual", self.config.seconds_to_find, None):
                return

    def _finish(self, target: Rle, origin: Origin, seconds: float, start: Mask | None) -> bool:
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
        made = rle_codec.measured(final if accepted else target)
        if accepted:
            prompt = Prompt(tuple(clicked.points), mask=start.rle if start else None)
            made = replace(made, prompt=prompt, predicted_iou=clicked.predicted_iou, model_id=self.model_id)
        config_hash = start.generator_config if start else ""
        made = replace(made, origin=origin, generator_config=config_hash, seconds=seconds, clicks=clicked.clicks)
        self.work.masks.append(made)
        if seconds <= config.seconds_per_mask_limit:
            return True
        self.log("skip", 0.0, reason="a mask took over the limit", limit_s=config.seconds_per_mask_limit)
        return False

    def _as_start(self, mask: Mask) -> Clicked:
        """What the model is told of a mask to mend: the mask itself and its points, the middle of its box for these."""
        points = list(mask.prompt.points)
        if mask.prompt.box is not None:
            x0, y0, x1, y1 = mask.prompt.box
            points.append(((x0 + x1) / 2, (y0 + y1) / 2, 1))
        shape = rle_codec.decode(mask.rle)
        logits = logits_of_mask(shape, input_hw=self.image.input_hw, image_size=self.image.image_size)
        return Clicked(shape, points, mask.predicted_iou, logits)

    def _log_clicks(self, clicked: Clicked, index: int, seconds_before: float) -> None:
        """One event a click; the first carries the time to find the object."""
        own = clicked.points[len(clicked.points) - clicked.clicks :]
        for number, (x, y, label) in enumerate(own):
            before = seconds_before if number == 0 else 0.0
            self.log("prompt", before + self.config.seconds_per_click, index, x=x, y=y, label=label)

    def _keep(self, mask: Mask) -> None:
        seconds = self.config.seconds_to_review
        self.log("accept", seconds, len(self.work.masks), prefilled=True)
        self.work.masks.append(replace(mask, seconds=seconds, clicks=0))

    def _delete(self, mask: Mask, reason: str) -> None:
        self.log(
            "delete", self.config.seconds_to_review, reason=reason, predicted_iou=round(float(mask.predicted_iou), 4)
        )
