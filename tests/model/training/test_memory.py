"""The memory plan: an upper bound that is near what the passes really keep, and does not grow with masks."""

from dataclasses import asdict

import pytest
import torch

from model.config import SamConfig
from model.encoder_configs import TinyViTConfig
from model.sam import build_sam
from model.training import memory
from model.training.config import Phase, TrainingConfig
from model.training.memory import MemoryPlan, images_at_once, plan_memory
from tests.stages.workspaces import TINY


def _config(*, masks: int = 4, **changes: object) -> TrainingConfig:
    phase = Phase(until=9, batch_size=4, masks_per_image=masks, correction_points=2)
    settings = {"name": "test", "phases": (phase,), "masks_at_once": 8, "images_at_once": 4}
    return TrainingConfig.model_validate(settings | changes)


def test_weights_gradients_and_optimiser_are_counted() -> None:
    sam = build_sam(TINY)
    size = sum(value.numel() * value.element_size() for value in sam.state_dict().values())
    trained = sum(parameter.numel() * 4 for parameter in sam.parameters())
    plan = plan_memory(sam, _config(ema_decay=0.9))
    assert (plan.weights, plan.gradients, plan.optimizer, plan.average) == (size, trained, 2 * trained, size)
    assert plan.batch == 4 * 64 * 64 * (3 + 4)
    assert plan.total == sum(asdict(plan).values())
    assert str(plan).startswith(f"memory plan: {plan.total / 2**20:,.0f} MiB of tensors (weights ")
    assert plan_memory(sam, _config()).average == 0


def test_the_encoder_keeps_about_what_is_planned() -> None:
    sam = build_sam(TINY).train()
    own = {parameter.untyped_storage().data_ptr() for parameter in sam.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        embedding = sam.encode(sam.preprocess(torch.zeros(4, 3, 64, 64, dtype=torch.uint8)))
    real = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    assert embedding.features.requires_grad
    assert real <= plan_memory(sam, _config()).encoder <= 1.5 * real


def test_more_masks_a_picture_take_no_more_activations() -> None:
    sam = build_sam(TINY)
    few, many = plan_memory(sam, _config(masks=2)), plan_memory(sam, _config(masks=500))
    assert many.decoder == few.decoder
    assert many.encoder == few.encoder
    assert plan_memory(sam, _config(masks_at_once=4)).decoder == pytest.approx(few.decoder / 2, rel=0.1)


def test_what_saves_memory_shows_in_the_plan() -> None:
    sam = build_sam(TINY)
    plain = plan_memory(sam, _config())
    assert plan_memory(sam, _config(images_at_once=1)).encoder == pytest.approx(plain.encoder / 4, rel=0.1)
    assert plan_memory(sam, _config(checkpoint_activations=True)).encoder < 0.5 * plain.encoder
    assert plan_memory(sam, _config(), processes=4).encoder == pytest.approx(plain.encoder / 4, rel=0.1)
    frozen = plan_memory(sam, _config(freeze_encoder=True))
    assert frozen.encoder == 0
    assert frozen.gradients < plain.gradients


def test_a_cpu_takes_large_pictures_one_by_one_where_that_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sam, mixing = build_sam(TINY), build_sam(SamConfig(TinyViTConfig(img_size=64, depths=(1, 1, 2, 1))))
    choice, three = _config(images_at_once=None), _config(images_at_once=3)
    sides = {"side_px": 512, "device": "cpu"}
    assert images_at_once(sam, choice, **sides) == images_at_once(sam, choice, side_px=1024, device="cpu") == 1
    assert images_at_once(sam, choice, side_px=256, device="cpu") == 4
    assert images_at_once(mixing, choice, **sides) is None  # its batch norm sees all pictures together
    assert images_at_once(sam, choice, side_px=512, device="cuda") is None
    assert images_at_once(sam, three, **sides) == images_at_once(mixing, three, **sides) == 3
    assert plan_memory(sam, choice) == plan_memory(sam, _config())  # of 64 px there is room for many
    monkeypatch.setattr("model.training.memory.PIXELS_AT_ONCE", 64 * 64)
    assert plan_memory(sam, choice) == plan_memory(sam, _config(images_at_once=1))
    assert plan_memory(mixing, choice) == plan_memory(mixing, _config())


def test_the_largest_phase_counts_wherever_it_comes() -> None:
    sam = build_sam(TINY)
    small = Phase(until=1, batch_size=4, masks_per_image=4, correction_points=2, input_size_px=32)
    large = Phase(until=9, batch_size=4, masks_per_image=4, correction_points=2)
    assert plan_memory(sam, _config(phases=(small, large))) == plan_memory(sam, _config())
    assert sam.image_size == 64


def test_a_phase_of_smaller_pictures_is_planned_at_their_size() -> None:
    """The largest of all phases counts."""

    def plan(*sides: int | None) -> int:
        phases = tuple(
            Phase(until=end, batch_size=4, masks_per_image=4, correction_points=0, input_size_px=side)
            for end, side in enumerate(sides, start=1)
        )
        return plan_memory(build_sam(TINY), _config(phases=phases)).encoder

    assert plan(64) == plan(None) == plan(32, None)
    assert plan(32) == pytest.approx(plan(64) / 4, rel=0.2)
    assert plan(128) == pytest.approx(plan(64) * 4, rel=0.2)


def test_a_plan_says_its_parts_in_mib() -> None:
    parts = [mib * 2**20 for mib in (1, 2, 3, 4, 1500, 6, 7)]
    plan = MemoryPlan(*parts)
    assert plan.total == 1523 * 2**20
    assert str(plan) == (
        "memory plan: 1,523 MiB of tensors (weights 1, gradients 2, optimizer 3, average 4, batch 1,500, encoder 6, "
        "decoder 7); torch and its allocator come on top"
    )


def test_the_process_with_most_pictures_counts_and_a_pass_holds_no_more_than_there_are() -> None:
    sam = build_sam(TINY)
    phase = Phase(until=9, batch_size=5, masks_per_image=3, correction_points=2)
    plans = [plan_memory(sam, _config(phases=(phase,)), processes=processes) for processes in (1, 2, 5)]
    assert [plan.batch for plan in plans] == [pictures * 64 * 64 * (3 + 3) for pictures in (5, 3, 1)]
    four, three, one = (plan.encoder for plan in plans)  # images_at_once is 4
    assert three == pytest.approx(3 * one, rel=0.02)
    assert four == pytest.approx(4 * one, rel=0.02)
    # Eight masks at once, of which a single picture has but three.
    assert plans[1].decoder == plans[0].decoder
    assert plans[2].decoder == pytest.approx(plans[0].decoder * 3 / 8, rel=0.1)


def test_more_prompts_take_more_of_the_decoder() -> None:
    sam = build_sam(TINY)
    few, many = (
        plan_memory(
            sam,
            _config(phases=(Phase(until=1, batch_size=4, masks_per_image=4, correction_points=points),)),
        ).decoder
        for points in (0, 40)
    )
    assert 2 * few < many < 4 * few


def test_a_pass_of_the_decoder_has_two_tokens_of_the_first_prompt_and_one_of_each_correction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(memory, "_decode", lambda _sam, _image, masks, *, points: asked.append((masks, points)))
    phases = tuple(
        Phase(until=until, batch_size=4, masks_per_image=masks, correction_points=corrections)
        for until, masks, corrections in ((1, 1, 0), (2, 2, 5), (3, 9, 1))
    )
    plan_memory(build_sam(TINY), _config(phases=phases))
    assert asked == [(4, 2), (8, 7), (8, 3)]


def test_a_plan_leaves_the_model_as_it_is() -> None:
    sam = build_sam(TINY).eval()
    plan_memory(sam, _config(freeze_encoder=True, checkpoint_activations=True))
    assert not sam.training
    assert all(parameter.requires_grad for parameter in sam.parameters())
    assert not sam.image_encoder.checkpoint_activations
    assert all(parameter.grad is None for parameter in sam.parameters())


def test_a_picture_as_large_as_the_room_is_encoded_alone_and_a_smaller_one_in_company() -> None:
    sam, choice = build_sam(TINY), _config(images_at_once=None)
    found = [images_at_once(sam, choice, side_px=side, device="cpu") for side in (362, 363, 511, 512, 513, 2048)]
    assert found == [2, 1, 1, 1, 1, 1]
