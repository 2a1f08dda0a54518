"""The simulated annotator, round by round."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.geometry import mask_boxes
from model.prompt_encoder import NOT_A_POINT
from model.training.interaction import (
    Draws,
    Prompts,
    correction_points,
    first_prompts,
    noisy_boxes,
    plan_rounds,
)
from model.training.regions import uniform_points


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _square(side: int = 64, *, top: int = 16, left: int = 24, height: int = 16, width: int = 8) -> torch.Tensor:
    mask = torch.zeros(1, side, side, dtype=torch.bool)
    mask[:, top : top + height, left : left + width] = True
    return mask


@given(st.integers(0, 2**31))
def test_the_papers_plan_has_eleven_rounds(seed: int) -> None:
    rounds = plan_rounds(correction_points=8, mask_only_rounds=True, generator=_generator(seed))
    assert len(rounds) == 11
    assert rounds[0] == "first"
    assert rounds[-1] == "mask_only"
    assert rounds.count("point") == 8
    assert rounds[1:-1].count("mask_only") == 1


def test_the_early_mask_only_round_comes_at_every_place_among_the_points() -> None:
    generator = _generator()
    places = {
        tuple(plan_rounds(correction_points=8, mask_only_rounds=True, generator=generator)).index("mask_only")
        for _ in range(300)
    }
    assert places == set(range(1, 9))


def test_first_prompts_are_points_or_boxes_with_equal_chance() -> None:
    masks = _square().repeat(2000, 1, 1)
    prompts = first_prompts(masks, box_prob=0.5, draws=Draws.of_picture(2000, 0, seed=0))
    is_box = (prompts.labels == torch.tensor([2, 3])).all(1)
    is_point = (prompts.labels == torch.tensor([1, NOT_A_POINT])).all(1)
    assert (is_box ^ is_point).all()
    assert is_box.float().mean().item() == pytest.approx(0.5, abs=0.05)
    x, y = prompts.coords[is_point, 0].long().unbind(1)
    assert masks[0, y, x].all()


def test_points_are_uniform_in_the_mask() -> None:
    mask = _square(8, top=2, left=2, height=2, width=2)
    mask[0, 7, 7] = True
    points = uniform_points(mask.repeat(5000, 1, 1), uniform=torch.rand(5000, generator=_generator()))
    places, counts = np.unique(points.numpy(), axis=0, return_counts=True)
    assert places.tolist() == [[2, 2], [2, 3], [3, 2], [3, 3], [7, 7]]
    assert counts / 5000 == pytest.approx(0.2, abs=0.03)


def test_boxes_are_tight_and_their_noise_is_a_tenth_of_the_side_at_most_20_px() -> None:
    boxes = mask_boxes(_square(64, top=16, left=24, height=16, width=8))
    assert boxes.tolist() == [[24, 16, 31, 31]]
    many = torch.tensor([[100.0, 100.0, 200.0, 140.0]]).repeat(4000, 1)
    noise = noisy_boxes(many, side_px=512, normal=torch.randn(4000, 4, generator=_generator())) - many
    assert noise.std(0).tolist() == pytest.approx([10, 4, 10, 4], rel=0.1)
    large = torch.tensor([[50.0, 50.0, 450.0, 450.0]]).repeat(1000, 1)
    noisy = noisy_boxes(large, side_px=512, normal=torch.randn(1000, 4, generator=_generator()))
    assert (noisy - large).abs().max().item() == pytest.approx(20)


def test_a_correction_lies_in_the_error_region_and_says_what_kind_of_error_it_is() -> None:
    truth = _square(64, top=16, left=16, height=32, width=32).repeat(400, 1, 1)
    logits = torch.full((400, 16, 16), -5.0)  # a quarter of the side
    logits[:, 4:12, 8:14] = 5.0  # misses the left half, spills over the right edge
    points, labels = correction_points(truth, logits, uniform=torch.rand(400, 3, generator=_generator()))
    columns, rows = ((points + 0.5) / 4).long().unbind(1)
    missed = (columns >= 4) & (columns < 8)
    spilled = (columns >= 12) & (columns < 14)
    assert (missed ^ spilled).all()
    assert ((rows >= 4) & (rows < 12)).all()
    assert labels[missed].eq(1).all()
    assert labels[spilled].eq(0).all()
    assert missed.float().mean().item() == pytest.approx(2 / 3, abs=0.08)  # uniform: 4 columns against 2


def test_a_perfect_prediction_gets_another_foreground_point() -> None:
    truth = _square(64, top=16, left=16, height=32, width=32)
    logits = torch.full((1, 16, 16), -5.0)
    logits[:, 4:12, 4:12] = 5.0
    points, labels = correction_points(truth, logits, uniform=torch.rand(1, 3, generator=_generator()))
    x, y = points[0].round().long()
    assert labels.tolist() == [1]
    assert truth[0, y, x]


def test_prompts_grow_by_one_point() -> None:
    prompts = Prompts(torch.zeros(2, 2, 2), torch.tensor([[1, -1], [2, 3]]))
    grown = prompts.add(torch.tensor([[5.0, 6.0], [7.0, 8.0]]), torch.tensor([0, 1]))
    assert grown.coords[:, 2].tolist() == [[5, 6], [7, 8]]
    assert grown.labels.tolist() == [[1, -1, 0], [2, 3, 1]]


def test_boxes_stay_on_the_picture() -> None:
    whole = torch.tensor([[0.0, 0.0, 63.0, 63.0]]).repeat(2, 1)
    outwards = torch.tensor([[-1.0, -1.0, 1.0, 1.0], [1.0, 1.0, -1.0, -1.0]])
    noisy = noisy_boxes(whole, side_px=64, normal=outwards)
    assert noisy[0].tolist() == [0, 0, 63, 63]
    assert noisy[1].tolist() == pytest.approx([6.3, 6.3, 56.7, 56.7])


def test_draws_of_pictures_are_joined_and_dealt_out_unchanged() -> None:
    first, second = Draws.of_picture(2, 3, seed=1), Draws.of_picture(1, 3, seed=2)
    assert not torch.equal(first.first[:1], second.first)
    joined = Draws.joined([first, second])
    for which, expected in ((slice(0, 2), first), (slice(2, 3), second)):
        part = joined.part(which, torch.device("cpu"))
        for name in ("first", "box_noise", "corrections", "mask_prompts"):
            assert torch.equal(getattr(part, name), getattr(expected, name))


def test_noise_of_boxes_by_hand() -> None:
    """Sides of 20 and 40 px: deviations of 2 and 4."""
    box, normal = torch.tensor([[10.0, 20.0, 30.0, 60.0]]), torch.tensor([[1.0, -1.0, 0.5, 2.0]])
    assert noisy_boxes(box, side_px=100, normal=normal).tolist() == [[12, 16, 31, 68]]
    assert noisy_boxes(box, side_px=64, normal=normal).tolist() == [[12, 16, 31, 63]]
    far = noisy_boxes(box * 30, side_px=2000, normal=torch.tensor([[1.0, -1.0, -0.01, 0.01]]))
    assert far.tolist() == [pytest.approx([320, 580, 899.4, 1801.2])]


def _draws(first: list[list[float]]) -> Draws:
    count = len(first)
    return Draws(torch.tensor(first), torch.zeros(count, 4), torch.zeros(count, 1, 3), torch.zeros(count, 9))


def test_first_prompts_by_hand() -> None:
    """Of 16 x 8 pixels from (24, 16) on: the first, the middle one, and the box where the first number is small."""
    masks = _square().repeat(4, 1, 1)
    prompts = first_prompts(masks, box_prob=0.25, draws=_draws([[0.9, 0.0], [0.25, 0.5], [0.24, 0.5], [0.0, 0.0]]))
    padding = [0.0, 0.0]
    box = [[24.0, 16.0], [31.0, 31.0]]
    assert prompts.coords.tolist() == [[[24.0, 16.0], padding], [[24.0, 24.0], padding], box, box]
    assert prompts.labels.tolist() == [[1, NOT_A_POINT], [1, NOT_A_POINT], [2, 3], [2, 3]]


def test_corrections_by_hand() -> None:
    """Masks of 8 px, logits of 4: a point lies in its cell of 2 px where the second and third number say."""
    truth = torch.zeros(4, 8, 8, dtype=torch.bool)
    truth[:3, 0:4, 2:6] = True  # cells (1..2, 0..1)
    truth[3, 7, 7] = True  # a quarter of a cell: none at the logits' size
    logits = torch.full((4, 4, 4), -1.0)
    logits[0, 0:2, 1:3] = 1.0
    logits[1, 0, 1:3] = 1.0
    logits[1, 1, 1:3] = 0.0  # background
    logits[2, 0:2, 1:4] = 0.5
    uniform = torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.25, 0.75], [0.99, 0.5, 0.5], [0.5, 0.5, 0.5]])
    points, labels = correction_points(truth, logits, uniform=uniform)
    # Perfect: the third of its own four cells; missed: the first of two; spilled: the last; nothing there: anywhere.
    assert points.tolist() == [[1.5, 1.5], [2.0, 3.0], [6.5, 2.5], [0.5, 4.5]]
    assert labels.tolist() == [1, 1, 0, 1]


def test_prompts_that_had_none_get_a_point_and_its_padding() -> None:
    nothing = Prompts(torch.zeros(2, 0, 2), torch.zeros(2, 0, dtype=torch.long))
    grown = nothing.add(torch.tensor([[5.0, 6.0], [7.0, 8.0]]), torch.tensor([1, 0]))
    assert grown.coords.tolist() == [[[5, 6], [0, 0]], [[7, 8], [0, 0]]]
    assert grown.labels.tolist() == [[1, NOT_A_POINT], [0, NOT_A_POINT]]


def test_plans_of_few_corrections() -> None:
    def plan(points: int, *, mask_only: bool) -> list[str]:
        return list(plan_rounds(correction_points=points, mask_only_rounds=mask_only, generator=_generator()))

    assert plan(0, mask_only=True) == plan(0, mask_only=False) == ["first"]
    assert plan(1, mask_only=False) == ["first", "point"]
    assert plan(3, mask_only=False) == ["first", *["point"] * 3]
    assert plan(1, mask_only=True) == ["first", "mask_only", "point", "mask_only"]
    always = plan_rounds(correction_points=1, mask_only_rounds=False, mask_first_prob=1.0, generator=_generator())
    assert always[0] in ("mask", "mask_and_prompt")


def test_numbers_of_a_picture_have_these_shapes_and_are_those_of_its_seed() -> None:
    draws = Draws.of_picture(3, 5, seed=4)
    shapes = [tuple(part.shape) for part in (draws.first, draws.box_noise, draws.corrections, draws.mask_prompts)]
    assert shapes == [(3, 2), (3, 4), (3, 5, 3), (3, 9)]
    assert torch.equal(draws.first, torch.rand(3, 2, generator=_generator(4)))
    again = Draws.of_picture(3, 5, seed=4)
    for name in ("first", "box_noise", "corrections", "mask_prompts"):
        assert torch.equal(getattr(draws, name), getattr(again, name)), name
    for uniform in (draws.first, draws.corrections, draws.mask_prompts):
        assert 0 <= uniform.min() < uniform.max() < 1
    assert draws.box_noise.min() < 0
