import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.masks import filters
from engine.masks.crops import Crop
from tests.peers.torchvision_standin import install_torchvision_standin

IMAGE_HW = (300, 400)


def test_predicted_iou_must_be_above_its_threshold_and_stability_at_least_its_own() -> None:
    on_the_threshold = torch.tensor([0.9, 0.875, 0.85])
    assert filters.by_predicted_iou(on_the_threshold, threshold=0.875).keep.tolist() == [True, False, False]
    assert filters.by_stability(on_the_threshold, threshold=0.875).keep.tolist() == [True, True, False]


def test_thresholds_are_compared_in_the_type_of_the_model() -> None:
    # 0.88 has no exact float32: a predicted IoU of float32(0.88) is on the threshold, not above or below it.
    assert filters.by_predicted_iou(torch.tensor([0.88]), threshold=0.88).keep.tolist() == [False]
    assert filters.by_stability(torch.tensor([0.95]), threshold=0.95).keep.tolist() == [True]


def test_a_threshold_of_zero_keeps_everything() -> None:
    assert filters.by_predicted_iou(torch.tensor([-0.1, 0.0]), threshold=0).keep.all()
    assert filters.by_stability(torch.tensor([0.0]), threshold=0).keep.all()


def test_stability_score_by_hand() -> None:
    logits = torch.tensor(
        [
            [[2.0, 0.5], [-0.5, -2.0]],  # above 1: one pixel; above -1: three
            [[1.0, 5.0], [-1.0, -5.0]],  # on +1 and on -1 counts as outside
            [[5.0, 5.0], [5.0, 5.0]],
            [[-5.0, -5.0], [-5.0, -5.0]],  # empty at both
            [[0.5, 0.5], [-9.0, -9.0]],  # empty at +1 only
        ]
    )
    torch.testing.assert_close(filters.stability_score(logits), torch.tensor([1 / 3, 1 / 2, 1.0, 0.0, 0.0]))
    assert filters.stability_score(logits, offset=0.25)[0] == 1.0
    assert filters.stability_score(logits, threshold=1.0, offset=0.5)[0] == 1.0


def test_stability_score_refuses_a_negative_offset() -> None:
    with pytest.raises(ValueError, match="offset"):
        filters.stability_score(torch.zeros((1, 2, 2)), offset=-1)


@given(st.integers(0, 2**32 - 1), st.floats(0, 3))
def test_stability_score_is_that_of_the_published_code(seed: int, offset: float) -> None:
    install_torchvision_standin()
    from segment_anything.utils.amg import calculate_stability_score

    logits = torch.randn((5, 17, 23), generator=torch.Generator().manual_seed(seed)) * 2
    expected = calculate_stability_score(logits, 0.0, offset)
    assert filters.stability_score(logits, offset=offset).tolist() == expected.nan_to_num(0).tolist()


def test_masks_that_cover_the_image_go() -> None:
    area = torch.tensor([94, 95, 100])
    assert filters.by_area_frac(area, image_area=100, max_area_frac=0.95).keep.tolist() == [True, False, False]
    assert filters.by_area_frac(area, image_area=100, max_area_frac=1.0).keep.all()


def test_empty_masks_go() -> None:
    assert filters.by_emptiness(torch.tensor([True, False])).keep.tolist() == [False, True]


@pytest.mark.parametrize(
    ("box", "keep"),
    [
        ((150, 120, 250, 200), True),  # well inside the crop
        ((120, 120, 250, 200), False),  # 20 px from the crop's left side, which is inside the image
        ((121, 120, 250, 200), True),  # 21 px from it
        ((150, 120, 250, 230), False),  # 20 px above its bottom
        ((150, 120, 321, 200), False),  # a box may lie beyond the crop's side
        ((150, 0, 250, 200), True),  # at the top of crop and image alike
    ],
)
def test_crop_edge_by_hand(box: tuple[int, ...], keep: bool) -> None:
    crop = Crop(100, 0, 320, 250, layer=1)
    assert filters.by_crop_edge(torch.tensor([box]), crop, image_hw=IMAGE_HW).keep.tolist() == [keep]


def test_the_whole_image_has_no_inner_edges() -> None:
    boxes = torch.tensor([[0, 0, 399, 299], [10, 10, 385, 295], [0, 100, 50, 150]])
    assert filters.by_crop_edge(boxes, Crop(0, 0, 400, 300, layer=0), image_hw=IMAGE_HW).keep.all()


@given(st.lists(st.tuples(*[st.integers(0, 220)] * 4), min_size=1), st.integers(0, 100), st.integers(0, 100))
def test_crop_edge_is_that_of_the_published_code(boxes: list[tuple[int, ...]], x0: int, y0: int) -> None:
    install_torchvision_standin()
    from segment_anything.utils.amg import is_box_near_crop_edge

    crop, in_crop = Crop(x0, y0, x0 + 220, y0 + 190, layer=1), torch.tensor(boxes)
    expected = ~is_box_near_crop_edge(in_crop, list(crop.box), [0, 0, 400, 300])
    found = filters.by_crop_edge(in_crop + torch.tensor([x0, y0, x0, y0]), crop, image_hw=IMAGE_HW)
    assert found.keep.tolist() == expected.tolist()


def test_every_reason_is_known() -> None:
    one = torch.tensor([1.0])
    verdicts = [
        filters.by_predicted_iou(one, threshold=0.5),
        filters.by_emptiness(one == 0),
        filters.by_crop_edge(torch.zeros((1, 4)), Crop(0, 0, 2, 2, layer=0), image_hw=(2, 2)),
        filters.by_stability(one, threshold=0.5),
        filters.by_area_frac(one, image_area=4, max_area_frac=0.95),
    ]
    assert [verdict.reason for verdict in verdicts] == list(filters.REASONS[:5])
