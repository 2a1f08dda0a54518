"""Masks of words: what is measured beside what."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from engine.evaluation.evaluations import Samples, find_evaluation
from model.mask_decoder import MaskPrediction
from model.predictor import Predictor
from model.text_prompts import FoundText
from model.training.samples import MaskFacts, Sample
from schemas.errors import InputError
from tests.engine.evaluation.fakes import coco_rle, rectangle
from tests.stages.workspaces import tiny_sam

SIZE = (64, 64)
LEFT, RIGHT = rectangle(slice(0, 64), slice(0, 32)), rectangle(slice(0, 64), slice(32, 64))
TOP = rectangle(slice(0, 32), slice(0, 32))


class Halves(Predictor):
    """Knows that "left" is the left half, takes anything else for the right one; offers both at every point."""

    def __init__(self) -> None:
        super().__init__(tiny_sam())
        self.text: Any = self
        self.words = ["left", "right"]

    def find_texts(self, texts: Sequence[str]) -> FoundText:
        likely = [0.9 if text in self.words else 0.2 for text in texts]
        return FoundText(torch.stack([half(text == "left") for text in texts]), torch.tensor(likely))

    def predict_texts(self, texts: Sequence[str], points: Any = None, labels: Any = None, **_: Any) -> MaskPrediction:
        return MaskPrediction(
            torch.stack([half(text == "left") for text in texts])[:, None], torch.full((len(texts), 1), 0.5)
        )

    def predict_low_res(self, points: Any, labels: Any, **_: Any) -> MaskPrediction:
        both = torch.stack([half(True), half(False)])
        return MaskPrediction(both.repeat(len(points), 1, 1, 1), torch.tensor([[0.9, 0.8]] * len(points)))

    def unite(self, found: FoundText) -> MaskPrediction:
        return MaskPrediction(found.logits[:, None], found.is_there[:, None])


def half(left: bool) -> torch.Tensor:
    logits = torch.full((16, 16), -9.0)
    logits[:, slice(0, 8) if left else slice(8, 16)] = 9.0
    return logits


def samples(*labelled: tuple[np.ndarray, str]) -> Samples:
    masks = [coco_rle(mask) for mask, _ in labelled]
    facts = [MaskFacts(label=label) for _, label in labelled]
    return Samples([Sample(np.zeros((*SIZE, 3), np.uint8), masks, facts=facts)])


def test_labels_and_points_by_hand() -> None:
    measured = find_evaluation("text", {})(Halves(), samples((LEFT, "Left"), (RIGHT, "right"), (RIGHT, "unheard of")))
    values = measured.values
    assert (measured.masks, values["labels"], values["pairs"]) == (3, 3, 3)
    learned = {way: found["miou"] for way, found in values["labels_it_learned"].items()}
    # a point anywhere is answered with the left half
    assert learned["text"] == learned["oracle"] == pytest.approx(1, abs=0.05)
    assert learned["random_point"] == pytest.approx(0.5, abs=0.03)
    assert values["labels_it_never_saw"]["text"]["miou"] == pytest.approx(1, abs=0.05)
    points = {way: found["miou"] for way, found in values["points"].items()}
    assert points["point"] == pytest.approx(1 / 3, abs=0.03)
    assert points["point_oracle"] == points["point_text"] == pytest.approx(1, abs=0.05)
    assert values["is_there"] == {"true": pytest.approx(2 / 3), "false": None}
    assert [row[:3] for row in measured.rows][:2] == [
        ("labels it learned", "its label", "2"),
        ("labels it learned", "another label of the data set", "2"),
    ]
    assert measured.notes == ("taken to be in the picture: 67% of the labels that are, none of those that are not",)


def test_masks_of_one_label_are_one() -> None:
    measured = find_evaluation("text", {})(Halves(), samples((TOP, "left"), (LEFT & ~TOP, "left"), (RIGHT, "right")))
    assert measured.masks == 2
    assert measured.values["labels_it_learned"]["text"]["miou"] == pytest.approx(1, abs=0.05)
    assert measured.values["points"]["point_text"]["miou"] == pytest.approx((0.5 + 0.5 + 1) / 3, abs=0.03)


def test_what_cannot_be_measured_is_one_line() -> None:
    with pytest.raises(InputError, match="no mask has a label; this evaluation needs COCO files with labels"):
        find_evaluation("text", {})(Halves(), samples((LEFT, "")))
    with pytest.raises(InputError, match="no label has 5000 px or more in any picture; lower min_area"):
        find_evaluation("text", {"min_area": 5000})(Halves(), samples((LEFT, "left")))
    with pytest.raises(InputError, match="no text head"):
        find_evaluation("text", {})(Predictor(tiny_sam()), samples((LEFT, "left")))
