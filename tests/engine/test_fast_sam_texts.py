"""What chooses among proposed masks by text."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from engine.fast_sam_texts import clip_scores, head_scores
from model.predictor import Predictor
from model.text_prompts import FoundText
from tests.stages.workspaces import tiny_sam

MASKS = np.zeros((3, 20, 30), dtype=bool)
MASKS[0, 2:8, 3:12] = MASKS[1, :, 15:] = True


class Reddest:
    """Texts and pictures by how red they are; keeps the pictures it saw."""

    key = ""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def encode(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([[1.0, 0.0] if text == "red" else [0.0, 1.0] for text in texts])

    def encode_pictures(self, pictures: Sequence[np.ndarray], masks: object = None) -> Tensor:
        self.seen += pictures
        red = torch.tensor([float((each[..., 0] > each[..., 2]).mean()) for each in pictures])
        return torch.stack([red, 1 - red], dim=1)


def test_clip_sees_each_mask_cut_out_on_white() -> None:
    image = np.zeros((20, 30, 3), dtype=np.uint8)
    image[:, :15, 0], image[:, 15:, 2] = 200, 200
    encoder = Reddest()
    masks = MASKS.copy()
    masks[0, 2, 3] = False
    scores = clip_scores(encoder)(image, masks, ["red", "blue"])
    assert scores.argmax(1).tolist() == [0, 1]
    assert [each.shape for each in encoder.seen] == [(6, 9, 3), (20, 15, 3), (1, 1, 3)]
    assert encoder.seen[0][0, 0].tolist() == [255, 255, 255]
    assert encoder.seen[0][1, 1].tolist() == [200, 0, 0]


class OnTheRight(Predictor):
    """Finds every text on the right half of the picture."""

    def find_texts(self, texts: Sequence[str]) -> FoundText:
        logits = torch.full((len(texts), 16, 16), -1.0)
        logits[:, :, 8:] = 2.0
        return FoundText(logits, torch.ones(len(texts)))


def test_a_head_adds_up_its_logits_over_each_mask() -> None:
    image = np.zeros((20, 30, 3), dtype=np.uint8)
    scores = head_scores(OnTheRight(tiny_sam()))(image, MASKS, ["car", "tree"])
    assert scores.shape == (2, 3)
    assert scores[0, 1] > scores[0, 2] == 0 > scores[0, 0]
    assert scores[0, 0] > -1.01 * MASKS[0].sum()
