"""Masks as first prompts: nearly the true mask, and a model that learns to keep them."""

import numpy as np
import pytest
import torch

from model.prompt_encoder import NOT_A_POINT
from model.training.config import Phase, TrainingConfig
from model.training.interaction import MASK_FIRST, Draws, interact, plan_rounds
from model.training.losses import mask_iou
from model.training.mask_prompts import DRAWS, degraded_masks
from model.training.regions import resize_masks
from model.training.samples import decode_masks
from model.training.trainer import train
from tests.model.training.models import disc_model
from tests.model.training.shapes import Shapes

SIZE = (16, 16)
# Not blurred, in the middle of its level, sharp, neither hole nor patch.
PLAIN = [0.0, 0.5, 0.99, 0.5, 0.5, 0.9, 0.5, 0.5, 0.5]


def _square(count: int = 1) -> torch.Tensor:
    masks = torch.zeros(count, 64, 64, dtype=torch.bool)
    masks[:, 16:48, 16:48] = True
    return masks


def _degraded(**changes: float) -> torch.Tensor:
    numbers = torch.tensor([PLAIN])
    for place, value in changes.items():
        numbers[0, int(place[1:])] = value
    return degraded_masks(_square(), SIZE, uniform=numbers)[0]


def test_without_harm_a_mask_is_itself_with_logits_apart_inside_and_outside() -> None:
    logits = _degraded()
    truth = resize_masks(_square(), SIZE)[0]
    assert torch.equal(logits > 0, truth)
    assert logits.max().item() == pytest.approx((2 * 15) ** 0.5, rel=1e-5)
    assert logits.min().item() == pytest.approx(-((4 * 40) ** 0.5), rel=1e-5)


def test_blurred_masks_grow_below_and_shrink_above_a_level_of_a_half() -> None:
    grown, shrunk = (_degraded(_0=0.5, _1=level) > 0 for level in (0.0, 0.99))
    truth = resize_masks(_square(), SIZE)[0]
    assert (grown & truth).sum() == truth.sum() == 64
    assert grown.sum() > 64 > shrunk.sum() > 0
    assert (shrunk & ~truth).sum() == 0


def test_a_hole_and_a_patch_lie_around_a_pixel_of_the_mask() -> None:
    truth = resize_masks(_square(), SIZE)[0]
    holed, patched = (_degraded(_5=kind, _6=where, _7=0.99, _8=0.99) > 0 for kind, where in ((0.1, 0.57), (0.5, 0.0)))
    # 8 cells a side, of which 0.6: a square of 5 cells, within the mask around its middle.
    assert (truth & ~holed).sum() == 25
    assert not (holed & ~truth).any()
    # Around the mask's first pixel, a corner, three quarters of a patch lie outside.
    assert (patched & ~truth).sum() == 25 - 9
    assert (patched | truth).equal(patched)


def test_no_mask_is_lost_and_most_are_still_the_same_object() -> None:
    masks = torch.zeros(400, 64, 64, dtype=torch.bool)
    masks[:200, 20:50, 10:40] = True
    masks[200:, 33, 17] = True  # one pixel
    uniform = torch.rand(400, DRAWS, generator=torch.Generator().manual_seed(0))
    logits = degraded_masks(masks, SIZE, uniform=uniform)
    assert torch.isfinite(logits).all()
    assert (logits > 0).flatten(1).any(1).all()
    ious = mask_iou(logits[:200], resize_masks(masks[:200], SIZE).float())
    assert 0.6 < ious.mean() < 0.95
    assert ious.min() > 0.2


def test_plans_start_from_a_mask_as_often_as_they_are_told_and_draw_nothing_else_where_never() -> None:
    generator = torch.Generator().manual_seed(0)
    firsts = [
        plan_rounds(correction_points=2, mask_only_rounds=True, mask_first_prob=0.4, generator=generator)[0]
        for _ in range(2000)
    ]
    for kind in MASK_FIRST:
        assert firsts.count(kind) / 2000 == pytest.approx(0.2, abs=0.03)
    never, unaware = (torch.Generator().manual_seed(1) for _ in range(2))
    plan_rounds(correction_points=2, mask_only_rounds=True, mask_first_prob=0.0, generator=never)
    torch.randint(2, (), generator=unaware)
    assert torch.equal(never.get_state(), unaware.get_state())


@pytest.mark.parametrize("first", MASK_FIRST)
def test_a_mask_is_the_first_prompt_alone_or_with_another_and_one_mask_answers(first: str) -> None:
    sam, masks = disc_model(), _square(3)
    with torch.no_grad():
        image = sam.encode(sam.preprocess(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)))
        draws = Draws.of_picture(3, 1, seed=0)
        rounds = list(
            interact(
                sam,
                image,
                masks,
                torch.zeros(3, dtype=torch.long),
                rounds=[first, "mask_only", "point"],  # type: ignore[list-item]
                draws=draws,
                box_prob=0.0,
            )
        )
    alone = first == "mask"
    assert [one.prompts.labels.tolist()[0] for one in rounds] == (
        [[], [], [rounds[2].prompts.labels[0, 0], NOT_A_POINT]]
        if alone
        else [[1, NOT_A_POINT], [1, NOT_A_POINT], [1, NOT_A_POINT, rounds[2].prompts.labels[0, 2]]]
    )
    assert [one.prediction.logits.shape[1] for one in rounds] == [1, 1, 1]
    assert rounds[0].fed_back is not None
    expected = degraded_masks(masks, SIZE, uniform=draws.mask_prompts)
    assert torch.equal(rounds[0].fed_back, expected)
    with torch.no_grad():
        asked = sam.decode(image, masks=expected[:, None], multimask_output=False) if alone else None
    if asked is not None:
        torch.testing.assert_close(rounds[0].prediction.logits, asked.logits)


def _by_hand(mask: np.ndarray, u: np.ndarray) -> np.ndarray:
    """What `degraded_masks` makes of one mask (64, 64), pixel by pixel, in double precision."""
    shown = mask.reshape(16, 4, 16, 4).mean((1, 3))
    size = (1, 3, 9)[int(u[0] * 3)]
    for _ in range(2):
        padded = np.pad(shown, size // 2, mode="edge")
        shown = np.array([[padded[y : y + size, x : x + size].mean() for x in range(16)] for y in range(16)])
    level = min(0.25 + 0.5 * u[1], 0.8 * shown.max())
    shown = ((shown - level) * 2 * 20 ** u[2]).clip(-1, 1)
    inside = shown > 0
    y, x = divmod(int(np.flatnonzero(inside)[int(u[6] * inside.sum())]), 16)
    width, height = inside.sum() ** 0.5 * (0.1 + 0.5 * u[7:9])
    rows, columns = np.mgrid[:16, :16]
    patch = (abs(columns - x) <= width / 2) & (abs(rows - y) <= height / 2)
    if u[5] < 1 / 3 and (inside & ~patch).any():
        shown[patch] = -1
    if 1 / 3 <= u[5] < 2 / 3:
        shown[patch] = 1
    return shown * np.where(shown > 0, 2 * 7.5 ** u[3], 4 * 10 ** u[4])


def test_what_is_done_to_a_mask_by_hand() -> None:
    rng = np.random.default_rng(0)
    masks, uniform = np.zeros((60, 64, 64), dtype=bool), rng.random((60, DRAWS))
    for mask in masks:
        y, x, height, width = rng.integers(0, 50), rng.integers(0, 50), *rng.integers(1, 40, 2)
        mask[y : y + height, x : x + width] = True
    found = degraded_masks(torch.from_numpy(masks), SIZE, uniform=torch.from_numpy(uniform))
    for mask, numbers, logits in zip(masks, uniform, found, strict=True):
        assert logits.numpy() == pytest.approx(_by_hand(mask, numbers), abs=1e-3)


def test_a_patch_reaches_half_of_its_side_from_its_middle() -> None:
    """Of a mask of 400 cells a tenth of 20: one cell on each side."""
    mask = torch.zeros(1, 128, 128, dtype=torch.bool)
    mask[:, :80, :80] = True
    numbers = torch.tensor([PLAIN])
    numbers[0, 5:9] = torch.tensor([0.1, 210.5 / 400, 0.0, 0.0])  # a hole around row 10, column 10
    holed = degraded_masks(mask, (32, 32), uniform=numbers)[0] > 0
    expected = torch.zeros(32, 32, dtype=torch.bool)
    expected[:20, :20] = True
    expected[9:12, 9:12] = False
    assert torch.equal(holed, expected)


def test_a_mask_that_a_hole_would_swallow_stays() -> None:
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[:, 32:36, 16:20] = True
    numbers = torch.tensor([PLAIN])
    numbers[0, 5:9] = torch.tensor([0.1, 0.5, 0.99, 0.99])
    logits = degraded_masks(mask, SIZE, uniform=numbers)[0]
    assert (logits > 0).nonzero().tolist() == [[8, 4]]


def _kept(sam: object, count: int = 20) -> float:
    """IoU of the true masks of unseen pictures, given alone, with what the model makes of them."""
    ious = []
    with torch.no_grad():
        for index in range(1000, 1000 + count):
            sample = Shapes(2000)[index]
            truth = torch.from_numpy(np.moveaxis(decode_masks(sample.masks), 2, 0).astype(bool))
            targets = resize_masks(truth, SIZE).float()
            pixels = torch.from_numpy(sample.image).permute(2, 0, 1)[None]
            image = sam.encode(sam.preprocess(pixels))  # type: ignore[attr-defined]
            given = (20 * targets - 10)[:, None]
            found = sam.decode(image, masks=given, multimask_output=False)  # type: ignore[attr-defined]
            ious.append(mask_iou(found.logits[:, 0], targets).mean().item())
    return float(np.mean(ious))


def test_a_model_that_is_given_masks_first_learns_to_keep_them() -> None:
    """Of two models trained alike, only the one that saw masks alone knows what to do with one."""
    phase = Phase(until=60, batch_size=4, masks_per_image=3, correction_points=1, mask_only_rounds=False)
    kept = {}
    for prob in (0.0, 0.6):
        sam = disc_model()
        config = TrainingConfig(
            name="test",
            phases=(phase,),
            lr=2e-3,
            warmup_steps=10,
            dropout=0.0,
            min_mask_frac=0.0,
            mask_first_prob=prob,
            loader_workers=0,
        )
        train(sam, Shapes(64), config)
        kept[prob] = _kept(sam)
    assert kept[0.6] > kept[0.0] + 0.2, kept
