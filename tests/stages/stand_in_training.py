"""A workspace whose round is to be retrained, and a stand-in for the training that moves one weight."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.evaluation.model_scores import ModelScores
from engine.evaluation.scores import PromptScores
from engine.keys import content_key
from engine.store import Store
from model.encoder_configs import EfficientNetConfig
from model.registry import ModelInfo, find_model, list_models, model_roots
from model.sam import Sam
from model.storage import load_model
from schemas.rle import Rle
from schemas.tables import GROUND_TRUTH, Round, table_of
from stages.retraining import Retrained, retrain
from tests.rows import mask_row
from tests.stages.test_step_rates import a_report
from tests.stages.workspaces import make_workspace

STAGE = "assisted_manual"
ENCODER = EfficientNetConfig(width=0.25, depth=0.3, img_size=64)  # of the start model


class Training:
    """Stands in for `train`: it moves the IoU token to 1 and remembers what it was told."""

    def __init__(self) -> None:
        self.sam: Sam | None = None
        self.source: Any = None
        self.options: dict[str, Any] = {}
        self.config: Any = None

    def __call__(self, sam: Sam, source: Any, config: Any, **options: Any) -> None:
        self.sam, self.source, self.config, self.options = sam, source, config, options
        with torch.no_grad():
            sam.mask_decoder.iou_token.weight.fill_(1.0)
        options["checkpoints"].mkdir(parents=True)
        options["on_step"](a_report(step=1, loss=0.123, ious=(0.5, 0.75), seconds=1.5))


def all_weights_matter(sam: Sam, source: Any, *, looks: int, on_look: Any, **_: Any) -> dict[str, torch.Tensor]:
    """Stands in for `measure_importance`: alike."""
    on_look(looks)
    return {name: torch.ones_like(value) for name, value in sam.named_parameters()}


def annotated(
    folder: Path, *, images: int = 5, holdout: int = 1, steps: int = 2, **settings: Any
) -> tuple[Store, Round]:
    """A workspace of pictures whose ground truth people drew in a first round."""
    asked = {"steps": steps, "masks_per_image": 2} | settings
    store = make_workspace(folder, images=images, holdout=holdout, retraining=asked)
    ids = tuple(row["image_id"] for row in store.images().to_pylist() if row["split"] == "train")
    for shard in store.shards():
        place = {"shard": shard, "stage": STAGE, "round": 1}
        rows = [
            mask_row(Rle.of_row(row), image_id=row["image_id"], **place, origin="manual", annotator="hand")
            for row in store.read_shard(GROUND_TRUTH, shard).to_pylist()
            if row["image_id"] in ids
        ]
        store.replace_shard(STAGE, shard, table_of(STAGE, rows), round=1, key=content_key(shard))
    record = Round(STAGE, 1, ids, "annotated", find_model("tiny", model_roots(store.workspace)).model_id)
    store.put_round(record)
    return store, record


def retrained(store: Store, record: Round, told: list[Any] | None = None) -> Retrained:
    def progress(what: str, done: int, total: int, note: str = "") -> None:
        if told is not None:
            told.append((what, done, total, note))

    return retrain(store, store.files.settings(), record, progress)


def made_here(store: Store) -> ModelInfo:
    (made,) = (model for model in list_models([store.workspace / "models"]) if model.name.startswith(STAGE))
    return made


def token(store: Store, model_id: str) -> float:
    sam = load_model(model_id, model_roots(store.workspace))[0]
    return float(sam.mask_decoder.iou_token.weight.detach().mean())


def scores(values: Sequence[float]) -> ModelScores:
    of = np.array(values)
    return ModelScores(*(PromptScores(of, of, of) for _ in range(3)))
