import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.presets import GENERATOR_PRESETS, GeneratorConfig, generator_preset


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
    for wrong in ({"points_per_side": 0}, {"points": 3}, {"pred_iou_thresh": 1.5}, {"points_per_side": 2}):
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


@given(st.integers(1, 200), st.integers(1, 500))
def test_the_hash_follows_the_settings_but_not_the_batch_size(side: int, batch: int) -> None:
    config = GeneratorConfig(points_per_side=side, points_per_batch=batch)
    assert config.config_hash() == GeneratorConfig(points_per_side=side).config_hash()
    assert config.config_hash() != GeneratorConfig(points_per_side=side + 1).config_hash()
