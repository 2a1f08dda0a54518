"""Samples that cannot be used: skipped, counted, listed, and the same after a kill."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from model.sam import Sam, build_sam
from model.training.bad_samples import BadLimit, BadSample, BadSamples
from model.training.batches import StepBatches, batch_loader
from model.training.config import Phase, TrainingConfig
from model.training.samples import Batch, Sample
from model.training.trainer import train
from schemas.errors import InputError
from tests.model.training.shapes import Shapes, compress
from tests.stages.workspaces import TINY

STEPS = 8


def _config(**changes: object) -> TrainingConfig:
    phase = Phase(until=STEPS, batch_size=2, masks_per_image=3, correction_points=0)
    return TrainingConfig.model_validate({"name": "test", "phases": (phase,), "loader_workers": 0} | changes)


class Damaged(Shapes):
    """`Shapes`, some of which cannot be read."""

    def __init__(self, count: int, bad: set[int]) -> None:
        super().__init__(count)
        self.bad = bad

    def __getitem__(self, index: int) -> Sample:
        if index in self.bad:
            raise InputError(f"{index}.jpg: cut off")
        return super().__getitem__(index)


def _limit(count: int, max_frac: float = 0.5) -> BadLimit:
    return BadLimit(count, max_frac)


def _seen(batches: StepBatches) -> list[Batch]:
    return [batches[step] for step in range(STEPS)]


def test_the_next_picture_comes_in_place_of_one_that_cannot_be_read() -> None:
    bad = {1, 4}
    seen = _seen(StepBatches(Damaged(6, bad), _config(), image_size=64, bad_limit=_limit(6)))
    assert all(len(batch.images) == 2 for batch in seen)
    assert {int(sample) for batch in seen for sample in batch.samples} == {0, 2, 3, 5}
    told = {each for batch in seen for each in batch.skipped}
    assert told == {BadSample(number, "unreadable", f"{number}.jpg: cut off") for number in bad}


def test_pictures_that_come_before_and_after_a_bad_one_are_as_they_were() -> None:
    """One that is drawn at its own place has the same view, whatever else is bad."""
    whole, damaged = (
        _seen(StepBatches(source, _config(), image_size=64, bad_limit=_limit(6)))
        for source in (Shapes(6), Damaged(6, {1}))
    )
    same = [
        torch.equal(before.images[row], after.images[row])
        for before, after in zip(whole, damaged, strict=True)
        for row in range(2)
        if int(before.samples[row]) == int(after.samples[row])
    ]
    assert len(same) > STEPS
    assert all(same)


def test_without_bad_samples_nothing_is_skipped() -> None:
    assert all(batch.skipped == () for batch in _seen(StepBatches(Shapes(6), _config(), image_size=64)))


@pytest.mark.parametrize("workers", [0, 1])
def test_too_many_end_it_with_one_line(workers: int) -> None:
    """Also where they are found in another process."""
    batches = StepBatches(Damaged(10, {0, 1, 2}), _config(), image_size=64, bad_limit=_limit(10, 0.2))
    with pytest.raises(
        InputError,
        match=r"^3 of 10 pictures cannot be trained on, more than 0\.2 of them; the first: \d\.jpg: cut off; "
        r"mend them, or raise --max-bad-frac$",
    ):
        list(batch_loader(batches, first_step=0, workers=workers))


@pytest.mark.parametrize(("bad", "stops"), [(2, False), (3, True)])
def test_the_limit_itself_is_allowed(bad: int, stops: bool) -> None:
    reasons = [f"{number}.jpg" for number in range(bad)]
    if not stops:
        BadLimit(20).check(reasons)
        return
    with pytest.raises(InputError, match=r"^3 of 20 pictures"):
        BadLimit(20).check(reasons)


def test_those_known_before_the_first_step_count_too() -> None:
    limit = BadLimit(4, 0.5, ("a.jpg: no such file", "b.jpg: no such file"))
    bad = BadSamples(limit)
    with pytest.raises(InputError, match=r"^3 of 4 pictures .* the first: a.jpg: no such file"):
        bad.add([BadSample(0, "unreadable", "c.jpg: cut off")])
    with pytest.raises(InputError, match=r"^2 of 4 pictures"):
        BadSamples(BadLimit(4, 0.25, limit.before))


def test_one_that_no_step_can_show_is_told_once_and_is_no_reason_to_stop() -> None:
    dot = np.zeros((64, 64), dtype=bool)
    dot[3, 5] = True
    tiny = Sample(np.zeros((64, 64, 3), np.uint8), [compress(dot)], "tiny.jpg")
    source = [Shapes(1)[0], tiny, tiny]
    lines: list[str] = []
    bad = BadSamples(BadLimit(3, 0.0), tell=lines.append)
    for batch in _seen(StepBatches(source, _config(min_mask_frac=0.01), image_size=64, bad_limit=bad.limit)):
        bad.add(batch.skipped)
    reason = "tiny.jpg: no mask between 0.01 of the input and 0.9 of the picture"
    assert lines == [f"skipped: {reason}"] * 2
    assert bad.to_dict() == {"unreadable": 0, "without_masks": 2, "of": 3, "listed": [reason, reason]}


def test_nothing_skipped_is_nothing_to_tell() -> None:
    assert BadSamples(BadLimit(3)).to_dict() == {}
    assert not BadSamples(BadLimit(3))


def _trained(folder: Path | None, bad: BadSamples, on_step: Callable[[object], None] | None = None) -> Sam:
    torch.manual_seed(1)
    sam = build_sam(TINY)
    train(sam, Damaged(6, {1, 4}), _config(), checkpoints=folder, checkpoint_every_s=0, bad=bad, on_step=on_step)
    return sam


def test_a_resumed_run_ends_with_the_same_weights_and_the_same_list(tmp_path: Path) -> None:
    whole = BadSamples(_limit(6))
    expected = _trained(None, whole).state_dict()
    assert {each.sample for each in whole.found()} == {1, 4}

    def kill(report: object) -> None:
        if getattr(report, "step", 0) == STEPS - 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _trained(tmp_path / "killed", BadSamples(_limit(6)), kill)
    resumed = BadSamples(_limit(6))
    found = _trained(tmp_path / "killed", resumed).state_dict()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    assert resumed.found() == whole.found(), "also those of before the kill"
