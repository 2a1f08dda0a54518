"""Filters that another distribution brings, in both ways to automatic masks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data

from engine import rle
from engine.masks.generator import GenerationResult, MaskGenerator
from engine.masks.named_filters import MASK_FILTERS, pass_filters
from model.predictor import Predictor
from schemas.errors import InputError
from schemas.mask import Mask
from schemas.presets import MASK_FILTERS_GROUP, GeneratorConfig, generator_preset
from tests.distributions import install
from tests.peers.decoder_outputs import StandInSam


def at_least(masks: Sequence[Mask], /, *, area_px: int = 10) -> list[bool]:
    return [mask.area >= area_px for mask in masks]


def silent(masks: Sequence[Mask], /) -> list[bool]:
    return []


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"at_least": at_least, "silent": silent}
    install(tmp_path, monkeypatch, "sizes", {MASK_FILTERS_GROUP: {name: f"{__name__}:{name}" for name in found}})
    for name, function in found.items():
        monkeypatch.setitem(MASK_FILTERS._loaded, name, function)


def squares(*sides: int) -> list[Mask]:
    masks = []
    for side in sides:
        pixels = np.zeros((20, 20), dtype=bool)
        pixels[:side, :side] = True
        masks.append(rle.measured(rle.encode(pixels)))
    return masks


@pytest.mark.usefixtures("installed")
def test_masks_pass_one_filter_after_the_other_and_are_counted() -> None:
    masks = squares(2, 5, 3, 9)
    assert pass_filters(masks, {}) == ([0, 1, 2, 3], {})
    assert pass_filters(masks, {"at_least": {}}) == ([1, 3], {"at_least": 2})
    assert pass_filters(masks, {"at_least": {"area_px": 9}}) == ([1, 2, 3], {"at_least": 1})


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({"at_least": {"area": 3}}, "mask filter 'at_least' has no setting 'area'; it has: area_px"),
        ({"silent": {}}, "mask filter 'silent': was given 2 masks and answered for 0"),
        ({"round": {}}, "unknown mask filter 'round'; known: at_least, silent"),
    ],
)
def test_what_is_wrong_with_a_filter_is_told(filters: dict[str, dict[str, int]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        pass_filters(squares(2, 3), filters)


def test_settings_name_only_filters_that_there_are() -> None:
    with pytest.raises(ValueError, match="choose one of none"):
        GeneratorConfig(filters={"at_least": {}})


@pytest.mark.usefixtures("installed")
def test_a_filter_names_its_masks_and_none_keeps_the_name() -> None:
    plain = generator_preset("nano").config_hash()
    assert generator_preset("nano", filters={}).config_hash() == plain
    named = {generator_preset("nano", filters={"at_least": each}).config_hash() for each in ({}, {"area_px": 3})}
    assert len(named | {plain}) == 3


@pytest.mark.usefixtures("installed")
def test_the_generator_drops_and_counts_what_a_filter_wants_gone() -> None:
    image = skimage.data.astronaut()

    def generate(**settings: Any) -> GenerationResult:
        config = generator_preset("library-default", points_per_side=4, **settings)
        return MaskGenerator(Predictor(StandInSam()), config).generate(image)

    plain = generate()
    middle = sorted(mask.area for mask in plain.masks)[len(plain.masks) // 2]
    found = generate(filters={"at_least": {"area_px": middle}}, store_nesting=True)
    assert found.masks == [mask for mask in plain.masks if mask.area >= middle]
    assert found.dropped == plain.dropped | {"at_least": len(plain.masks) - len(found.masks)}
    assert found.parents is not None
    assert len(found.parents) == len(found.masks) < len(plain.masks)
    assert 0 < found.coverage_frac <= plain.coverage_frac
