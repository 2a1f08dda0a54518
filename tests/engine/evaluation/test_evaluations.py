"""Evaluations by name: their settings, and what they tell."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from engine.evaluation.evaluations import EVALUATIONS, Measured, Samples, find_evaluation
from model.config import SamConfig
from model.encoder_configs import EfficientNetConfig
from model.predictor import Predictor
from model.sam import build_sam
from model.text_head import SavedHead, TextHead, TextHeadConfig
from model.text_prompts import TextPrompter
from model.training.samples import MaskFacts, Sample
from schemas.errors import InputError


class Two:
    """Two pictures with three masks, each by another person."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        masks = []
        for number in range(index + 1):
            mask = np.zeros((40, 50), dtype=np.uint8)
            mask[5 : 20 + 5 * number, 10 : 30 + index] = 1
            masks.append(coco_mask.encode(np.asfortranarray(mask)))
        facts = [MaskFacts(str(number), category_id=1, label="ab"[number]) for number in range(len(masks))]
        return Sample(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8), masks, "", index, facts)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    head = SavedHead(
        TextHead(TextHeadConfig(text_dim=2, width=16)).eval(), {"a": torch.ones(2), "b": torch.zeros(2)}, {}
    )
    config = SamConfig(EfficientNetConfig(width=0.25, depth=0.3, img_size=64), decoder_mlp_dim=32)
    return Predictor(build_sam(config), text=TextPrompter(lambda: head))


@pytest.mark.parametrize("name", list(EVALUATIONS))
def test_every_evaluation_gives_values_and_a_table(name: str, predictor: Predictor, tmp_path: Path) -> None:
    boxes = tmp_path / "results.json"
    boxes.write_text(json.dumps([{"image_id": 0, "category_id": 1, "bbox": [5, 5, 20, 20], "score": 0.5}]))
    few = {"edges": {"points_per_side": 2}, "proposals": {"points_per_side": 2}, "instances": {"boxes": str(boxes)}}
    told: list[tuple[str, int, int]] = []
    measured = find_evaluation(name, few.get(name, {}))(
        predictor, Samples(Two(), lambda *how_far: told.append(how_far))
    )
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


def test_the_first_pictures_alone_and_all_that_the_source_has() -> None:
    class More(Two):
        def complete(self) -> Two:
            class Three(Two):
                def __len__(self) -> int:
                    return 3

            return Three()

    assert [len(picture.masks) for picture in Samples(Two()).first(1)] == [1]
    assert len(Samples(Two()).first(9)) == 2
    assert len(Samples(More()).complete()) == 3
    assert len(Samples(Two()).complete()) == 2


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


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("points_per_side", "many", "points_per_side must be a whole number, found 'many'"),
        ("points_per_side", True, "must be a whole number, found True"),
        ("box_nms_thresh", "low", "box_nms_thresh must be a number, found 'low'"),
    ],
)
def test_settings_of_another_kind_are_errors(key: str, value: object, said: str) -> None:
    with pytest.raises(InputError, match=f"evaluation 'proposals': {key} .*{value!r}") as raised:
        find_evaluation("proposals", {key: value})
    assert said in str(raised.value)


def test_whole_numbers_are_numbers_and_texts_may_look_like_others(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(predictor: Predictor, samples: Samples, /, *, share: float = 0.5, name: str = "a") -> Measured:
        return Measured(0, {"share": share, "name": name}, "", (), ())

    monkeypatch.setitem(EVALUATIONS._loaded, "told", told)
    values = find_evaluation("told", {"share": 1, "name": 12})(predictor, Samples(Two())).values
    assert values == {"share": 1.0, "name": "12"}
    assert isinstance(values["share"], float)
    assert find_evaluation("told", {"name": None})(predictor, Samples(Two())).values["name"] == ""
    with pytest.raises(InputError, match="'edges': baselines must be true or false, found 1"):
        find_evaluation("edges", {"baselines": 1})
