import numpy as np
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st

from engine import rle
from engine.masks.comparison import compare_masks, difference_to_exact
from engine.masks.difference import MaskDifference
from model.config import SamConfig
from model.contract import HalfTrial
from model.encoder_configs import ViTConfig
from model.predictor import Predictor
from model.sam import build_sam
from schemas.errors import InputError
from schemas.presets import GeneratorConfig
from schemas.rle import Rle
from tests.peers.published import draw_weights


def column_mask(first: int, last: int) -> Rle:
    mask = np.zeros((2, 20), dtype=bool)
    mask[:, first:last] = True
    return rle.encode(mask)


def test_masks_are_paired_and_counted() -> None:
    expected = [column_mask(0, 10), column_mask(10, 14), column_mask(15, 20)]
    found = [column_mask(15, 20), column_mask(0, 8), column_mask(13, 15)]
    assert compare_masks(found, expected) == MaskDifference(2, 1, 1, 1, pytest.approx(0.9), pytest.approx(0.8))


def test_a_mask_is_paired_once_and_so_that_the_whole_fits_best() -> None:
    # The first overlaps both, by 10/12 and 10/11; the second only the latter. Greedily the second would stay alone.
    found = [column_mask(0, 10), column_mask(1, 12)]
    expected = [column_mask(0, 12), column_mask(0, 11)]
    difference = compare_masks(found, expected)
    assert (difference.matched, difference.lost, difference.extra) == (2, 0, 0)
    assert difference.mean_iou == pytest.approx((11 / 12 + 10 / 11) / 2)


@given(starts=st.lists(st.integers(0, 19), max_size=6))
def test_masks_do_not_differ_from_themselves_in_another_order(starts: list[int]) -> None:
    masks = [column_mask(start, 20) for start in starts]
    assert compare_masks(masks[::-1], masks) == MaskDifference(len(masks), len(masks), 0, 0, 1.0, 1.0)


def test_without_masks_all_others_are_lost_or_extra() -> None:
    masks = [column_mask(0, 3)]
    assert compare_masks([], masks) == MaskDifference(0, 0, 1, 0, 1.0, 1.0)
    assert compare_masks(masks, []) == MaskDifference(0, 0, 0, 1, 1.0, 1.0)


def test_masks_of_another_size_are_an_error() -> None:
    with pytest.raises(InputError):
        compare_masks([rle.encode(np.ones((3, 3), dtype=bool))], [column_mask(0, 3)])


def test_exact_does_not_differ_from_itself_and_fast_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.contract.half_trial", lambda _: HalfTrial(half_s=1.0, single_s=2.0))
    sam = build_sam(SamConfig(ViTConfig(32, 2, 2, global_attn_indexes=(1,), img_size=128, window_size=4)))
    draw_weights(sam, seed=0)
    config = GeneratorConfig(
        points_per_side=4, pred_iou_thresh=0, stability_score_thresh=0.2, stability_score_offset=0.05, box_nms_thresh=1
    )
    image = skimage.data.chelsea()
    same = difference_to_exact(Predictor(sam), config, image)
    assert same.matched == same.identical > 10
    assert same.lost == same.extra == 0
    other = difference_to_exact(Predictor(sam, contract="fast"), config, image)
    assert other.matched > 0
    assert other.identical < same.identical
