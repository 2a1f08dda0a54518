"""The interaction to the paper's letter, round by round, with a fixed seed (SAM paper, appendix A)."""

from itertools import pairwise

import pytest
import torch

from model.prompt_encoder import NOT_A_POINT
from model.sam import build_sam
from model.training.initialise import point_cross_attention
from model.training.interaction import Draws, Round, interact, plan_rounds
from model.training.regions import resize_masks
from tests.stages.workspaces import TINY

SIDE = 64
KINDS = ["first", *["point"] * 4, "mask_only", *["point"] * 4, "mask_only"]


def truths() -> torch.Tensor:
    """A square, a ring, a thin bar, two blobs and the lower half."""
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    distance = ((rows - 32) ** 2 + (columns - 32) ** 2).sqrt()
    return torch.stack(
        [
            (rows >= 8) & (rows < 40) & (columns >= 20) & (columns < 60),
            (distance < 28) & (distance > 16),
            (rows >= 30) & (rows < 34),
            (distance < 8) | ((rows < 12) & (columns < 12)),
            rows >= 32,
        ]
    )


def interaction(*, box_prob: float) -> list[Round]:
    torch.manual_seed(2)
    sam = build_sam(TINY)
    point_cross_attention(sam, seed=0)
    masks = truths()
    index = torch.tensor([0, 0, 1, 1, 1])
    with torch.no_grad():
        image = sam.encode(sam.preprocess(torch.randint(0, 255, (2, 3, SIDE, SIDE), dtype=torch.uint8)))
        plan = plan_rounds(correction_points=8, mask_only_rounds=True, generator=torch.Generator().manual_seed(0))
        draws = Draws.of_picture(len(masks), 8, seed=12)
        return list(interact(sam, image, masks, index, rounds=plan, draws=draws, box_prob=box_prob))


@pytest.fixture(scope="module")
def rounds() -> list[Round]:
    return interaction(box_prob=0.5)


def test_eleven_rounds_of_these_kinds(rounds: list[Round]) -> None:
    assert [one.kind for one in rounds] == KINDS


@pytest.mark.parametrize(("box_prob", "labels"), [(0.0, [1, NOT_A_POINT]), (1.0, [2, 3])])
def test_the_first_prompts_are_as_often_boxes_as_told(box_prob: float, labels: list[int]) -> None:
    assert interaction(box_prob=box_prob)[0].prompts.labels.tolist() == [labels] * 5


def test_the_first_prompt_is_a_point_in_the_mask_or_a_box_around_it(rounds: list[Round]) -> None:
    first = rounds[0].prompts
    kinds = first.labels.tolist()
    assert kinds == [[2, 3], [2, 3], [2, 3], [1, NOT_A_POINT], [1, NOT_A_POINT]]
    for mask, coords, labels in zip(truths(), first.coords, kinds, strict=True):
        if labels[0] == 1:
            x, y = coords[0].long()
            assert mask[y, x]
        else:
            there = mask.nonzero()
            tight = torch.cat([there.min(0).values.flip(0), there.max(0).values.flip(0)]).float()
            sides = (tight[2:] - tight[:2]).repeat(2)
            off = (coords.flatten() - tight).abs()
            assert (off <= torch.minimum(0.5 * sides, torch.tensor(20.0))).all(), "five deviations, or 20 px"
            assert off.sum() > 0


def test_every_correction_lies_in_the_error_of_the_mask_before_it(rounds: list[Round]) -> None:
    truth = resize_masks(truths(), (16, 16))
    for before, now in pairwise(rounds):
        if now.kind == "mask_only":
            assert now.prompts is before.prompts, "no new point"
            continue
        assert now.prompts.labels.shape[1] == before.prompts.labels.shape[1] + 1
        torch.testing.assert_close(now.prompts.coords[:, :-1], before.prompts.coords)
        predicted = before.handed_on > 0
        for number, (point, label) in enumerate(zip(now.prompts.coords[:, -1], now.prompts.labels[:, -1], strict=True)):
            x, y = ((point + 0.5) / 4).long()
            missed, spilled = truth[number] & ~predicted[number], predicted[number] & ~truth[number]
            assert (missed | spilled)[y, x]
            assert label == int(missed[y, x])


def test_the_logits_of_the_mask_with_the_highest_predicted_iou_are_fed_back(rounds: list[Round]) -> None:
    assert rounds[0].fed_back is None
    for before, now in pairwise(rounds):
        assert now.fed_back is not None
        best = before.prediction.predicted_iou.argmax(1)
        for number, chosen in enumerate(best):
            assert torch.equal(now.fed_back[number], before.prediction.logits[number, chosen])
    assert len(set(rounds[0].prediction.predicted_iou.argmax(1).tolist())) > 1, "not always the same of the three"
    assert not ((rounds[1].fed_back == 0) | (rounds[1].fed_back == 1)).any(), "logits, not a mask"


def test_three_masks_answer_one_prompt_and_the_fourth_token_all_later_ones(rounds: list[Round]) -> None:
    assert [one.prediction.logits.shape[1] for one in rounds] == [3] + [1] * 10
    assert [one.prediction.predicted_iou.shape[1] for one in rounds] == [3] + [1] * 10


def test_the_same_seed_asks_the_same_however_the_masks_are_divided(rounds: list[Round]) -> None:
    """A change of these numbers is a change of what every training asks."""
    again = Draws.of_picture(5, 8, seed=12)
    part = again.part(slice(2, 4), torch.device("cpu"))
    assert torch.equal(part.corrections, again.corrections[2:4])
    square, blobs = rounds[0].prompts.coords[0], rounds[0].prompts.coords[3]
    assert square.flatten().tolist() == pytest.approx([21.83, 3.50, 56.24, 43.12], abs=0.01)
    assert blobs[0].tolist() == [9, 6]
