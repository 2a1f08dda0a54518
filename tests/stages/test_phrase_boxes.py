"""Grounded-SAM in semi-automatic rounds."""

from pathlib import Path
from typing import Any

import pytest
import torch

from model.grounding_dino import FoundPhrases
from schemas.config import EngineConfig
from schemas.errors import InputError
from stages import phrase_boxes
from stages.prefilling import PREFILL_DETECTORS, RoundWork
from stages.records import ShardRows, Where
from stages.workers import Picture
from tests.stages.workspaces import ALL_MASKS, make_workspace, shapes, tiny_sam


class TwoPhrases:
    """In place of Grounding DINO: the same two boxes on every picture."""

    def __init__(self, weights: Path, phrases: list[str], *, device: Any) -> None:
        self.key = "abcd"
        self.phrases = phrases

    def detect(self, image: Any, *, least_score: float) -> FoundPhrases:
        boxes = torch.tensor([[4.0, 5.0, 40.0, 30.0], [2.0, 2.0, 12.0, 14.0]])
        scores = torch.tensor([0.9, 0.6])
        kept = scores >= least_score
        return FoundPhrases(boxes[kept], scores[kept], [p for p, keep in zip(self.phrases, kept, strict=True) if keep])


def work(folder: Path, **phrases: Any) -> RoundWork:
    semi = {"prefill": "grounding_dino", "generator": ALL_MASKS} | ({"phrases": phrases} if phrases else {})
    store = make_workspace(folder, images=2)
    return RoundWork(store, EngineConfig.model_validate({"semi_automatic": semi}), None, tiny_sam())  # type: ignore[arg-type]


@pytest.fixture
def boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phrase_boxes, "GroundingDino", TwoPhrases)


def test_masks_have_the_phrases_of_their_boxes(tmp_path: Path, boxes: None) -> None:
    detector = PREFILL_DETECTORS["grounding_dino"](work(tmp_path, look_for=["car", "tree"], weights="dino"))
    picture = Picture(1, shapes(0)[0], 0.0)
    found = detector.masks(picture, Where(1, "0", "semi_automatic", 1, "model"), ShardRows())
    labels = {mask.prompt.box: mask.label for mask in found}
    assert labels
    assert labels.items() <= {(4.0, 5.0, 40.0, 30.0): "car", (2.0, 2.0, 12.0, 14.0): "tree"}.items()
    assert {(mask.model_id, mask.generator_config) for mask in found} == {("model", detector.key)}
    assert detector.metrics() == {}


def test_its_key_follows_from_what_is_looked_for(tmp_path: Path, boxes: None) -> None:
    keys = [
        PREFILL_DETECTORS["grounding_dino"](work(tmp_path / str(number), weights="dino", **asked)).key
        for number, asked in enumerate(
            (
                {"look_for": ["a", "b"]},
                {"look_for": ["a", "b"]},
                {"look_for": ["a"]},
                {"look_for": ["a"], "least_score": 0.4},
            )
        )
    ]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_without_phrases_the_settings_are_named(tmp_path: Path, boxes: None) -> None:
    with pytest.raises(
        InputError, match=r"engine.yaml: prefill is grounding_dino, and semi_automatic.phrases does not"
    ):
        PREFILL_DETECTORS["grounding_dino"](work(tmp_path))
