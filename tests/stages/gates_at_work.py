"""A round of four pictures that people annotated, and a stand-in for the Label Studio in which its gates ask."""

from pathlib import Path
from typing import Any

import pytest

from engine.keys import content_key
from engine.labeling import tool
from engine.store import Store
from schemas.rle import Rle
from schemas.stages import Stage
from schemas.tables import GROUND_TRUTH, Round, table_of
from tests.engine.labeling.label_studio import FakeLabelStudio
from tests.rows import mask_row
from tests.stages.workspaces import make_workspace

STAGE: Stage = "assisted_manual"
PROJECT_URL = "http://label-studio/projects/7/data"


def label_studio(monkeypatch: pytest.MonkeyPatch) -> FakeLabelStudio:
    made = FakeLabelStudio()
    made.titles = {f"workspace: {gate}": 7 for gate in ("verification", "exhaustivity", "audit")}
    monkeypatch.setattr(tool, "LabelStudioClient", lambda credentials: made)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "token")
    return made


def annotated_round(folder: Path, **labeling: Any) -> Store:
    """Three masks on each of four pictures; gates ask about all, two tasks at a time."""
    settings = {"verify_frac": 1.0, "images_per_chunk": 2, "verifier_precision": None} | labeling
    store = make_workspace(folder, images=4, holdout=0, labeling=settings)
    for shard in store.shards():
        place = {"shard": shard, "stage": STAGE, "round": 1}
        rows = [
            mask_row(Rle.of_row(row), image_id=row["image_id"], **place, origin="manual", annotator="hand")
            for row in store.read_shard(GROUND_TRUTH, shard).to_pylist()
        ]
        store.replace_shard(STAGE, shard, table_of(STAGE, rows), round=1, key=content_key(shard))
    ids = tuple(store.images()["image_id"].to_pylist())
    store.put_round(Round(STAGE, 1, ids, "annotated", "model"))
    return store


def answer(server: FakeLabelStudio, number: int, choice: str, *, comment: str = "") -> None:
    """A person chooses, and may say more."""
    given = {"id": "c", "type": "choices", "from_name": "verdict", "to_name": "image", "value": {"choices": [choice]}}
    said = {"id": "t", "type": "textarea", "from_name": "comment", "to_name": "image", "value": {"text": [comment]}}
    regions = [given, said] if comment else [given]
    server.submit(number, *regions, at=f"2026-03-01T00:00:{number:02d}Z", lead_time=4.0)


def subjects(server: FakeLabelStudio, name: str = "image_id") -> list[int]:
    return [int(task["data"][name]) for task in server.stored.values()]
