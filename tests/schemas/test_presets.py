from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.presets import GENERATOR_PRESETS, GeneratorConfig, generator_preset

OUT_OF_RANGE = ({"mask_nms_thresh": 1.1}, {"mask_nms_thresh": -0.1}, {"max_memory_mb": 63}, {"crops_per_batch": 0})


def test_paper_preset_has_the_numbers_of_the_paper() -> None:
    """SAM paper, appendix B: 32x32 points, then 2x2 crops at 16x16 and 4x4 crops at 8x8, and the thresholds."""
    config = generator_preset("paper-sa1b")
    grids = [
        config.points_per_side // config.crop_n_points_downscale_factor**i for i in range(config.crop_n_layers + 1)
    ]
    assert grids == [32, 16, 8]
    assert (config.pred_iou_thresh, config.stability_score_thresh, config.stability_score_offset) == (0.88, 0.95, 1.0)
    assert (config.box_nms_thresh, config.crop_nms_thresh) == (0.7, 0.7)
    assert (config.min_mask_region_area, config.drop_small_masks, config.max_mask_area_frac) == (100, True, 0.95)


def test_library_preset_has_the_defaults_of_the_published_code() -> None:
    config = generator_preset("library-default")
    assert (config.points_per_side, config.points_per_batch) == (32, 64)
    assert (config.crop_n_layers, config.min_mask_region_area, config.max_mask_area_frac) == (0, 0, 1.0)
    assert config.crop_overlap_ratio == 512 / 1500


def test_an_override_is_validated() -> None:
    assert generator_preset("paper-sa1b", points_per_side=8).points_per_side == 8
    for wrong in (
        {"points_per_side": 0},
        {"points": 3},
        {"pred_iou_thresh": 1.5},
        {"points_per_side": 2},
        *OUT_OF_RANGE,
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            generator_preset("paper-sa1b", **wrong)


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="paper-sa1b, library-default, nano"):
        generator_preset("paper")


def test_presets_differ_in_their_hash_and_keep_it() -> None:
    hashes = {name: make().config_hash() for name, make in GENERATOR_PRESETS.items()}
    assert len(set(hashes.values())) == len(hashes)
    assert hashes == {name: make().config_hash() for name, make in GENERATOR_PRESETS.items()}
    assert all(len(value) == 16 and int(value, 16) >= 0 for value in hashes.values())


def test_the_presets_have_the_hashes_that_stand_in_masks_already_made() -> None:
    hashes = {name: make().config_hash() for name, make in GENERATOR_PRESETS.items()}
    assert hashes == {
        "paper-sa1b": "6ebc1a0d0e54628d",
        "library-default": "1a81e612f0613a19",
        "nano": "44e9f7d10489a861",
    }
    assert generator_preset("nano", points_per_side=16).config_hash() == "7eed563eb3d5498b"


def test_the_quality_options_are_off_in_all_presets() -> None:
    for make in GENERATOR_PRESETS.values():
        config = make()
        assert (config.mask_nms_thresh, config.clean_before_crop_nms, config.store_nesting) == (1.0, False, False)
        assert (config.max_memory_mb, config.crops_per_batch) == (None, None)


OPTIONS: list[dict[str, Any]] = [
    {"mask_nms_thresh": 0.9},
    {"mask_nms_thresh": 0.8},
    {"clean_before_crop_nms": True},
    {"store_nesting": True},
    {"clean_before_crop_nms": True, "store_nesting": True},
]


@pytest.mark.parametrize("preset", GENERATOR_PRESETS)
def test_an_option_that_is_on_changes_the_hash_and_one_that_is_off_does_not(preset: str) -> None:
    plain = generator_preset(preset).config_hash()
    assert len({plain, *(generator_preset(preset, **option).config_hash() for option in OPTIONS)}) == len(OPTIONS) + 1
    off = {"mask_nms_thresh": 1, "clean_before_crop_nms": False, "store_nesting": False}
    assert generator_preset(preset, **off).config_hash() == plain


@given(st.integers(1, 200), st.integers(1, 500), st.none() | st.integers(64, 9999))
def test_the_hash_follows_the_settings_but_not_speed_and_memory(side: int, batch: int, memory: int | None) -> None:
    config = GeneratorConfig(points_per_side=side, points_per_batch=batch, crops_per_batch=batch, max_memory_mb=memory)
    assert config.config_hash() == GeneratorConfig(points_per_side=side).config_hash()
    assert config.config_hash() != GeneratorConfig(points_per_side=side + 1).config_hash()
