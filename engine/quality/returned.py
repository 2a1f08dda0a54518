"""Images that a gate of quality sent back to annotators, with the masks that they find there when they come again."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.labeling.folder import LabelingFolder, read_json, write_json
from engine.labeling.published import Prefilled
from schemas.config import STAGES, Stage
from schemas.tables import Round

_FILE = "returned.json"


@dataclass(frozen=True)
class ReturnedImage:
    """An image whose masks of a round were taken out of the tables. masks: those to keep, mend or delete next time."""

    image_id: int
    stage: Stage
    round: int
    full_hw: tuple[int, int]
    masks: tuple[Prefilled, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        return {
            "image_id": str(self.image_id),
            "stage": self.stage,
            "round": self.round,
            "full_hw": list(self.full_hw),
            "masks": [one.to_json() for one in self.masks],
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "ReturnedImage":
        full_hw = (int(record["full_hw"][0]), int(record["full_hw"][1]))
        masks = tuple(Prefilled.from_json(one, full_hw) for one in record["masks"])
        return cls(int(record["image_id"]), record["stage"], int(record["round"]), full_hw, masks)


def read_returned(folder: LabelingFolder) -> list[ReturnedImage]:
    """All that ever were, in the order in which they were sent back."""
    return [ReturnedImage.from_json(record) for record in read_json(folder.root / _FILE, [])]


def add_returned(folder: LabelingFolder, images: Sequence[ReturnedImage]) -> None:
    """An image that was sent back from the same round before keeps its first record: sending it back twice is once."""
    known = read_returned(folder)
    there = {(image.image_id, image.stage, image.round) for image in known}
    fresh = [image for image in images if (image.image_id, image.stage, image.round) not in there]
    if fresh:
        write_json(folder.root / _FILE, [image.to_json() for image in (*known, *fresh)])


def waiting(images: Sequence[ReturnedImage], rounds: Sequence[Round]) -> list[ReturnedImage]:
    """Those that no later round of people has taken up; each image once, as it was sent back last."""

    def order(stage: Stage, number: int) -> tuple[int, int]:
        return STAGES.index(stage), number

    latest = {image.image_id: image for image in images}
    taken_up: dict[int, tuple[int, int]] = {}
    for record in rounds:
        if record.stage != STAGES[-1]:
            for image_id in record.image_ids:
                taken_up[image_id] = max(taken_up.get(image_id, (0, 0)), order(record.stage, record.round))
    return [
        image for image in latest.values() if taken_up.get(image.image_id, (0, 0)) <= order(image.stage, image.round)
    ]
