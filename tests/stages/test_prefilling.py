"""Prefill detectors by name, and what a round makes of one that another distribution brings."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.masks.named_filters import MASK_FILTERS
from engine.workspace import Workspace
from model.object_detector import Detections
from model.predictor import Predictor
from schemas.config import CONFIG_FILE, PREFILL_DETECTORS_GROUP, SemiAutomaticConfig
from schemas.errors import InputError
from schemas.mask import Mask
from schemas.presets import MASK_FILTERS_GROUP
from stages.prefill import PrefillSettings, masks_of_boxes
from stages.prefilling import PREFILL_DETECTORS, PrefillDetector, RoundWork
from stages.records import ShardRows, Where
from stages.rounds import tick
from stages.semi_automatic import SemiAutomaticWorker
from stages.workers import Picture
from tests.distributions import install
from tests.stages.workspaces import ALL_MASKS, make_workspace, shapes, tiny_sam

BOX = (4.0, 5.0, 40.0, 30.0)


class OneBox:
    """Finds the same box on every picture."""

    key = "0123456789abcdef"

    def __init__(self, work: RoundWork) -> None:
        self._predictor = Predictor(work.sam)
        self._settings = PrefillSettings.of(work.config.semi_automatic)

    def masks(self, picture: Picture, where: Where, rows: ShardRows) -> Sequence[Mask]:
        self._predictor.set_image(picture.pixels)
        found = masks_of_boxes(self._predictor, Detections(torch.tensor([BOX]), torch.ones(1)), self._settings)
        return [replace(each.mask, model_id=where.model_id, generator_config=self.key) for each in found]

    def metrics(self) -> dict[str, Any]:
        return {"prefill": None, "boxes": 1}


def test_a_round_prefills_what_a_detector_of_another_distribution_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", monkeypatch, "one-box", {PREFILL_DETECTORS_GROUP: {"one_box": f"{__name__}:OneBox"}})
    monkeypatch.setitem(PREFILL_DETECTORS._loaded, "one_box", OneBox)
    semi = {"rounds": 1, "prefill": "one_box", "generator": ALL_MASKS}
    store = make_workspace(tmp_path, images=4, assisted_manual={"rounds": 1}, semi_automatic=semi)
    while tick(store, "assisted_manual").state != "done":
        pass
    settings = (store.workspace / CONFIG_FILE).read_text()
    # whatever touches an object is kept as it was prefilled
    (store.workspace / CONFIG_FILE).write_text(settings.replace("max_clicks: 1", "accept_iou: 0.0"))
    assert tick(store, "semi_automatic").round == 1
    worker = SemiAutomaticWorker(store.workspace, 1)
    rows = [row for shard, ids in worker.images_by_shard.items() for row in worker.make_rows(shard, ids).masks.values()]
    prefilled = [row for row in rows if row["generator_config"] == OneBox.key]
    assert prefilled
    assert all(row["box"] == pytest.approx(BOX) and not row["points"] for row in prefilled)
    assert worker.metrics()["boxes"] == 1


@pytest.mark.parametrize("name", list(PREFILL_DETECTORS))
def test_what_is_built_in_fits_the_protocol(name: str) -> None:
    members = {name for name in vars(PrefillDetector) if not name.startswith("_")}
    assert members == {"key", "masks", "metrics"}
    assert members <= set(dir(PREFILL_DETECTORS[name]))
    assert SemiAutomaticConfig(prefill=name).prefill == name


def test_an_unknown_detector_is_an_error_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "engine.yaml").write_text("semi_automatic: {prefill: yolo}\n")
    with pytest.raises(
        InputError, match=r"semi_automatic.prefill: choose one of detector, generator, grounding_dino, found 'yolo'"
    ):
        Workspace(tmp_path).settings()


def test_filters_of_the_generator_sort_out_prefilled_masks_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def small(masks: Sequence[Mask], /, *, below_px: int = 10**6) -> list[bool]:
        return [mask.area < below_px for mask in masks]

    install(tmp_path, monkeypatch, "small", {MASK_FILTERS_GROUP: {"small": "no.such:place"}})
    monkeypatch.setitem(MASK_FILTERS._loaded, "small", small)
    predictor = Predictor(tiny_sam())
    predictor.set_image(shapes(0)[0])
    boxes = Detections(torch.tensor([BOX, (0.0, 0.0, 12.0, 12.0)]), torch.ones(2))

    def masks(**settings: Any) -> list[Mask]:
        config = SemiAutomaticConfig(generator=ALL_MASKS | settings)
        return [each.mask for each in masks_of_boxes(predictor, boxes, PrefillSettings.of(config))]

    plain = masks()
    largest = max(mask.area for mask in plain)
    assert masks(filters={"small": {}}) == plain
    assert masks(filters={"small": {"below_px": largest}}) == [mask for mask in plain if mask.area < largest]


def test_settings_without_filters_are_named_as_before_there_were_any() -> None:
    assert "filters" not in PrefillSettings.of(SemiAutomaticConfig()).to_dict()
