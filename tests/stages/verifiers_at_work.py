"""Rounds whose masks a verifier can tell good from bad, and people who answer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from engine import rle as rle_codec
from engine.labeling import tool
from engine.labeling.folder import Scope
from engine.quality.gate_records import Answer, GateRecords
from engine.quality.gate_sample import GateSample
from engine.store import Store
from model.registry import list_models, model_roots
from schemas.stages import Stage
from schemas.tables import Round, table_of
from stages import verifier
from stages.sure_threshold import SureFrom
from stages.verifier import RoundVerifier
from stages.verifier_thresholds import VerifierThresholds
from tests.engine.labeling.label_studio import FakeLabelStudio
from tests.rows import mask_row
from tests.stages.workspaces import make_workspace

STAGE: Stage = "assisted_manual"


def stand_in(monkeypatch: pytest.MonkeyPatch) -> FakeLabelStudio:
    """Label Studio with the projects of the gates; a verifier learns from 50 answers there."""
    made = FakeLabelStudio()
    made.titles = {f"workspace: {gate}": 7 for gate in ("verification", "exhaustivity")}
    monkeypatch.setattr(tool, "LabelStudioClient", lambda credentials: made)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "token")
    monkeypatch.setattr(verifier, "MIN_ANSWERS", 50)
    return made


def solid(rng: np.random.Generator) -> np.ndarray:
    mask = np.zeros((48, 56), dtype=bool)
    x, y, side = rng.integers(0, 30), rng.integers(0, 25), rng.integers(12, 20)
    mask[y : y + side, x : x + side] = True
    return mask


def shattered(rng: np.random.Generator) -> np.ndarray:
    return solid(rng) & (rng.random((48, 56)) < 0.4)


def rows_of(store: Store, number: int, kinds: Sequence[Any]) -> list[dict[str, Any]]:
    """Masks of a round, of each image one of each of the kinds."""
    rng, found = np.random.default_rng(number), []
    for row in store.images().to_pylist():
        for kind in kinds:
            place = {"image_id": row["image_id"], "shard": row["shard"], "stage": STAGE, "round": number}
            found.append(mask_row(rle_codec.encode(kind(rng)), origin="manual", annotator="label_studio:3", **place))
    return found


def verification_records(store: Store, number: int) -> GateRecords:
    return GateRecords(store, Scope("verification", STAGE, number))


def forget_the_draw(store: Store, number: int) -> None:
    """As if the gate had been killed before what it asks was kept."""
    for table in ("gates", "questions"):
        where = {"gate": "verification", "stage": STAGE, "round": number}
        store.replace_rows(table, table_of(table, []), **where)


def make_store(folder: Path, *, answered: int = 10, **labeling: Any) -> Store:
    """Two annotated rounds; the gate of the first has `answered` answers an image: whole masks good, others bad."""
    settings = {"verify_frac": 1.0, "images_per_chunk": 2, "verifier_precision": 0.9} | labeling
    store = make_workspace(folder, labeling=settings)
    ids = tuple(store.images()["image_id"].to_pylist())
    model = list_models(model_roots(store.workspace))[0].model_id
    for number in (1, 2):
        store.put_round(Round(STAGE, number, ids, "annotated", model_before=model))
    kinds = [solid, shattered] * (answered // 2)
    if kinds:
        rows = rows_of(store, 1, kinds)
        put_masks(store, 1, table_of(STAGE, rows))
        gate = verification_records(store, 1)
        gate.put_sample(GateSample(table_of(STAGE, rows)))
        choices = ["good", "bad"] * (len(rows) // 2)
        gate.put_answers(
            {row["mask_id"]: Answer(choice, "", None, "") for row, choice in zip(rows, choices, strict=True)}
        )
    masks = rows_of(store, 2, [solid, solid, solid])
    masks[0] = rows_of(store, 3, [shattered])[0] | {"round": 2}
    put_masks(store, 2, table_of(STAGE, masks))
    return store


def put_masks(store: Store, number: int, table: pa.Table) -> None:
    for shard in store.shards():
        rows = table.filter(pc.equal(table["shard"], shard))
        store.replace_shard(STAGE, shard, rows, round=number, key=f"{number:016x}")


def asked(server: FakeLabelStudio) -> list[int]:
    return [int(task["data"]["mask_id"]) for task in server.stored.values()]


def answer(server: FakeLabelStudio, number: int, choice: str) -> None:
    region = {"id": "c", "type": "choices", "from_name": "verdict", "to_name": "image", "value": {"choices": [choice]}}
    server.submit(number, region, at=f"2026-03-01T00:00:{number:02d}Z", lead_time=4.0)


def answer_rightly(server: FakeLabelStudio, store: Store) -> None:
    broken = {row["mask_id"] for row in store.read_rows(STAGE, round=2).to_pylist() if row["area"] < 140}
    for number, task in server.stored.items():
        if not task["annotations"]:
            answer(server, number, "bad" if int(task["data"]["mask_id"]) in broken else "good")


def of_round(store: Store, number: int = 2, *, stage: Stage = STAGE, told: list[Any] | None = None) -> RoundVerifier:
    """The verifier at the gate of a round."""

    def progress(what: str, done: int, total: int, note: str = "") -> None:
        if told is not None:
            told.append((what, done, total))

    return RoundVerifier(store, store.files.settings(), Round(stage, number, ()), progress)


def with_answers(made: RoundVerifier, *, good: int, bad: int, scores: Sequence[float] = ()) -> RoundVerifier:
    """As if earlier gates had given these answers and a verifier gave these scores: sure from .8 on, and up to .1."""
    answered = verifier._Answered("verification-x-1", GateSample(pa.table({})), [], [True] * good + [False] * bad)
    sure = VerifierThresholds(SureFrom(0.8, 40, 40), SureFrom(0.9, 30, 29))
    made.__dict__ |= {
        "_answered": [answered],
        "_trained": lambda precision: verifier.TrainedVerifier(lambda _: torch.tensor(scores), sure, {}),  # type: ignore[arg-type]
        "_features": lambda gate, sample: torch.zeros(len(sample.mask_ids), 1),
        "key": lambda precision: "0123456789abcdef",
    }
    return made


def damage(store: Store, count: int) -> list[int]:
    """Cut off pictures; returns their ids."""
    rows = store.images().sort_by("image_id").to_pylist()[:count]
    for row in rows:
        path = store.workspace / row["path"]
        path.write_bytes(path.read_bytes()[:60])
    return [row["image_id"] for row in rows]
