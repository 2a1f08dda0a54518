"""Masks that wait for suppression, and what a limit on them changes: when they become RLEs, never which."""

import pytest
import torch

from engine.masks.crop_masks import MASK_THRESHOLD, CropMasks
from engine.masks.crops import Crop
from engine.masks.measuring import Survey, survey
from model.upscaling import Upscaling
from schemas.rle import Rle

UPSCALING = Upscaling((64, 64), (64, 64), (64, 64))


@pytest.fixture
def found() -> Survey:
    generator = torch.Generator().manual_seed(0)
    logits = torch.nn.functional.interpolate(torch.randn(4, 1, 4, 4, generator=generator), 16, mode="bicubic")[:, 0]
    return survey(logits, UPSCALING, threshold=MASK_THRESHOLD, offset=0.5)._replace(counts=None)


def _waiting(max_bytes: int) -> CropMasks:
    crop = Crop(layer=0, x0=3, y0=5, x1=67, y1=69)
    return CropMasks(crop, UPSCALING, image_hw=(80, 90), offset=0.5, max_bytes=max_bytes)


def test_masks_become_rles_once_they_take_more_than_they_may(found: Survey) -> None:
    size = sum(window.nbytes for window in found.windows[:2])
    waiting = _waiting(size)
    assert waiting.add(found, torch.tensor([0, 1])) == [0, 1]
    assert not any(isinstance(mask, Rle) for mask in waiting.masks), "just as much as they may"
    assert waiting.add(found, torch.tensor([3])) == [2]
    assert all(isinstance(mask, Rle) for mask in waiting.masks)
    assert waiting.add(found, torch.tensor([1])) == [3]
    assert [isinstance(mask, Rle) for mask in waiting.masks] == [True, True, True, False], "the account starts anew"


def test_when_they_become_rles_changes_no_mask(found: Survey) -> None:
    index, places = torch.arange(4), range(4)
    early, late = _waiting(0), _waiting(10**9)
    for waiting in (early, late):
        waiting.add(found, index)
    assert all(isinstance(mask, Rle) for mask in early.masks)
    assert [early.encoded(place) for place in places] == [late.encoded(place) for place in places]
    assert torch.equal(early.counts(places), late.counts(places))
    assert late.counts(places)[:, 2].min() > 0
