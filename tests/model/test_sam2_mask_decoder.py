"""Which mask SAM 2 gives where one is asked for; tests/model/test_hiera.py compares all of it with the package."""

import torch

from model.mask_decoder import MaskPrediction
from model.sam2_mask_decoder import stable_mask


def test_the_single_mask_where_it_is_stable_and_the_best_of_three_elsewhere() -> None:
    logits = torch.full((4, 4, 10, 10), 3.0) * torch.arange(1, 5)[:, None, None]
    logits[0, 0] = 1.0  # stable: all 100 pixels above both thresholds
    logits[1, 0] = 1.0
    logits[1, 0, 0, :2] = 0.0  # 98 of 100: just stable
    logits[2, 0] = 1.0
    logits[2, 0, 0, :3] = 0.0  # 97 of 100: unstable
    logits[3, 0] = -1.0  # empty by both: stable
    predicted_iou = torch.tensor([[0.1, 0.2, 0.9, 0.3]]).expand(4, -1)
    found = stable_mask(MaskPrediction(logits, predicted_iou))
    assert found.logits.shape == (4, 1, 10, 10)
    assert found.predicted_iou.flatten().tolist() == torch.tensor([0.1, 0.1, 0.9, 0.1]).tolist()
    for row, place in enumerate((0, 0, 2, 0)):
        assert torch.equal(found.logits[row, 0], logits[row, place])
