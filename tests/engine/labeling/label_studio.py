"""What tests of publishing and collecting share: regions and annotations as Label Studio gives them, and a stand-in for
its server that can fail at any call."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from engine import rle
from engine.labeling.published import Prefilled, PublishedImage
from engine.labeling.regions import brush_region, scale_down
from schemas.errors import InputError, WaitError
from schemas.mask import Mask, Prompt
from schemas.rle import Rle

FULL, SHOWN = (40, 60), (20, 30)


def rectangle(x0: int, y0: int, x1: int, y1: int, hw: tuple[int, int] = FULL) -> Rle:
    """Right and bottom exclusive."""
    mask = np.zeros(hw, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return rle.encode(mask)


def generated(mask: Rle, predicted_iou: float = 0.9) -> Mask:
    y, x = np.argwhere(rle.decode(mask)).mean(axis=0)
    prompt = Prompt(points=((float(x), float(y), 1),))
    return replace(
        rle.measured(mask), prompt=prompt, predicted_iou=predicted_iou, stability_score=0.97, origin="automatic"
    )


def published(*masks: Rle, image_id: int = 7, task: int = 1) -> PublishedImage:
    prefilled = tuple(Prefilled(f"prefilled-{number}", generated(mask)) for number, mask in enumerate(masks))
    return PublishedImage(image_id, task, SHOWN, FULL, "model", "settings" if masks else "", prefilled)


def region(mask: Rle, region_id: str, **prompted: Any) -> dict[str, Any]:
    """A region of a mask of the full picture; prompted: what the model backend noted."""
    made: dict[str, Any] = brush_region(scale_down(mask, SHOWN), region_id=region_id, meta=prompted or None)
    return made


def prompted(t_first: float, t_last: float, *, points: int = 1) -> dict[str, Any]:
    clicks = [[50.0, 25.0, 1]] * points
    return {
        "t_first": t_first,
        "t_last": t_last,
        "n_points": points,
        "points": clicks,
        "box": None,
        "predicted_iou": 0.8,
        "model_id": "model",
    }


def annotation(*regions: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "id": 1,
        "result": list(regions),
        "was_cancelled": False,
        "lead_time": 60.0,
        "completed_by": 3,
        "created_at": "2026-01-01T10:00:00.000000Z",
        "updated_at": "2026-01-01T10:00:00.000000Z",
    } | fields


def task(*annotations: dict[str, Any]) -> dict[str, Any]:
    return {"id": 1, "annotations": list(annotations)}


class FakeLabelStudio:
    """The methods of `LabelStudioClient` that publishing and collecting use, over tasks in memory.

    fail_at: number of the call that fails, counted from 1; lost_answer: the call is carried out before it fails.
    forget_predictions: the first import drops them. connected: model backends.
    """

    url = "http://label-studio"

    def __init__(self) -> None:
        self.stored: dict[int, dict[str, Any]] = {}
        self.settings: dict[str, Any] = {}
        self.calls = 0
        self.fail_at = 0
        self.lost_answer = False
        self.forget_predictions = False
        self.gone = False
        self.titles: dict[str, int] = {}
        self.connected: list[dict[str, Any]] = []

    def projects(self) -> dict[str, int]:
        self._answer(self._call())
        return self.titles

    def backends(self, project: int) -> list[dict[str, Any]]:
        self._answer(self._call())
        return self.connected

    def _call(self) -> bool:
        """Whether this call fails after it is carried out."""
        self.calls += 1
        if self.gone:
            raise InputError("no project 5; make it anew with: sam-engine labeling setup")
        if self.calls == self.fail_at and not self.lost_answer:
            raise WaitError("Label Studio does not answer")
        return self.calls == self.fail_at

    def _answer(self, fails: bool) -> None:
        if fails:
            raise WaitError("Label Studio does not answer")

    def import_tasks(self, project: int, tasks: Sequence[dict[str, Any]]) -> list[int]:
        fails = self._call()
        ids = []
        for body in tasks:
            number = len(self.stored) + 1
            predictions = [] if self.forget_predictions else copy.deepcopy(body.get("predictions", []))
            self.stored[number] = {
                "id": number,
                "data": body["data"],
                "predictions": predictions,
                "annotations": [],
                "total_annotations": 0,
                "cancelled_annotations": 0,
                "updated_at": f"2026-01-01T09:00:00.{number:06d}Z",
            }
            ids.append(number)
        self.forget_predictions = False
        self._answer(fails)
        return ids

    def tasks(self, project: int, *, updated_since: str = "", whole: bool = True) -> Iterator[dict[str, Any]]:
        fails = self._call()
        found = [copy.deepcopy(task) for task in self.stored.values() if task["updated_at"] >= updated_since]
        yield from found[: len(found) // 2]
        self._answer(fails)  # in the middle of the list
        yield from found[len(found) // 2 :]

    def task(self, number: int) -> dict[str, Any]:
        self._answer(self._call())
        return copy.deepcopy(self.stored[number])

    def add_prediction(self, number: int, prediction: dict[str, Any]) -> None:
        fails = self._call()
        self.stored[number]["predictions"].append(prediction)
        self._answer(fails)

    def want_people(self, number: int, people: int) -> None:
        fails = self._call()
        self.stored[number]["overlap"] = people
        self._answer(fails)

    def put_data(self, number: int, data: dict[str, Any]) -> None:
        fails = self._call()
        self.stored[number]["data"] = data
        self._answer(fails)

    def delete_task(self, number: int) -> None:
        del self.stored[number]

    def project(self, project: int) -> dict[str, Any]:
        self._answer(self._call())
        return self.settings

    def update_project(self, project: int, **settings: Any) -> None:
        fails = self._call()
        self.settings |= settings
        self._answer(fails)

    def submit(self, number: int, *regions: dict[str, Any], at: str, **fields: Any) -> None:
        """A person's work."""
        stored = self.stored[number]
        stored["annotations"].append(annotation(*regions, updated_at=at, **fields))
        cancelled = sum(each["was_cancelled"] for each in stored["annotations"])
        stored["total_annotations"] = len(stored["annotations"]) - cancelled
        stored["cancelled_annotations"] = cancelled
        stored["updated_at"] = at
