"""Losses against values worked out by hand."""

import math

import numpy as np
import pytest
import torch

from model.training.losses import dice_loss, focal_loss, interaction_loss, mask_iou


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_focal_loss_of_two_pixels_by_hand() -> None:
    # Probability 0.9 where the truth is 1, and 0.2 where it is 0.
    logits = torch.tensor([[[[_logit(0.9), _logit(0.2)]]]], dtype=torch.float64)
    targets = torch.tensor([[[[1.0, 0.0]]]], dtype=torch.float64)
    by_hand = (0.25 * 0.1**2 * -math.log(0.9) + 0.75 * 0.2**2 * -math.log(0.8)) / 2
    assert focal_loss(logits, targets, alpha=0.25, gamma=2.0).item() == pytest.approx(by_hand, rel=1e-9)


def test_focal_loss_is_per_pixel_and_not_of_the_mean() -> None:
    """The factor weighs each pixel: a mean taken first would give another value."""
    logits = torch.tensor([[[[_logit(0.99), _logit(0.4)]]]], dtype=torch.float64)
    targets = torch.ones_like(logits)
    mean_entropy = (-math.log(0.99) - math.log(0.4)) / 2
    wrong = 0.25 * (1 - math.exp(-mean_entropy)) ** 2 * mean_entropy
    right = 0.25 * (0.01**2 * -math.log(0.99) + 0.6**2 * -math.log(0.4)) / 2
    assert focal_loss(logits, targets).item() == pytest.approx(right, rel=1e-9)
    assert right != pytest.approx(wrong, rel=0.1)


def test_dice_loss_by_hand() -> None:
    logits = torch.tensor([[[[_logit(0.75), _logit(0.5), _logit(0.25)]]]], dtype=torch.float64)
    targets = torch.tensor([[[[1.0, 1.0, 0.0]]]], dtype=torch.float64)
    by_hand = 1 - (2 * (0.75 + 0.5) + 1) / (1.5 + 2 + 1)
    assert dice_loss(logits, targets, smooth=1.0).item() == pytest.approx(by_hand, rel=1e-9)


def test_mask_iou_counts_pixels_and_is_zero_for_two_empty_masks() -> None:
    logits = torch.tensor([[[[1.0, 1.0, -1.0, -1.0]], [[-1.0, -1.0, -1.0, -1.0]]]])
    targets = torch.tensor([[[[0.0, 1.0, 1.0, 0.0]], [[0.0, 0.0, 0.0, 0.0]]]])
    assert mask_iou(logits, targets).tolist() == [[pytest.approx(1 / 3), 0.0]]


def test_dice_loss_of_a_mask_that_is_nowhere_is_smoothed_by_one_pixel() -> None:
    """And masks of one batch do not count in one another."""
    logits = torch.tensor([[[[_logit(0.25)] * 4]], [[[_logit(0.75)] * 4]]], dtype=torch.float64)
    targets = torch.tensor([[[[0.0] * 4]], [[[1.0] * 4]]], dtype=torch.float64)
    assert dice_loss(logits, targets).tolist() == [[pytest.approx(1 - 1 / 2)], [pytest.approx(1 - 7 / 8)]]


def test_pixels_at_a_threshold_are_background_and_one_pixel_is_enough_to_agree_on() -> None:
    logits = torch.tensor([[[[2.0, 0.0, -0.5]]]])
    assert mask_iou(logits, torch.tensor([[[[1.0, 0.0, 0.0]]]])).item() == 1
    assert mask_iou(logits, torch.tensor([[[[1.0, 0.5, 0.5]]]])).item() == 1
    assert mask_iou(logits, torch.tensor([[[[0.0, 0.6, 0.0]]]])).item() == 0


def _loss_of_one(logits: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """Focal loss, dice loss and IoU of one mask, pixel by pixel in numpy."""
    right = np.where(truth > 0, 1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(logits)))
    focal = float(np.mean(np.where(truth > 0, 0.25, 0.75) * (1 - right) ** 2 * -np.log(right)))
    probability = 1 / (1 + np.exp(-logits))
    dice = 1 - (2 * (probability * truth).sum() + 1) / (probability.sum() + truth.sum() + 1)
    return focal, float(dice), ((logits > 0) & (truth > 0)).sum() / ((logits > 0) | (truth > 0)).sum()


@pytest.mark.parametrize("supervise_all", [False, True])
def test_losses_of_many_masks_are_those_of_each_alone(supervise_all: bool) -> None:
    rng = np.random.default_rng(5)
    logits, said, truth = rng.normal(0, 2, (4, 3, 5, 6)), rng.random((4, 3)), (rng.random((4, 5, 6)) < 0.4) * 1.0
    focal, dice, iou, chosen = [], [], [], []
    for masks, stated, true in zip(logits, said, truth, strict=True):
        each = [_loss_of_one(mask, true) for mask in masks]
        best = int(np.argmin([20 * one[0] + one[1] for one in each]))
        errors = [(number - one[2]) ** 2 for number, one in zip(stated, each, strict=True)]
        focal.append(each[best][0])
        dice.append(each[best][1])
        iou.append(float(np.mean(errors)) if supervise_all else errors[best])
        chosen.append(best)
    found = interaction_loss(
        logits=torch.from_numpy(logits),
        predicted_iou=torch.from_numpy(said),
        targets=torch.from_numpy(truth),
        supervise_all_iou=supervise_all,
    )
    assert found.chosen.tolist() == chosen
    assert len(set(chosen)) > 1
    for name, expected in (("focal", focal), ("dice", dice), ("iou", iou)):
        assert getattr(found, name).tolist() == pytest.approx(expected), name
    assert found.total.item() == pytest.approx(np.mean(20 * np.array(focal) + dice + iou))


def test_what_is_reported_of_a_loss_holds_no_gradient() -> None:
    logits, said = torch.randn(2, 3, 4, 4, requires_grad=True), torch.rand(2, 3, requires_grad=True)
    loss = interaction_loss(logits=logits, predicted_iou=said, targets=torch.ones(2, 4, 4))
    assert [part.requires_grad for part in loss] == [True, False, False, False, False]
    assert not mask_iou(logits, torch.ones(2, 3, 4, 4)).requires_grad


def test_only_the_mask_of_lowest_loss_gets_a_gradient() -> None:
    truth = torch.zeros(1, 4, 4)
    truth[0, :2] = 1
    good, bad = torch.where(truth > 0, 3.0, -3.0), torch.where(truth > 0, -3.0, 3.0)
    logits = torch.stack([bad, good, torch.zeros_like(good)], dim=1).requires_grad_()
    predicted_iou = torch.tensor([[0.5, 0.25, 0.5]], requires_grad=True)
    loss = interaction_loss(logits=logits, predicted_iou=predicted_iou, targets=truth)
    loss.total.backward()
    assert loss.chosen.tolist() == [1]
    assert loss.iou.tolist() == [pytest.approx(0.75**2)]  # the mask is right: IoU 1, predicted 0.25
    assert predicted_iou.grad is not None
    assert predicted_iou.grad.tolist() == [[0.0, pytest.approx(2 * (0.25 - 1)), 0.0]]
    assert logits.grad is not None
    assert [bool(grad.abs().sum() > 0) for grad in logits.grad[0]] == [False, True, False]


def test_total_weighs_focal_twenty_to_one() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 1, 5, 5), (torch.rand(2, 5, 5) > 0.5).float()
    loss = interaction_loss(logits=logits, predicted_iou=torch.zeros(2, 1), targets=targets)
    assert loss.total.item() == pytest.approx((20 * loss.focal + loss.dice + loss.iou).mean().item(), rel=1e-5)


def test_the_iou_of_all_masks_is_trained_where_asked() -> None:
    truth = torch.zeros(1, 4, 4)
    truth[0, :2] = 1
    good = torch.where(truth > 0, 3.0, -3.0)
    logits = torch.stack([-good, good, torch.ones_like(good)], dim=1)  # IoU 0, 1 and 8 of 16 pixels
    predicted_iou = torch.tensor([[0.5, 0.25, 0.5]], requires_grad=True)
    loss = interaction_loss(logits=logits, predicted_iou=predicted_iou, targets=truth, supervise_all_iou=True)
    loss.total.backward()
    assert loss.chosen.tolist() == [1]
    assert loss.iou.tolist() == [pytest.approx((0.5**2 + 0.75**2 + 0.0) / 3)]
    assert predicted_iou.grad is not None
    assert predicted_iou.grad[0].tolist() == pytest.approx([2 * 0.5 / 3, -2 * 0.75 / 3, 0.0])
