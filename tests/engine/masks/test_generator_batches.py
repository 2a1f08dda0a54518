"""Batches of prompts and of crops: whatever goes together, the masks are the same."""

from typing import Any

import numpy as np
import pytest
import skimage.data
from torch import Tensor

from engine.masks import memory
from engine.masks.generator import MaskGenerator
from model.predictor import Predictor
from model.upscaling import Upscaling
from schemas.errors import InputError
from schemas.presets import GeneratorConfig, generator_preset
from tests.engine.masks.scripted import Scripted, box_mask, coordinates, real
from tests.peers.decoder_outputs import RegionMaps, StandInSam


class BatchedMaps(list[RegionMaps]):
    def split(self) -> "BatchedMaps":
        return self


class BatchedStandIn(StandInSam):
    """The stand-in for several pictures at once."""

    def encode(self, pixels: Tensor, /) -> Any:
        maps = [super(BatchedStandIn, self).encode(one[None]) for one in pixels]
        return maps[0] if len(maps) == 1 else BatchedMaps(maps)


def test_batches_do_not_change_masks() -> None:
    image = skimage.data.chelsea()
    expected = real(image, points_per_side=4).masks
    assert len(expected) > 3
    assert real(image, points_per_side=4, points_per_batch=3).masks == expected


def test_masks_that_are_spilled_early_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    image = skimage.data.chelsea()
    settings = {"points_per_side": 4, "box_nms_thresh": 0.8}
    expected = real(image, **settings).masks
    assert len(expected) > 3
    for budget in (1, 60_000):
        monkeypatch.setattr(memory, "WINDOW_MIB", budget / 2**20)
        assert real(image, **settings).masks == expected


def test_logits_are_asked_for_confident_masks_only() -> None:
    image = coordinates(30, 30)
    things = [box_mask((30, 30), 0, 0, 9, 9), box_mask((30, 30), 20, 20, 29, 29)]
    predictor = Scripted(image, lambda x, y, whole: [(things[0], 0.9), (things[1], 0.95), (things[1], 0.3)])
    MaskGenerator(predictor, GeneratorConfig(points_per_side=3, points_per_batch=6)).generate(image)
    assert predictor.asked == [12, 6]


def test_no_logits_are_asked_for_where_no_mask_is_confident() -> None:
    thing = box_mask((9, 9), 1, 1, 5, 5)
    predictor = Scripted(coordinates(9, 9), lambda x, y, whole: [(thing, 0.5)] * 3)
    MaskGenerator(predictor, GeneratorConfig(points_per_side=2)).generate(coordinates(9, 9))
    assert predictor.asked == []


@pytest.mark.parametrize("together", [2, 4])
def test_crops_that_are_encoded_together_give_what_each_gives_alone(together: int) -> None:
    images = [skimage.data.chelsea()[:200, :240], skimage.data.astronaut()[:300, :200], skimage.data.coffee()[:90]]
    settings = {"points_per_side": 2, "crop_n_layers": 1, "min_mask_region_area": 100}
    expected = [real(image, **settings) for image in images]
    generator = MaskGenerator(
        Predictor(BatchedStandIn()), generator_preset("library-default", crops_per_batch=together, **settings)
    )
    found = [generator.generate(image) for image in images]
    assert [one.masks for one in found] == [one.masks for one in expected]
    assert [one.dropped for one in found] == [one.dropped for one in expected]
    assert sum(len(one.masks) for one in found) > 10


def test_crops_are_encoded_as_many_together_as_the_settings_say() -> None:
    image = coordinates(40, 40)
    predictor = Scripted(image, lambda x, y, whole: [(np.zeros((40, 40), dtype=bool), 0.0)] * 3)
    MaskGenerator(predictor, GeneratorConfig(points_per_side=2, crop_n_layers=1, crops_per_batch=4)).generate(image)
    assert predictor.encoded == [4, 1]


def test_a_limit_on_memory_changes_batches_and_no_masks() -> None:
    image = skimage.data.chelsea()[:200, :240]
    settings = {"points_per_side": 4, "box_nms_thresh": 0.8}
    expected = real(image, **settings).masks
    assert len(expected) > 3
    assert real(image, max_memory_mb=64, **settings).masks == expected
    calls: list[tuple[int, int]] = []
    config = generator_preset("library-default", max_memory_mb=64, points_per_side=3)
    generator = MaskGenerator(Predictor(StandInSam()), config)
    generator.generate(image, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(4, 9), (8, 9), (9, 9)]  # three quarters of 64 MiB, 12 MiB a prompt


def test_a_limit_too_small_for_one_prompt_is_an_error() -> None:
    config = GeneratorConfig(max_memory_mb=64)
    with pytest.raises(InputError, match=r"max_memory_mb is 64, and a single prompt of .* 4096x4096 px needs 257"):
        memory.limits(config, Upscaling((4096, 4096), (4096, 4096), (10, 10)), on_cpu=True)


def test_progress_counts_points() -> None:
    image = coordinates(40, 40)
    nothing = np.zeros((40, 40), dtype=bool)
    predictor = Scripted(image, lambda x, y, whole: [(nothing, 0.0)] * 3)
    calls: list[tuple[int, int]] = []
    config = GeneratorConfig(points_per_side=2, points_per_batch=3, crop_n_layers=1, crop_n_points_downscale_factor=2)
    MaskGenerator(predictor, config).generate(image, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(3, 8), (4, 8), (5, 8), (6, 8), (7, 8), (8, 8)]
