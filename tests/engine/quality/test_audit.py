"""The audit: which masks are pairs, and what their shares and intervals are."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine import rle
from engine.evaluation.bootstrap import bootstrap_mean
from engine.quality.audit import AuditedImage, CorrectedMask, MaskPair, audit_lines, audit_report, compare
from schemas.errors import InputError
from schemas.rle import Rle


def bar(first: int, end: int, *, length: int = 100) -> Rle:
    """A mask of one row: columns first to end."""
    mask = np.zeros((1, length), dtype=bool)
    mask[0, first:end] = True
    return rle.encode(mask)


def image(*ious: float, deleted: int = 0, added: int = 0) -> AuditedImage:
    pairs = tuple(MaskPair(number, iou) for number, iou in enumerate(ious))
    return AuditedImage(1, pairs, tuple(range(1000, 1000 + deleted)), added)


def test_pairs_by_hand() -> None:
    before = {11: bar(0, 10), 12: bar(20, 30), 13: bar(40, 50), 14: bar(60, 70), 15: bar(80, 90)}
    after = [
        CorrectedMask(bar(0, 10), 11),  # as it was
        CorrectedMask(bar(28, 32), 12),  # edited: 2 of 12 columns in common
        CorrectedMask(bar(40, 48)),  # drawn anew: 8 of 10
        CorrectedMask(bar(64, 74)),  # another object: 6 of 14
        CorrectedMask(bar(95, 99)),  # new
    ]
    found = compare(7, before, after)
    assert found.pairs == (MaskPair(11, 1.0), MaskPair(12, pytest.approx(2 / 12)), MaskPair(13, pytest.approx(0.8)))
    assert found.deleted == (14, 15)
    assert found.added == 2
    assert found.image_id == 7


def test_identity_comes_before_likeness() -> None:
    # The expert made 11 into what 12 was, and deleted 12.
    found = compare(1, {11: bar(0, 10), 12: bar(50, 60)}, [CorrectedMask(bar(50, 60), 11)])
    assert found.pairs == (MaskPair(11, 0.0),)
    assert found.deleted == (12,)
    assert found.added == 0


def test_a_mask_that_has_its_pair_takes_no_other() -> None:
    found = compare(1, {11: bar(0, 10)}, [CorrectedMask(bar(0, 4), 11), CorrectedMask(bar(0, 10))])
    assert found == AuditedImage(1, (MaskPair(11, pytest.approx(0.4)),), (), 1)


def test_of_two_regions_with_one_id_the_more_alike_is_the_pair() -> None:
    halves = [CorrectedMask(bar(0, 3), 11), CorrectedMask(bar(3, 10), 11)]
    found = compare(1, {11: bar(0, 10)}, halves)
    assert found.pairs == (MaskPair(11, pytest.approx(0.7)),)
    assert found.added == 1


def test_an_id_of_no_mask_of_the_image_is_matched_by_likeness() -> None:
    found = compare(1, {11: bar(0, 10)}, [CorrectedMask(bar(0, 9), 99)])
    assert found == AuditedImage(1, (MaskPair(11, pytest.approx(0.9)),), (), 0)


def test_greedy_takes_the_most_alike_first() -> None:
    # 12 is 9/10 like the corrected mask, 11 is 8/10 like it; the other is like 11 alone, 6/10.
    before = {11: bar(0, 10), 12: bar(0, 9)}
    after = [CorrectedMask(bar(0, 8)), CorrectedMask(bar(0, 6))]
    found = compare(1, before, after)
    # 8 of 9 for (12, first), then 6 of 10 for (11, second).
    assert found.pairs == (MaskPair(11, pytest.approx(0.6)), MaskPair(12, pytest.approx(8 / 9)))


def test_a_mask_erased_to_nothing_is_deleted() -> None:
    found = compare(1, {11: bar(0, 10)}, [CorrectedMask(bar(0, 0), 11), CorrectedMask(bar(0, 0))])
    assert found == AuditedImage(1, (), (11,), 0)


@pytest.mark.parametrize(("before", "after"), [({}, []), ({5: bar(0, 3)}, []), ({}, [CorrectedMask(bar(0, 3), 5)])])
def test_nothing_on_one_side(before: dict[int, Rle], after: list[CorrectedMask]) -> None:
    found = compare(1, before, after)
    assert (found.pairs, found.deleted, found.added) == ((), tuple(before), len(after))


def test_masks_of_another_size_are_refused_and_the_image_is_named() -> None:
    with pytest.raises(InputError, match=r"audit of image 31: .*one size"):
        compare(31, {1: bar(0, 3)}, [CorrectedMask(bar(0, 3, length=80), 1)])


small_masks = st.lists(hnp.arrays(bool, (3, 4)).map(rle.encode), max_size=5)


@given(small_masks, small_masks, st.data())
@settings(max_examples=60)
def test_every_mask_is_in_one_place_whatever_the_order(
    before: list[Rle], after: list[Rle], data: st.DataObject
) -> None:
    known = dict(enumerate(before, start=1))
    corrected = [CorrectedMask(mask, data.draw(st.none() | st.integers(1, 6))) for mask in after]
    found = compare(1, known, corrected)
    paired = [pair.mask_id for pair in found.pairs]
    assert sorted([*paired, *found.deleted]) == sorted(known)
    assert len(paired) + found.added == sum(rle.area(mask) > 0 for mask in after)
    assert compare(1, known, data.draw(st.permutations(corrected))) == found


@given(small_masks.map(lambda masks: [mask for mask in masks if rle.area(mask)]))
def test_untouched_masks_are_perfect_pairs(masks: list[Rle]) -> None:
    known = dict(enumerate(masks))
    for carried in (True, False):
        after = [CorrectedMask(mask, number if carried else None) for number, mask in known.items()]
        found = compare(1, known, after)
        assert [pair.iou for pair in found.pairs] == [1.0] * len(masks)
        assert (found.deleted, found.added) == ((), 0)


def test_report_by_hand() -> None:
    # 0.90 and 0.75 are not over 0.90 and 0.75.
    report = audit_report([image(1.0, 0.95, 0.90, 0.8), image(0.75, 0.2, deleted=2, added=4)], skipped=3)
    assert (report.images, report.skipped, report.masks) == (2, 3, 8)
    assert (report.pairs, report.deleted, report.added) == (6, 2, 4)
    values = {key: part["value"] for key, part in report.to_dict().items() if isinstance(part, dict)}
    assert values == pytest.approx(
        {
            "over_high": 2 / 6,
            "over_fair": 4 / 6,
            "mean_iou": 4.6 / 6,
            "kept_high": 2 / 8,
            "deleted_frac": 2 / 8,
            "added_frac": 4 / 8,
        }
    )
    assert json.loads(json.dumps(report.to_dict()))["over_high"]["value"] == pytest.approx(1 / 3)


def test_with_equal_numbers_of_masks_the_interval_is_that_of_the_means_of_images() -> None:
    rng = np.random.default_rng(0)
    ious = rng.uniform(0.6, 1, size=(30, 5))
    report = audit_report([image(*row) for row in ious])
    assert report.mean_iou is not None
    assert (report.mean_iou.low, report.mean_iou.high) == pytest.approx(bootstrap_mean(ious.mean(axis=1)))
    assert report.mean_iou.low < report.mean_iou.value < report.mean_iou.high


def test_the_interval_is_close_to_drawing_images_anew() -> None:
    rng = np.random.default_rng(1)
    images = [image(*rng.uniform(0.8, 1, size=rng.integers(1, 40))) for _ in range(80)]
    report = audit_report(images)
    assert report.over_high is not None
    ious = [np.array([pair.iou for pair in one.pairs]) for one in images]
    ratios = [(np.concatenate([ious[i] for i in rng.integers(80, size=80)]) > 0.9).mean() for _ in range(2000)]
    assert (report.over_high.low, report.over_high.high) == pytest.approx(
        np.quantile(ratios, [0.025, 0.975]), abs=0.006
    )


@given(
    st.lists(
        st.builds(
            lambda ious, deleted, added: image(*ious, deleted=deleted, added=added),
            st.lists(st.floats(0, 1), max_size=4),
            st.integers(0, 3),
            st.integers(0, 5),
        ),
        max_size=6,
    )
)
@settings(max_examples=15)
def test_intervals_hold_their_value_and_shares_stay_shares(images: list[AuditedImage]) -> None:
    report = audit_report(images)
    for name in ("over_high", "over_fair", "mean_iou", "kept_high", "deleted_frac", "added_frac"):
        estimate = getattr(report, name)
        if estimate is not None:
            assert 0 <= estimate.low <= estimate.value + 1e-9
            assert estimate.value - 1e-9 <= estimate.high
            assert name == "added_frac" or estimate.high <= 1
    assert (report.over_high is None) == (report.pairs == 0)
    assert (report.deleted_frac is None) == (report.masks == 0)


def test_the_section_of_the_report() -> None:
    lines = audit_lines(audit_report([image(1.0, 0.95, 0.8, deleted=1, added=2)] * 5, skipped=1))
    assert lines[:2] == ["", "# Audit"]
    assert "5 images (1 skipped), 20 masks: 15 corrected or left as they were, 5 deleted, 10 added." in lines
    assert "| Pairs with IoU > 0.90 | 66.7% | 66.7% to 66.7% |" in lines
    assert "| Pairs with IoU > 0.75 | 100.0% | 100.0% to 100.0% |" in lines
    assert "| Mean IoU of pairs | 0.917 | 0.917 to 0.917 |" in lines
    assert "| Masks with IoU > 0.90, deleted ones counted as wrong | 50.0% | 50.0% to 50.0% |" in lines
    assert "| Masks deleted | 25.0% | 25.0% to 25.0% |" in lines
    assert "| Masks added, of those there were | 50.0% | 50.0% to 50.0% |" in lines


def test_an_audit_of_nothing_says_so() -> None:
    assert "| Mean IoU of pairs | - | - |" in audit_lines(audit_report([]))
