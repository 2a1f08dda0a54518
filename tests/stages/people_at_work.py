"""A stand-in for Label Studio under the stages, and for the person who marks all objects of a picture there."""

from typing import Any

import pytest

from engine.labeling import tool
from engine.labeling.regions import brush_region
from engine.store import Store
from schemas.rle import Rle
from schemas.tables import GROUND_TRUTH
from tests.engine.labeling.label_studio import FakeLabelStudio, prompted


def stand_in(monkeypatch: pytest.MonkeyPatch) -> FakeLabelStudio:
    """A Label Studio with the projects of both stages, which every stage talks to from now on."""
    made = FakeLabelStudio()
    made.titles = {"workspace: assisted manual": 5, "workspace: semi automatic": 6}
    monkeypatch.setattr(tool, "LabelStudioClient", lambda credentials: made)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "token")
    return made


def ground_truth(store: Store, image_id: int) -> list[Any]:
    return [Rle.of_row(row) for row in store.read_image(GROUND_TRUTH, image_id).to_pylist()]


def annotate(server: FakeLabelStudio, store: Store, number: int, *, at: str) -> None:
    """A person marks all objects of a picture: the first with two clicks, the others with the brush."""
    image_id = int(server.stored[number]["data"]["image_id"])
    clicked = prompted(100.0, 107.0, points=2) | {"model_id": store.rounds()[-1].model_before}
    regions = [
        brush_region(mask, region_id=f"new-{n}", meta=clicked if n == 0 else None)
        for n, mask in enumerate(ground_truth(store, image_id))
    ]
    server.submit(number, *regions, at=at, lead_time=47.0)
