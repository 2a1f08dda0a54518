"""Evaluations by name: their settings, and what they tell."""

from collections.abc import Iterator

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from engine.evaluation.evaluations import EVALUATIONS, Measured, Samples, find_evaluation
from model.config import SamConfig
from model.encoder_configs import EfficientNetConfig
from model.predictor import Predictor
from model.sam import build_sam
from model.training.samples import Sample
from schemas.errors import InputError


class Two:
    """Two pictures with three masks."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        masks = []
        for number in range(index + 1):
            mask = np.zeros((40, 50), dtype=np.uint8)
            mask[5 : 20 + 5 * number, 10 : 30 + index] = 1
            masks.append(coco_mask.encode(np.asfortranarray(mask)))
        return Sample(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8), masks)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(build_sam(SamConfig(EfficientNetConfig(width=0.25, depth=0.3, img_size=64), decoder_mlp_dim=32)))


@pytest.mark.parametrize("name", list(EVALUATIONS))
def test_every_evaluation_gives_values_and_a_table(name: str, predictor: Predictor) -> None:
    told: list[tuple[str, int, int]] = []
    measured = find_evaluation(name, {})(predictor, Samples(Two(), lambda *how_far: told.append(how_far)))
    assert measured.masks == 3
    assert measured.values
    assert measured.rows
    assert {len(row) for row in measured.rows} == {len(measured.columns)}
    assert told == [("evaluating", done, 2) for done in range(3)]


def test_settings_reach_the_evaluation(predictor: Predictor) -> None:
    measured = find_evaluation("points", {"clicks": "1,2", "baselines": True})(predictor, Samples(Two()))
    assert set(measured.values["points"]) == {"1", "2"}
    assert set(measured.values["baselines"]) == {"felzenszwalb"}
    assert [row[0] for row in measured.rows] == ["1", "2", "felzenszwalb"]


@pytest.mark.parametrize("clicks", ["0", "a few", "1,,2"])
def test_clicks_that_cannot_be_are_errors(clicks: str, predictor: Predictor) -> None:
    with pytest.raises(InputError, match=f"clicks {clicks}: "):
        find_evaluation("points", {"clicks": clicks})(predictor, Samples(Two()))


def test_pictures_can_be_gone_through_twice_under_two_names() -> None:
    told: list[str] = []
    samples = Samples(Two(), lambda what, _done, _total: told.append(what))

    def count(pictures: Iterator[Sample]) -> int:
        return sum(len(picture.masks) for picture in pictures)

    assert count(iter(samples)) == count(samples.told("again")) == 3
    assert told == ["evaluating"] * 3 + ["again"] * 3


def test_a_function_with_settings_by_keyword_is_an_evaluation(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sizes(predictor: Predictor, samples: Samples, /, *, least: int = 0) -> Measured:
        found = sum(coco_mask.area(mask) >= least for sample in samples for mask in sample.masks)
        return Measured(found, {"found": found}, "sizes", ("found",), ((str(found),),))

    monkeypatch.setitem(EVALUATIONS._loaded, "sizes", sizes)
    assert find_evaluation("sizes", {"least": 400})(predictor, Samples(Two())).masks == 1
    with pytest.raises(InputError, match="evaluation 'sizes' has no setting 'most'; it has: least"):
        find_evaluation("sizes", {"most": 3})
