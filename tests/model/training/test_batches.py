"""Pictures and masks that steps train on: geometry, limits, and the order of samples."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.sam import build_sam
from model.training.augment import augment
from model.training.batches import StepBatches, batch_loader
from model.training.config import Phase, TrainingConfig
from model.training.samples import Sample, decode_masks
from schemas.errors import InputError
from tests.model.training.shapes import Shapes, compress
from tests.stages.workspaces import TINY


def _config(**changes: object) -> TrainingConfig:
    phase = Phase(until=6, batch_size=2, masks_per_image=3, correction_points=0)
    return TrainingConfig.model_validate({"name": "test", "phases": (phase,), "loader_workers": 0} | changes)


def _augment(sample: Sample, **changes: object) -> tuple[np.ndarray, np.ndarray] | None:
    settings: dict[str, object] = {
        "side_px": 64,
        "max_masks": 5,
        "scale_range": (1.0, 1.0),
        "flip": False,
        "colour_jitter": 0.0,
        "min_mask_frac": 0.0,
        "max_mask_frac": 1.0,
        "rng": np.random.default_rng(0),
    }
    return augment(sample, **(settings | changes))  # type: ignore[arg-type]


def _marked(height: int, width: int) -> Sample:
    """A picture that is white exactly where its only mask is."""
    mask = np.zeros((height, width), dtype=bool)
    mask[height // 4 : height // 2, width // 3 : width // 2] = True
    return Sample(np.repeat(mask[:, :, None], 3, axis=2).astype(np.uint8) * 255, [compress(mask)])


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("scale", [0.5, 1.0, 1.7])
@pytest.mark.parametrize("size", [(100, 160), (160, 100), (40, 30)])
def test_picture_and_mask_stay_together(size: tuple[int, int], scale: float, flip: bool) -> None:
    for seed in range(5):
        made = _augment(
            _marked(*size), scale_range=(scale, scale), flip=flip, rng=np.random.default_rng(seed), side_px=96
        )
        if made is None:
            continue  # cropped away
        picture, masks = made
        white = picture.mean(axis=2) > 127
        assert np.logical_xor(white, masks[0]).sum() <= 0.06 * masks[0].sum() + 8


def test_unscaled_pictures_are_padded_at_the_bottom_and_right_as_at_inference() -> None:
    sample = Sample(np.full((32, 64, 3), 200, np.uint8), [compress(np.ones((32, 64), dtype=bool))])
    made = _augment(sample)
    assert made is not None
    picture, masks = made
    assert (picture[:32] == 200).all()
    assert (picture[32:] == 0).all()
    assert masks[0, :32].all()
    assert not masks[0, 32:].any()


def test_too_small_and_too_large_masks_are_left_out() -> None:
    whole, middle, dot = (np.zeros((64, 64), dtype=bool) for _ in range(3))
    whole[:60] = True
    middle[10:30, 10:30] = True
    dot[5, 5] = True
    sample = Sample(np.zeros((64, 64, 3), np.uint8), [compress(mask) for mask in (whole, middle, dot)])
    made = _augment(sample, min_mask_frac=0.01, max_mask_frac=0.9)
    assert made is not None
    assert [int(mask.sum()) for mask in made[1]] == [400]
    assert _augment(Sample(sample.image, [compress(dot)]), min_mask_frac=0.01) is None


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    first, second = (StepBatches(Shapes(5), _config(), image_size=64) for _ in range(2))
    other = StepBatches(Shapes(5), _config(seed=1), image_size=64)
    assert torch.equal(first[3].images, second[3].images)
    assert torch.equal(first[3].masks, second[3].masks)
    assert not torch.equal(first[3].images, other[3].images)


def test_every_sample_comes_once_an_epoch_or_as_often_as_its_weight_says() -> None:
    class Numbered(Shapes):
        def __getitem__(self, index: int) -> Sample:
            seen.append(index)
            return super().__getitem__(index)

    seen: list[int] = []
    config = _config(phases=(Phase(until=4, batch_size=2, masks_per_image=1, correction_points=0),))
    batches = StepBatches(Numbered(3), config, image_size=64, weights=[1.0, 5.0, 2.0])
    for step in range(4):
        batches[step]
    assert sorted(seen) == [0, 1, 1, 1, 1, 1, 2, 2]


def test_phases_change_size_and_batch_and_the_stream_of_samples_goes_on() -> None:
    phases = (
        Phase(until=2, batch_size=1, masks_per_image=1, correction_points=0, input_size_px=32),
        Phase(until=4, batch_size=3, masks_per_image=1, correction_points=0),
    )
    batches = StepBatches(Shapes(50), _config(phases=phases), image_size=64)
    assert [tuple(batches[step].images.shape) for step in range(4)] == [(1, 3, 32, 32)] * 2 + [(3, 3, 64, 64)] * 2


def test_nothing_to_train_on_is_said() -> None:
    with pytest.raises(InputError, match="nothing to train on"):
        StepBatches([], _config(), image_size=64)
    with pytest.raises(InputError, match="lower min_mask_frac"):
        StepBatches(Shapes(3), _config(min_mask_frac=0.99), image_size=64)[0]


@pytest.mark.parametrize("workers", [0, 1])
def test_masks_that_are_all_too_small_are_named_with_the_way_out_of_who_trains(workers: int) -> None:
    """Also where another process makes the batches: its traceback is no part of the line."""
    batches = StepBatches(Shapes(3), _config(min_mask_frac=0.99), image_size=64, too_small="turn the knob")
    with pytest.raises(InputError, match=r"^20 pictures in a row have no mask .* of the picture; turn the knob$"):
        next(batch_loader(batches, first_step=0, workers=workers))


class FreshProcess(Shapes):
    """Can be read in a process that is no copy of the test's alone."""

    copied = False

    def __getitem__(self, index: int) -> Sample:
        if FreshProcess.copied:
            raise InputError("a copy of the test's process")
        return super().__getitem__(index)


def test_processes_that_make_batches_are_no_copies_of_a_process_with_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FreshProcess, "copied", True)
    with pytest.raises(InputError):
        next(batch_loader(StepBatches(FreshProcess(3), _config(), image_size=64), first_step=0, workers=0))
    assert torch.equal(
        next(batch_loader(StepBatches(FreshProcess(3), _config(), image_size=64), first_step=0, workers=1)).masks,
        StepBatches(Shapes(3), _config(), image_size=64)[0].masks,
    )


def test_shapes_are_what_they_say() -> None:
    sample = Shapes(1)[0]
    assert decode_masks(sample.masks).shape == (*sample.image.shape[:2], len(sample.masks))


def test_masks_of_a_step_can_be_made_a_multiple() -> None:
    whole, fewer = (StepBatches(Shapes(5), _config(masks_multiple=multiple), image_size=64)[0] for multiple in (1, 4))
    kept = len(whole.masks) // 4 * 4
    assert len(fewer.masks) == len(fewer.image_index) == kept > 0
    assert torch.equal(fewer.masks, whole.masks[:kept])
    too_few = StepBatches(Shapes(5), _config(masks_multiple=1000), image_size=64)[0]
    assert torch.equal(too_few.masks, whole.masks)


def test_a_picture_whose_masks_were_left_out_is_in_no_part() -> None:
    whole = StepBatches(Shapes(5), _config(), image_size=64)[0]
    first = whole.masks_of(0)
    trimmed = replace(whole, masks=whole.masks[:first], image_index=whole.image_index[:first])
    (part,) = trimmed.parts(1)
    assert len(whole.images) > 1
    assert torch.equal(part.masks, whole.masks[:first])


def test_padding_is_nothing_to_the_encoder_in_training_as_at_inference() -> None:
    sam = build_sam(TINY)
    batches = StepBatches(Shapes(3), _config(scale_range=(0.4, 0.4)), image_size=sam.image_size, pad_rgb=sam.pad_rgb)
    pixels = sam.preprocess(batches[0].images)
    assert pixels[..., -8:, -8:].abs().max() < 0.01


def test_pasted_segments_come_from_other_samples_and_add_masks() -> None:
    phase = Phase(until=6, batch_size=2, masks_per_image=8, correction_points=0)
    counts = [
        sum(len(batches[step].masks) for step in range(6))
        for batches in (
            StepBatches(Shapes(5), _config(phases=(phase,), paste_prob=prob), image_size=64) for prob in (0.0, 1.0)
        )
    ]
    assert counts[1] > counts[0] == 36


def test_small_masks_are_zoomed_in_on_as_often_as_the_config_says() -> None:
    dot = np.zeros((64, 64), dtype=bool)
    dot[40:45, 20:25] = True
    source = [Sample(np.zeros((64, 64, 3), np.uint8), [compress(dot)])]

    def areas(prob: float) -> list[int]:
        batches = StepBatches(source, _config(zoom_prob=prob), image_size=64)
        return [int(mask.sum()) for step in range(6) for mask in batches[step].masks]

    assert areas(0.0) == [25] * 12
    # A tenth of 64 px is 6 px, four times 5 px is 20.
    assert all(30 <= area <= 410 for area in areas(1.0))
    assert 0 < sum(area > 25 for area in areas(0.5)) < 12
    with pytest.raises(ValueError, match="zoom_prob"):
        _config(zoom_prob=0.5, freeze_encoder=True, cache_embeddings_mib=1)


def test_segments_are_pasted_as_often_as_told() -> None:
    def masks(paste_prob: float) -> list[int]:
        batches = StepBatches(Shapes(6), _config(paste_prob=paste_prob), image_size=64)
        return [int(batches[step].masks.sum()) for step in range(6)]

    never, half, always = masks(0.0), masks(0.5), masks(1.0)
    assert never == masks(0.0)
    assert sum(one != other for one, other in zip(never, always, strict=True)) > 2, (
        "not every donor has a small segment"
    )
    assert half not in (never, always)


def test_processes_share_the_pictures_of_a_step_and_every_phase_has_enough() -> None:
    phases = (
        Phase(until=1, batch_size=2, masks_per_image=1, correction_points=0),
        Phase(until=2, batch_size=4, masks_per_image=1, correction_points=0),
    )
    config = _config(phases=phases)
    whole = StepBatches(Shapes(9), config, image_size=64)
    parts = [StepBatches(Shapes(9), config, image_size=64, process=number, processes=2) for number in range(2)]
    for step in range(2):
        images = [part[step].images for part in parts]
        assert torch.equal(torch.stack(images, dim=1).flatten(0, 1), whole[step].images)
    with pytest.raises(InputError, match="3 processes cannot share a batch of 2; start fewer"):
        StepBatches(Shapes(9), config, image_size=64, processes=3)


def _order(batches: StepBatches) -> list[int]:
    """Which samples come, position by position."""
    return [sample for step in range(len(batches)) for sample in batches[step].samples.tolist()]


def test_the_order_of_samples_is_new_in_each_epoch_and_stays_what_it_was() -> None:
    """A change of these numbers is a change of what every training sees."""
    order = _order(StepBatches(Shapes(4), _config(seed=3), image_size=64))
    epochs = [order[first : first + 4] for first in (0, 4, 8)]
    assert [sorted(epoch) for epoch in epochs] == [[0, 1, 2, 3]] * 3
    assert epochs == [[3, 2, 1, 0], [0, 1, 2, 3], [0, 3, 2, 1]]


class _Barren(Shapes):
    """All masks of sample 2 are smaller than any limit."""

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        return Sample(sample.image, [compress(np.eye(64, dtype=bool)[:, ::-1] & False)]) if index == 2 else sample


def test_where_a_picture_shows_nothing_the_next_one_comes() -> None:
    order = _order(StepBatches(Shapes(5), _config(), image_size=64))
    found = _order(StepBatches(_Barren(5), _config(), image_size=64))
    assert 2 in order[:-1]
    assert 2 not in found
    for position, (plain, shown, following) in enumerate(zip(order, found, order[1:], strict=False)):
        assert shown == (following if plain == 2 else plain), position


@pytest.mark.parametrize(
    ("weights", "times"), [([1.0, 2.4, 2.6], [1, 2, 3]), ([0.5, 1.0, 0.5], [1, 2, 1]), ([7.0, 7.0, 7.0], [1, 1, 1])]
)
def test_weights_are_relative_to_the_least_and_rounded(weights: list[float], times: list[int]) -> None:
    config = _config(phases=(Phase(until=sum(times), batch_size=1, masks_per_image=1, correction_points=0),))
    order = _order(StepBatches(Shapes(3), config, image_size=64, weights=weights))
    assert [order.count(sample) for sample in range(3)] == times


def test_pictures_that_are_pasted_come_as_often_as_their_weight_says() -> None:
    read: list[int] = []

    class Numbered(Shapes):
        def __getitem__(self, index: int) -> Sample:
            read.append(index)
            return super().__getitem__(index)

    config = _config(phases=(Phase(until=80, batch_size=1, masks_per_image=1, correction_points=0),), paste_prob=1.0)
    order = _order(StepBatches(Numbered(2), config, image_size=64, weights=[1.0, 3.0]))
    assert read[0::2] == order or read[1::2] == order
    donors = read[1::2] if read[0::2] == order else read[0::2]
    assert donors.count(1) / 80 == pytest.approx(0.75, abs=0.12)


@pytest.mark.parametrize(("cuda", "cores", "workers"), [(False, 8, 1), (True, 8, 7), (True, 2, 1), (True, 1, 1)])
def test_a_gpu_has_a_process_that_makes_batches_on_every_core_but_the_trainers(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, cores: int, workers: int
) -> None:
    asked: dict[str, object] = {}
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setattr("model.training.batches.DataLoader", lambda _, **settings: asked.update(settings) or [])
    assert list(batch_loader(StepBatches(Shapes(3), _config(), image_size=64), first_step=2, workers=None)) == []
    assert (asked["num_workers"], asked["pin_memory"]) == (workers, cuda)
    assert asked["sampler"] == range(2, 6)


def test_batches_come_in_order_from_the_step_that_is_next() -> None:
    batches = StepBatches(Shapes(5), _config(), image_size=64)
    found = list(batch_loader(batches, first_step=4, workers=0))
    assert [torch.equal(one.images, batches[step].images) for one, step in zip(found, (4, 5), strict=True)] == [
        True
    ] * 2


def test_as_many_processes_as_pictures_can_share_a_step() -> None:
    parts = [StepBatches(Shapes(9), _config(), image_size=64, process=number, processes=2)[5] for number in range(2)]
    assert [part.slots.tolist() for part in parts] == [[0], [1]]
    whole = StepBatches(Shapes(9), _config(), image_size=64)[5]
    assert torch.equal(torch.cat([part.samples for part in parts]), whole.samples)


def test_a_phase_goes_on_in_the_stream_where_the_one_before_it_ended() -> None:
    phases = tuple(
        Phase(until=until, batch_size=size, masks_per_image=1, correction_points=0)
        for until, size in ((2, 1), (3, 4), (5, 2))
    )
    order = _order(StepBatches(Shapes(10), _config(phases=phases), image_size=64))
    assert sorted(order) == list(range(10)), "an epoch, with nothing twice and nothing left out"
