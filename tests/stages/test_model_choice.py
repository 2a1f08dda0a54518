"""How far a trained model goes from its start, and when it is not handed on."""

from typing import Any

import numpy as np
import pytest
import torch

from engine.evaluation.model_scores import ModelScores
from engine.evaluation.scores import PromptScores
from model.config import SamConfig
from model.encoder_configs import EfficientNetConfig
from model.sam import Sam, build_sam
from model.training.importance import Importances
from schemas.round_metrics import Guard
from stages.model_choice import CAUTIONS, FEWEST_MASKS, FORGOTTEN, SHARES, Choice, choose_way, guard, ways

Ious = float | np.ndarray


def _scores(one: Ious, three: Ious = 0.7, *, box: Ious = 0.5, masks: int = 40) -> ModelScores:
    def of(value: Ious) -> PromptScores:
        values = np.broadcast_to(np.asarray(value, dtype=np.float64), masks).copy()
        return PromptScores(values, values)

    return ModelScores(of(one), of(three), of(box))


def _models() -> tuple[Sam, dict[str, torch.Tensor]]:
    """A model whose IoU token says how far it is on the way: 0 at the start, 1 where it was trained to."""
    torch.manual_seed(0)
    sam = build_sam(SamConfig(EfficientNetConfig(width=0.25, depth=0.3, img_size=64)))
    with torch.no_grad():
        sam.mask_decoder.iou_token.weight.fill_(0.0)
        start = {name: value.clone() for name, value in sam.state_dict().items()}
        sam.mask_decoder.iou_token.weight.fill_(1.0)
    return sam, start


def _choice(sam: Sam, start: dict[str, torch.Tensor], **scores: Any) -> Choice:
    trained = {name: value.clone() for name, value in sam.state_dict().items()}
    return choose_way(ways(start, trained, None), sam.load_state_dict, **scores)


def _way(sam: Sam) -> float:
    return float(sam.mask_decoder.iou_token.weight.detach().mean())


@pytest.mark.parametrize(
    ("gain", "loss", "share"),
    [
        (0.1, 0.0, SHARES[0]),  # the longer the better, nothing forgotten
        (0.1, 0.024, SHARES[1]),  # 0.012 are lost on the longest way, 0.0084 on the next
        (-0.1, 0.0, SHARES[-1]),  # it learned something wrong: stay near
        (0.1, 0.5, SHARES[-1]),  # everything forgets too much: as little as there is
    ],
)
def test_it_goes_as_far_as_it_learns_and_does_not_forget(gain: float, loss: float, share: float) -> None:
    sam, start = _models()
    found = _choice(
        sam,
        start,
        old_before=_scores(0.6),
        score_new=lambda: _scores(0.5 + gain * _way(sam)),
        score_old=lambda: _scores(0.6 - loss * _way(sam)),
    )
    assert found.share == pytest.approx(share)
    assert _way(sam) == pytest.approx(share)
    assert found.new is not None
    assert found.new.means()["miou"] == pytest.approx(0.5 + gain * share)


def test_the_ways_are_those_that_were_tried() -> None:
    """benchmarks/results/loop.md: what each brought on plants and cost on old pictures."""
    assert (SHARES, CAUTIONS, FORGOTTEN, FEWEST_MASKS) == ((0.5, 0.35, 0.25), (1.0, 1.5, 2.5, 5.0), 0.01, 20)


def test_three_clicks_can_forget_too() -> None:
    sam, start = _models()
    found = _choice(
        sam,
        start,
        old_before=_scores(0.6, 0.7),
        score_new=lambda: _scores(0.5),
        score_old=lambda: _scores(0.6, 0.7 - 0.035 * _way(sam)),
    )
    assert found.share == SHARES[-1]


def test_without_anything_to_measure_it_goes_the_longest_way_that_is_allowed() -> None:
    sam, start = _models()
    assert _choice(sam, start, old_before=None, score_new=lambda: None, score_old=lambda: None).share == SHARES[0]
    assert _way(sam) == pytest.approx(SHARES[0])


def test_a_model_that_is_surely_worse_is_not_accepted() -> None:
    rng = np.random.default_rng(0)
    before = rng.uniform(0.3, 0.9, 40)
    noise = rng.normal(0, 0.02, 40)
    assert guard(_scores(before), _scores(before - 0.05 + noise)).accepted is False
    assert "worse at 1 click" in guard(_scores(before), _scores(before - 0.05 + noise)).reason
    assert "worse at 3 clicks" in guard(_scores(0.5, before), _scores(0.5, before - 0.05 + noise)).reason
    assert guard(_scores(before), _scores(before + 0.05 + noise)) == Guard(accepted=True, reason="")


def test_a_model_that_is_surely_worse_from_boxes_has_to_be_better_by_clicks() -> None:
    rng = np.random.default_rng(0)
    before = rng.uniform(0.3, 0.9, 40)
    worse, better = before - 0.05 + rng.normal(0, 0.02, 40), before + 0.05 + rng.normal(0, 0.02, 40)
    refused = guard(_scores(0.5, 0.5, box=before), _scores(0.5, 0.5, box=worse))
    assert not refused.accepted
    assert refused.reason.startswith("worse from boxes on masks that it never learned from: -0.05")
    assert guard(_scores(before, box=before), _scores(better, box=worse)).accepted
    assert guard(_scores(0.5, before, box=before), _scores(0.5, better, box=worse)).accepted
    assert not guard(_scores(before, before, box=before), _scores(better, worse, box=better)).accepted


def test_what_may_be_chance_is_accepted() -> None:
    before = np.linspace(0.3, 0.9, 40)
    swing = np.where(np.arange(40) % 2, 0.2, -0.21)
    assert guard(_scores(before), _scores(before + swing)).accepted
    few = FEWEST_MASKS - 1
    found = guard(_scores(0.9, masks=few), _scores(0.1, masks=few))
    assert found == Guard(accepted=True, reason=f"not compared: {few} masks are held out or set aside")
    assert guard(None, None).accepted


def test_a_model_that_is_as_good_is_accepted_and_says_so_in_full() -> None:
    same = guard(_scores(0.5, masks=FEWEST_MASKS), _scores(0.5, masks=FEWEST_MASKS))
    assert same.to_dict() == {"accepted": True, "reason": ""}, "FEWEST_MASKS are enough to compare"
    worse = guard(_scores(0.5, masks=FEWEST_MASKS), _scores(0.25, masks=FEWEST_MASKS))
    assert worse.to_dict() == {
        "accepted": False,
        "reason": "worse at 1 click on masks that it never learned from: -0.250 to -0.250",
    }
    nothing = "not compared: 0 masks are held out or set aside"
    assert guard(_scores(0.5), None).to_dict() == {"accepted": True, "reason": nothing}
    assert guard(None, _scores(0.5)).reason == "not compared: 40 masks are held out or set aside"


def test_as_much_as_may_be_lost_is_not_forgotten() -> None:
    sam, start = _models()

    def share(left: float, *, known: bool = True) -> float:
        old = _scores(left, masks=1)
        before = _scores(0.5, masks=1) if known else None
        return _choice(sam, start, old_before=before, score_new=lambda: _scores(0.5), score_old=lambda: old).share

    assert share(0.5 - FORGOTTEN) == SHARES[0]
    assert share(0.5 - 1.01 * FORGOTTEN) == SHARES[-1]
    assert share(0.0, known=False) == SHARES[0], "nothing is known of what it was"


@pytest.mark.parametrize(
    ("new", "share", "asked"),
    [
        ((0.5, 0.5, 0.6), 0, 2),  # no better on the next way: it looks no further
        ((0.5, 0.6, 0.6), 1, 3),
        ((0.5, 0.6, 0.7), 2, 3),
        ((0.5, 0.4, 0.7), 0, 2),
    ],
)
def test_it_looks_as_long_as_a_shorter_way_is_better(new: tuple[float, ...], share: int, asked: int) -> None:
    sam, start = _models()
    scores = iter([_scores(0.5, 2 * each - 0.5) for each in new])
    ways: list[float] = []

    def score_new() -> ModelScores:
        ways.append(_way(sam))
        return next(scores)

    found = _choice(sam, start, old_before=None, score_new=score_new, score_old=lambda: _scores(0.1))
    assert found.share == SHARES[share]
    assert ways == pytest.approx(list(SHARES[:asked]))
    assert _way(sam) == pytest.approx(SHARES[share])
    assert found.old is not None
    assert found.old.means()["miou"] == pytest.approx(0.1)


def test_a_shorter_way_that_forgets_again_is_not_taken() -> None:
    sam, start = _models()
    old = iter([_scores(0.6), _scores(0.1), _scores(0.1)])
    found = _choice(
        sam, start, old_before=_scores(0.6), score_new=lambda: _scores(1 - _way(sam)), score_old=lambda: next(old)
    )
    assert found.share == SHARES[0]


def test_weights_on_which_known_things_rest_move_less() -> None:
    """Of importance 1 for the new and 3 for the known, caution 1: a quarter of the way; 5: a sixteenth."""
    start = {"a": torch.tensor([0.0, 0.0]), "b": torch.tensor([8.0])}
    trained = {"a": torch.tensor([4.0, 4.0]), "b": torch.tensor([9.0])}
    importances = Importances({"a": torch.tensor([1.0, 1.0])}, {"a": torch.tensor([3.0, 0.0])})
    found = list(ways(start, trained, importances))
    assert [way.weights["a"].tolist() for way in found] == [
        pytest.approx([4 * share, 4.0]) for share in (1 / 4, 1 / 5.5, 1 / 8.5, 1 / 16)
    ]
    assert all(way.weights["b"].tolist() == [8.0] for way in found), "what has no importance stays"
    assert found[0].share == pytest.approx((17 / 33) ** 0.5), "by length: 1 and 4 of 4, 4 and 1"
