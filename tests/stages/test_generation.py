"""The mask generator at work: what it says of its masks and of how it fared, and which of them people start from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine import rle
from engine.masks.generator import GenerationResult
from schemas.config import EngineConfig, SemiAutomaticConfig
from schemas.errors import InputError
from schemas.presets import GeneratorConfig
from schemas.tables import Round
from stages import generation
from stages.generation import GeneratorMasks, StageGenerator
from stages.prefilling import RoundWork
from stages.records import ShardRows, Where
from stages.workers import Picture
from tests.stages.workspaces import ALL_MASKS, shapes, tiny_sam
from tests.templates import new_store

WHERE = Where(7, "000000", "semi_automatic", 1, "model")
PICTURE = Picture(7, shapes(0)[0], decode_s=1.25)
CONFIG = GeneratorConfig.model_validate(ALL_MASKS)
FAST = CONFIG.model_copy(update={"contract": "fast"})


def test_masks_name_their_model_and_settings_and_the_picture_its_seconds() -> None:
    rows = ShardRows()
    found = StageGenerator(tiny_sam(), CONFIG).generate(PICTURE, WHERE, rows)
    assert found.masks
    assert {(mask.model_id, mask.generator_config) for mask in found.masks} == {("model", CONFIG.config_hash())}
    assert found.seconds["decode_image"] == 1.25
    assert len(found.seconds) > 1
    (row,) = rows.generation
    assert (row["image_id"], row["generator_config"], row["masks"]) == (7, CONFIG.config_hash(), len(found.masks))
    assert row["difference_to_exact"] == ""
    assert '"decode_image": 1.25' in row["seconds"]


def test_fast_is_compared_with_exact_on_the_first_picture_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    contracts: list[str] = []
    compare = generation.difference_to_exact

    def compared(predictor, config, image):  # type: ignore[no-untyped-def]
        contracts.append(config.contract)
        assert image is PICTURE.pixels
        return compare(predictor, config, image)

    monkeypatch.setattr(generation, "difference_to_exact", compared)
    rows, generator = ShardRows(), StageGenerator(tiny_sam(), FAST)
    for _ in range(2):
        generator.generate(PICTURE, WHERE, rows)
    first, second = (row["difference_to_exact"] for row in rows.generation)
    assert '"matched"' in first
    assert second == ""
    assert contracts == ["fast"]


def test_the_model_computes_by_the_contract_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(generation, "Predictor", lambda _sam, contract: asked.append(contract))
    monkeypatch.setattr(generation, "MaskGenerator", lambda _predictor, _config: None)
    for config in (CONFIG, FAST):
        StageGenerator(tiny_sam(), config)
    assert asked == ["exact", "fast"]


def test_what_is_no_picture_is_named_by_its_id() -> None:
    with pytest.raises(InputError, match=r"^image 7: "):
        StageGenerator(tiny_sam(), CONFIG).generate(
            PICTURE._replace(pixels=np.zeros((0, 3, 3), np.uint8)), WHERE, ShardRows()
        )


def masks_to_start_from(folder: Path, **settings: int) -> GeneratorMasks:
    config = EngineConfig.model_validate({"semi_automatic": {"generator": ALL_MASKS} | settings})
    record = Round("semi_automatic", 1, (7,), model_before="model")
    return GeneratorMasks(RoundWork(new_store(folder / "w"), config, record, tiny_sam()))


class Unordered:
    """A generator whose masks come in no order."""

    config = CONFIG

    def generate(self, picture: Picture, where: Where, rows: ShardRows) -> GenerationResult:
        masks = [
            replace(rle.measured(rle.encode(np.ones((2, 2), dtype=bool))), predicted_iou=score)
            for score in (0.5, 0.9, 0.7)
        ]
        return GenerationResult(masks, {}, {}, coverage_frac=0.0, parents=None)


@pytest.mark.parametrize(("most", "scores"), [(0, []), (2, [0.9, 0.7]), (9, [0.9, 0.7, 0.5])])
def test_people_start_from_the_most_confident_masks(tmp_path: Path, most: int, scores: list[float]) -> None:
    start = masks_to_start_from(tmp_path, max_prefilled_masks=most)
    start._generator = Unordered()  # type: ignore[assignment]
    assert [mask.predicted_iou for mask in start.masks(PICTURE, WHERE, ShardRows())] == scores


def test_masks_to_start_from_are_those_of_the_stages_settings(tmp_path: Path) -> None:
    start, rows = masks_to_start_from(tmp_path), ShardRows()
    found = start.masks(PICTURE, WHERE, rows)
    assert {mask.generator_config for mask in found} == {start.key}
    assert start.key == SemiAutomaticConfig(generator=ALL_MASKS).generator_config().config_hash()
    assert [row["masks"] for row in rows.generation] == [len(found)], "how the generator fared is kept"
    assert start.metrics() == {}
