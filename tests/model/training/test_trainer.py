"""The training loop: it learns, resumes to the same numbers, and refuses what cannot be trained on."""

from pathlib import Path

import numpy as np
import pytest
import torch

from model.efficientnet import EfficientNetConfig
from model.image_encoder import ViTConfig
from model.sam import Sam, SamConfig, build_sam
from model.training.config import Phase, TrainingConfig
from model.training.initialise import point_cross_attention
from model.training.trainer import StepReport, train
from schemas.errors import InputError
from tests.model.training.shapes import Shapes


def _model() -> Sam:
    torch.manual_seed(0)
    encoder = EfficientNetConfig(width=0.25, depth=0.3, img_size=64)
    sam = Sam(SamConfig(encoder, decoder_mlp_dim=64, high_res_features=True))
    point_cross_attention(sam, seed=0)
    return sam


def _config(steps: int = 8, **changes: object) -> TrainingConfig:
    settings: dict[str, object] = {
        "name": "test",
        "phases": (
            Phase(until=steps // 2, batch_size=2, masks_per_image=2, correction_points=0),
            Phase(until=steps, batch_size=2, masks_per_image=2, correction_points=2),
        ),
        "warmup_steps": 2,
        "lr": 1e-3,
        "ema_decay": 0.9,
        "flip": True,
        "scale_range": (0.8, 1.3),
        "min_mask_frac": 0.0,
        "loader_workers": 0,
    }
    return TrainingConfig.model_validate(settings | changes)


class _StopHereError(Exception):
    pass


@pytest.mark.parametrize("stop_after", [1, 5])
def test_a_resumed_run_ends_in_the_same_weights_and_losses(tmp_path: Path, stop_after: int) -> None:
    whole = _model()
    reports = train(whole, Shapes(6), _config())

    def stop(report: StepReport) -> None:
        if report.step == stop_after:
            raise _StopHereError

    checkpoint = tmp_path / "run.pt"
    with pytest.raises(_StopHereError):
        train(_model(), Shapes(6), _config(), checkpoint=checkpoint, checkpoint_every=1, on_step=stop)
    resumed = _model()
    rest = train(resumed, Shapes(6), _config(), checkpoint=checkpoint, checkpoint_every=1)
    # The step that was stopped was not saved yet, so it is done again.
    assert [report.step for report in rest] == list(range(stop_after, 8))
    assert [report.loss for report in rest] == [report.loss for report in reports[stop_after:]]
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )


def test_a_checkpoint_of_another_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    checkpoint = tmp_path / "run.pt"
    train(_model(), Shapes(6), _config(), checkpoint=checkpoint)
    before = checkpoint.read_bytes()
    with pytest.raises(InputError, match=r"run\.pt: written by a run with other lr"):
        train(_model(), Shapes(6), _config(lr=2e-3), checkpoint=checkpoint)
    assert checkpoint.read_bytes() == before
    checkpoint.write_bytes(before[: len(before) // 2])
    with pytest.raises(InputError, match=r"run\.pt: not a readable checkpoint"):
        train(_model(), Shapes(6), _config(), checkpoint=checkpoint)


def test_rounds_follow_the_phases() -> None:
    reports = train(_model(), Shapes(6), _config())
    assert [len(report.ious) for report in reports] == [1] * 4 + [1 + 2 + 2] * 4


def test_a_frozen_encoder_does_not_move_and_the_rest_does() -> None:
    sam, start = _model(), _model()
    train(sam, Shapes(6), _config(freeze_encoder=True, ema_decay=None))
    for (name, after), before in zip(sam.state_dict().items(), start.state_dict().values(), strict=True):
        if name.startswith("image_encoder."):
            assert torch.equal(after, before), name
    assert not torch.equal(sam.mask_decoder.iou_token.weight, start.mask_decoder.iou_token.weight)


def test_the_model_is_left_as_inference_needs_it() -> None:
    sam = _model()
    phase = Phase(until=2, batch_size=1, masks_per_image=1, correction_points=0, input_size_px=32)
    train(sam, Shapes(3), _config(phases=(phase,), dropout=0.3))
    assert sam.image_size == 64
    assert not sam.training
    assert all(module.p == 0 for module in sam.modules() if isinstance(module, torch.nn.Dropout))


def test_drop_path_grows_to_the_last_block_and_ends_with_the_training() -> None:
    encoder = ViTConfig(embed_dim=32, depth=3, num_heads=2, global_attn_indexes=(2,), img_size=64, window_size=2)
    sam = build_sam(SamConfig(encoder, decoder_mlp_dim=64))
    seen: list[list[float]] = []

    def rates(_: object = None) -> list[float]:
        return [block.drop_path.rate for block in sam.image_encoder.blocks]

    train(sam, Shapes(3), _config(steps=2, drop_path=0.4), on_step=lambda _: seen.append(rates()))
    assert seen == [pytest.approx([0, 0.2, 0.4])] * 2
    assert rates() == [0, 0, 0]


def test_it_learns_where_a_point_is() -> None:
    """Discs of any colour: what a point means cannot be guessed without looking at it."""
    phase = Phase(until=160, batch_size=4, masks_per_image=3, correction_points=0)
    config = _config(phases=(phase,), ema_decay=None, box_prob=0.0, warmup_steps=10, dropout=0.0, encoder_lr_factor=1.0)
    reports = train(_model(), Shapes(64), config)
    first, last = reports[:20], reports[-20:]
    assert np.mean([r.loss for r in last]) < 0.75 * np.mean([r.loss for r in first])
    assert np.mean([r.ious[-1] for r in last]) > np.mean([r.ious[-1] for r in first]) + 0.15
