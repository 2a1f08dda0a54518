"""A training whose steps are shortened, and one that only looks at gradients."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from model.training.batches import StepBatches
from model.training.config import Phase, TrainingConfig
from model.training.processes import OneProcess
from model.training.trainer import _Run, mean_squared_gradients, train
from schemas.errors import DivergedError, InputError
from tests.model.training.models import disc_model
from tests.model.training.shapes import Shapes


def _config(*, steps: int = 4, batch_size: int = 2) -> TrainingConfig:
    phase = Phase(until=steps, batch_size=batch_size, masks_per_image=2, correction_points=1)
    return TrainingConfig(
        name="test", phases=(phase,), lr=1e-3, warmup_steps=1, loader_workers=0, min_mask_frac=0.0, dropout=0.0
    )


def _weights() -> dict[str, Tensor]:
    return {name: value.detach() for name, value in disc_model().named_parameters()}


def _trained(shares: Mapping[str, Tensor] | None, *, steps: int = 4) -> dict[str, Tensor]:
    sam = disc_model()
    train(sam, Shapes(6), _config(steps=steps), step_shares=shares)
    return {name: value.detach() for name, value in sam.named_parameters()}


def _all(share: float) -> dict[str, Tensor]:
    return {name: torch.full_like(value, share) for name, value in _weights().items()}


def test_whole_steps_are_those_without_shares() -> None:
    plain = _trained(None)
    for shares in ({}, _all(1.0)):
        assert all(torch.equal(value, plain[name]) for name, value in _trained(shares).items())


def test_a_weight_goes_its_share_of_a_step_and_others_all_of_it() -> None:
    start, plain = _weights(), _trained(None, steps=1)
    name = "mask_decoder.iou_token.weight"
    share = torch.linspace(0, 1, start[name].numel()).reshape(start[name].shape)
    found = _trained({name: share, "of another model": torch.zeros(3)}, steps=1)
    assert torch.allclose(found[name], start[name] + share * (plain[name] - start[name]), atol=1e-8)
    assert not torch.equal(found[name], plain[name])
    assert all(torch.equal(value, plain[other]) for other, value in found.items() if other != name)


def test_nothing_moves_that_goes_no_share() -> None:
    start = _weights()
    assert all(torch.equal(value, start[name]) for name, value in _trained(_all(0.0)).items())


def test_squared_gradients_are_means_over_the_steps_and_the_model_stays() -> None:
    sam, config = disc_model(), _config(steps=3, batch_size=1)
    told: list[int] = []
    found = mean_squared_gradients(sam, Shapes(6), config, on_step=told.append)
    assert told == [1, 2, 3]
    assert all(torch.equal(value, _weights()[name]) for name, value in sam.named_parameters())
    assert all(value.grad is None for value in sam.parameters())
    assert not sam.training
    peer = _Run(disc_model(), config, OneProcess())
    batches = StepBatches(Shapes(6), config, image_size=64, pad_rgb=peer.sam.pad_rgb)
    squares = []
    for step in range(3):
        peer.gradients(step, batches[step])
        grad = peer.trained()["mask_decoder.iou_token.weight"].grad
        assert grad is not None
        squares.append(grad.clone() ** 2)
    assert torch.allclose(found["mask_decoder.iou_token.weight"], torch.stack(squares).mean(0), rtol=1e-5)
    assert found["mask_decoder.iou_token.weight"].sum() > 0


def test_a_loss_that_is_no_number_is_told() -> None:
    sam = disc_model()
    with torch.no_grad():
        sam.mask_decoder.iou_token.weight.fill_(torch.nan)
    with pytest.raises(DivergedError, match="look 0: the loss is not a finite number"):
        mean_squared_gradients(sam, Shapes(6), _config())


def test_there_has_to_be_something_to_look_at() -> None:
    with pytest.raises(InputError, match="nothing to train on"):
        mean_squared_gradients(disc_model(), Shapes(0), _config())
