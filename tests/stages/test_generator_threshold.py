"""The generator's threshold by precision: chosen on held-out pictures when the round of stage 3 is opened."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine import rle as rle_codec
from engine.masks.generator import GenerationResult
from engine.store import Store
from schemas.errors import WaitError
from schemas.rle import Rle
from schemas.round_metrics import NOTHING_PASSES
from schemas.tables import GROUND_TRUTH
from stages import generator_threshold
from stages.fully_automatic import FullyAutomaticWorker
from stages.rounds import tick
from tests.stages.workspaces import ALL_MASKS, make_workspace


def _workspace(folder: Path, *, precision: float, holdout: int = 2) -> Store:
    store = make_workspace(
        folder, images=6, holdout=holdout, fully_automatic={"precision": precision, "generator": ALL_MASKS}
    )
    for stage in ("assisted_manual", "semi_automatic"):
        while tick(store, stage).state == "advanced":
            pass
    return store


class _HalfRight:
    """Finds each object of an image with a predicted IoU of 0.8, and beside each a mask of nothing with 0.4."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def generate(self, image: np.ndarray) -> GenerationResult:
        row = next(
            row for row in self._store.images().to_pylist() if (self._store.load_image(row["image_id"]) == image).all()
        )
        masks = []
        for truth in self._store.read_image(GROUND_TRUTH, row["image_id"]).to_pylist():
            nothing = np.zeros(image.shape[:2], dtype=bool)
            nothing[-3:, :3] = True
            for rle, score in ((Rle.of_row(truth), 0.8), (rle_codec.encode(nothing), 0.4)):
                masks.append(replace(rle_codec.measured(rle), predicted_iou=score))
        return GenerationResult(masks, {}, {}, 0.0, None)


@pytest.mark.parametrize(("precision", "threshold"), [(0.7, 0.8), (0.3, 0.4)])
def test_it_is_the_lowest_that_has_the_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: float, threshold: float
) -> None:
    """The 6 masks of objects tell a precision of .785, the 12 masks of all one of .327, by their Wilson bounds."""
    store = _workspace(tmp_path, precision=precision)
    monkeypatch.setattr(generator_threshold, "MaskGenerator", lambda _predictor, _config: _HalfRight(store))
    opened = tick(store, "fully_automatic")
    assert opened.action == "open"
    assert f"threshold {threshold:.3f}: precision" in opened.message
    (record,) = store.rounds("fully_automatic")
    chosen = record.metrics.generator_threshold
    assert chosen is not None
    assert (chosen.threshold, chosen.images, chosen.objects) == (threshold, 2, 6)
    worker = FullyAutomaticWorker(store.workspace, 1)
    assert worker.generator_config.pred_iou_thresh == threshold
    while tick(store, "fully_automatic").state == "advanced":
        pass
    (record,) = store.rounds("fully_automatic")
    assert record.metrics.generator_threshold == chosen, "it stays with the round"
    names = {row["generator_config"] for row in store.read_table("generation").to_pylist()}
    assert worker.generator_config.config_hash() in names


def test_a_precision_out_of_reach_lets_no_mask_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = _workspace(tmp_path, precision=0.9)

    class _Wrong(_HalfRight):
        def generate(self, image: np.ndarray) -> GenerationResult:
            found = super().generate(image)
            return GenerationResult(found.masks[1::2], {}, {}, 0.0, None)

    monkeypatch.setattr(generator_threshold, "MaskGenerator", lambda _predictor, _config: _Wrong(store))
    tick(store, "fully_automatic")
    (record,) = store.rounds("fully_automatic")
    chosen = record.metrics.generator_threshold
    assert chosen is not None
    assert chosen.threshold == NOTHING_PASSES
    assert FullyAutomaticWorker(store.workspace, 1).generator_config.pred_iou_thresh == 1.0


def test_without_held_out_images_the_way_out_is_named(tmp_path: Path) -> None:
    store = _workspace(tmp_path, precision=0.5, holdout=0)
    with pytest.raises(WaitError, match=r"needs held-out images with ground truth, and there are none"):
        tick(store, "fully_automatic")
