"""The generator's threshold by precision: chosen on held-out pictures when the round of stage 3 is opened."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from engine import rle as rle_codec
from engine.masks.generator import GenerationResult
from engine.store import Store
from model.predictor import Predictor
from model.registry import find_model, model_roots
from schemas.config import CONFIG_FILE
from schemas.errors import WaitError
from schemas.presets import GeneratorConfig
from schemas.rle import Rle
from schemas.round_metrics import NOTHING_PASSES
from schemas.stages import Stage
from schemas.tables import GROUND_TRUTH
from stages import generator_threshold
from stages.fully_automatic import FullyAutomaticWorker
from stages.generator_threshold import threshold_for_precision, threshold_of_round
from stages.measuring import held_out_truth
from stages.progress import silent
from stages.rounds import tick
from tests.stages.workspaces import ALL_MASKS, SETTINGS, make_workspace, tiny_sam


def _workspace(folder: Path, *, precision: float, holdout: int = 2) -> Store:
    """Whose first two stages are through."""
    settings = {"assisted_manual": {"rounds": 1}, "fully_automatic": {"generator": ALL_MASKS}}
    through: tuple[Stage, ...] = ("assisted_manual", "semi_automatic")
    store = make_workspace(folder, images=6, holdout=holdout, through=through, **settings)
    asked = SETTINGS | settings | {"fully_automatic": {"precision": precision, "generator": ALL_MASKS}}
    (store.workspace / CONFIG_FILE).write_text(yaml.safe_dump(asked), encoding="utf-8")
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


def test_the_generator_runs_once_on_each_picture_without_its_threshold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each picture the masks are matched best first, whatever order they come in."""
    store = make_workspace(tmp_path, images=6, holdout=4)
    monkeypatch.setattr(generator_threshold, "MEASURED_IMAGES", 3)
    made: list[Any] = []
    right = _HalfRight(store)

    class Mixed:
        def __init__(self, predictor: Predictor, config: GeneratorConfig) -> None:
            made.append((predictor.sam, config))

        def generate(self, image: np.ndarray) -> GenerationResult:
            found = right.generate(image)
            twin = replace(found.masks[0], predicted_iou=0.9)  # of the first object, and better
            return replace(found, masks=[*found.masks, twin])

    monkeypatch.setattr(generator_threshold, "MaskGenerator", Mixed)
    chosen: list[Any] = []

    def choose(scores: list[float], hits: list[bool], **measured: Any) -> str:
        chosen.append((scores, hits, measured))
        return "chosen"

    monkeypatch.setattr(generator_threshold, "choose_threshold", choose)
    told: list[Any] = []
    config, sam = GeneratorConfig.model_validate(ALL_MASKS | {"pred_iou_thresh": 0.7}), tiny_sam()
    found = threshold_for_precision(store, sam, config, precision=0.6, seed=3, progress=lambda *what: told.append(what))
    assert found == "chosen"
    assert made == [(sam, config.model_copy(update={"pred_iou_thresh": 0.0}))]
    scores, hits, measured = chosen[0]
    assert scores == [0.9, 0.8, 0.8, 0.8, 0.4, 0.4, 0.4] * 3
    assert hits == [True, False, True, True, False, False, False] * 3
    assert measured == {"objects": 9, "images": 3, "precision": 0.6}
    assert told == [("choosing the generator's threshold", done, 3) for done in (1, 2, 3)]
    truth = held_out_truth(store, images=3, seed=3)
    assert truth.keys() != held_out_truth(store, images=3, seed=0).keys(), "of this seed"


def test_pictures_that_cannot_be_read_any_more_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_workspace(tmp_path, images=4, holdout=2)
    config, sam = GeneratorConfig.model_validate(ALL_MASKS), tiny_sam()
    monkeypatch.setattr(generator_threshold, "choose_threshold", lambda *_, **measured: measured)
    for images in (1, 0):
        row = [row for row in store.images().to_pylist() if row["split"] == "holdout"][images]
        path = store.workspace / row["path"]
        path.write_bytes(path.read_bytes()[:60])
        found: Any = threshold_for_precision(store, sam, config, precision=0.6, seed=3, progress=silent)
        assert found == ({"objects": 3, "images": 1, "precision": 0.6} if images else None)


def test_without_a_stated_precision_nothing_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_workspace(tmp_path, images=2, holdout=1)
    monkeypatch.setattr(generator_threshold, "load_model", None)
    info = find_model("tiny", model_roots(store.workspace))
    assert threshold_of_round(store, store.files.settings(), info, silent) is None


def test_a_round_asks_for_the_precision_of_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"precision": 0.7, "generator": ALL_MASKS}
    store = make_workspace(tmp_path, images=2, holdout=1, fully_automatic=settings, seed=5)
    asked: list[Any] = []

    def measured(*given: Any, **options: Any) -> None:
        asked.append((given, options))

    monkeypatch.setattr(generator_threshold, "threshold_for_precision", measured)
    monkeypatch.setattr(generator_threshold, "device_of", {"cpu": "meta"}.__getitem__)  # any machine has this one
    info, config = find_model("tiny", model_roots(store.workspace)), store.files.settings()
    with pytest.raises(WaitError, match=r"fully_automatic\.precision in .* needs held-out images"):
        threshold_of_round(store, config, info, silent)
    ((given, options),) = asked
    assert given[0] is store
    assert given[1].device.type == "meta"
    assert given[2] == config.fully_automatic.generator_config()
    assert options == {"precision": 0.7, "seed": 5, "progress": silent}


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
