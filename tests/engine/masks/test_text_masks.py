"""Masks of what texts say, as `generate` writes them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from engine.masks.records import sa1b_record
from engine.masks.text_masks import NOT_FOUND, TextMasks
from model.mask_decoder import MaskPrediction
from model.predictor import Predictor
from schemas.errors import InputError
from schemas.mask import Mask
from schemas.sa1b import parse_record
from tests.stages.workspaces import shapes, tiny_sam


class Known(Predictor):
    """Finds "left" on the left half of the picture, "nothing" nowhere, and is not sure of "doubt"."""

    def __init__(self) -> None:
        super().__init__(tiny_sam())
        self.asked: list[Any] = []

    def check_texts(self, texts: Sequence[str]) -> None:
        if "unknown" in texts:
            raise InputError("unknown")

    def predict_texts(self, texts: Sequence[str], points: Any = None, labels: Any = None, **_: Any) -> MaskPrediction:
        self.asked.append((list(texts), points, labels))
        logits = torch.full((len(texts), 1, 16, 16), -9.0)
        for row, text in enumerate(texts):
            if text != "nothing":
                logits[row, 0, :, :8] = 9.0
        return MaskPrediction(logits, torch.tensor([[0.1 if text == "doubt" else 0.8] for text in texts]))


def test_each_text_that_is_found_gives_a_mask_with_its_label() -> None:
    image = shapes(0)[0]
    told: list[tuple[int, int]] = []
    makes = TextMasks(Known(), ["Left", "nothing", "doubt", "left "])
    found = makes.generate(image, progress=lambda done, total: told.append((done, total)))
    (mask,) = found.masks
    assert (mask.label, mask.origin, mask.annotator, mask.prompt.points) == ("left", "automatic", "generator", ())
    assert mask.predicted_iou == pytest.approx(0.8)
    assert 0.9 < mask.stability_score <= 1
    assert mask.area == pytest.approx(image.shape[0] * image.shape[1] / 2, rel=0.1)
    assert found.dropped[NOT_FOUND] == 2
    assert found.coverage_frac == pytest.approx(0.5, abs=0.05)
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert len(TextMasks(Known(), ["doubt"], least_iou=0.05).generate(image).masks) == 1


def test_points_go_with_every_text() -> None:
    predictor = Known()
    found = TextMasks(predictor, ["left", "doubt"], points=[(3, 4), (5, 6)]).generate(shapes(0)[0])
    assert predictor.asked == [(["left", "doubt"], [[(3, 4), (5, 6)]] * 2, [[1, 1]] * 2)]
    assert found.masks[0].prompt.points == ((3, 4, 1), (5, 6, 1))


def test_a_text_that_is_not_known_is_told_before_any_picture() -> None:
    with pytest.raises(InputError, match="unknown"):
        TextMasks(Known(), ["unknown"])


def test_labels_are_written_and_read() -> None:
    image = shapes(0)[0]
    found = TextMasks(Known(), ["left"]).generate(image)
    record = sa1b_record(found.masks, image_id=1, file_name="a.png", height=image.shape[0], width=image.shape[1])
    (annotation,) = parse_record(record.to_json(), name="a.json").annotations
    assert annotation.label == "left"
    assert Mask.from_sa1b(annotation).label == "left"
    assert np.isclose(annotation.predicted_iou or 0, 0.8)
