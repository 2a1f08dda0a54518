import torch
from torch.nn import functional as F

from model.upscaling import Upscaling


def test_two_steps_with_the_padding_cut_off_in_between() -> None:
    logits = torch.randn((2, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    upscaled = Upscaling((64, 64), (64, 40), (100, 63)).apply(logits)
    padded = F.interpolate(logits, (64, 64), mode="bilinear", align_corners=False)
    expected = F.interpolate(padded[..., :64, :40], (100, 63), mode="bilinear", align_corners=False)
    assert torch.equal(upscaled, expected)


def test_in_one_step() -> None:
    logits = torch.randn((2, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    upscaling = Upscaling((64, 64), (64, 64), (100, 63), direct=True)
    assert upscaling.steps((16, 16)) == ((16, 16), (16, 16))
    assert torch.equal(upscaling.apply(logits), F.interpolate(logits, (100, 63), mode="bilinear", align_corners=False))


def test_one_size_throughout_changes_nothing() -> None:
    logits = torch.randn((1, 2, 7, 9), generator=torch.Generator().manual_seed(0))
    assert torch.equal(Upscaling((7, 9), (7, 9), (7, 9)).apply(logits), logits)


def test_what_lies_in_the_padding_is_cut() -> None:
    logits = torch.zeros((1, 1, 16, 16))
    logits[..., 11:, :] = 1000  # the shown part ends at row 32 of 64, which is made of rows up to 8
    assert Upscaling((64, 64), (32, 64), (10, 20)).apply(logits).abs().max() == 0
