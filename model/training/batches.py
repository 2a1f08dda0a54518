"""Batches as a pure function of (seed, step): what a resumed run reads is what it would have read."""

import os
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from model.training.augment import augment
from model.training.config import TrainingConfig
from model.training.samples import Batch, Picture, SampleSource, collate
from schemas.errors import InputError

TOO_SMALL = "lower min_mask_frac (sam-engine train --set min_mask_frac=0), or check the masks"
_TRIES = 20


class StepBatches(Dataset[Batch]):
    """Item number `step` is the batch of that step. Every sample is seen `weight` times an epoch, in random order.

    Of several processes, each gets its share of the pictures; together they see what one alone would see.
    """

    def __init__(
        self,
        source: SampleSource,
        config: TrainingConfig,
        *,
        image_size: int,
        pad_rgb: tuple[int, int, int] = (0, 0, 0),
        weights: Sequence[float] | None = None,
        process: int = 0,
        processes: int = 1,
        too_small: str = TOO_SMALL,
    ) -> None:
        """pad_rgb: what fills the square around a picture. weights: how often each sample comes in an epoch, relative
        to the rarest (rounded); None for once each. too_small: what to do where pictures show no mask large enough.

        Raises InputError where there is nothing to train on, or a step has fewer pictures than there are processes.
        """
        if not len(source):
            raise InputError("there is nothing to train on: no image with masks was selected")
        smallest = min(phase.batch_size for phase in config.phases)
        if smallest < processes:
            raise InputError(
                f"{processes} processes cannot share a batch of {smallest}; start fewer, or raise batch_size"
            )
        self._source = source
        self._process, self._processes = process, processes
        self._config = config
        self._too_small = too_small
        self._image_size = image_size
        self._pad_rgb = pad_rgb
        repeats = np.ones(len(source)) if weights is None else np.asarray(weights) / np.min(weights)
        self._epoch = np.repeat(np.arange(len(source)), np.rint(repeats).astype(int))
        self._starts = self._images_before_each_phase()

    def __len__(self) -> int:
        return self._config.steps

    def __getitem__(self, step: int) -> Batch:
        phase = self._config.phase(step)
        number = self._config.phases.index(phase)
        first_step = self._config.phases[number - 1].until if number else 0
        first = self._starts[number] + (step - first_step) * phase.batch_size
        slots = range(self._process, phase.batch_size, self._processes)
        batch = collate([self._picture(step, slot, first + slot) for slot in slots])
        return batch.with_masks_multiple_of(self._config.masks_multiple)

    def _images_before_each_phase(self) -> list[int]:
        starts, step = [0], 0
        for phase in self._config.phases:
            starts.append(starts[-1] + (phase.until - step) * phase.batch_size)
            step = phase.until
        return starts

    def _picture(self, step: int, slot: int, position: int) -> Picture:
        """The picture at this position of the endless stream; where it shows no usable mask, one of the next ones."""
        config, phase = self._config, self._config.phase(step)
        for attempt in range(_TRIES):
            epoch, offset = divmod(position + attempt, len(self._epoch))
            order = np.random.default_rng((config.seed, epoch)).permutation(self._epoch)
            rng = np.random.default_rng((config.seed, 1, position, attempt))
            sample = int(order[offset])
            pasted = rng.random() < config.paste_prob
            picture = augment(
                self._source[sample],
                side_px=phase.input_size_px or self._image_size,
                max_masks=phase.masks_per_image,
                scale_range=config.scale_range,
                flip=config.flip,
                colour_jitter=config.colour_jitter,
                min_mask_frac=config.min_mask_frac,
                max_mask_frac=config.max_mask_frac,
                pad_rgb=self._pad_rgb,
                zoom_prob=config.zoom_prob,
                donor=self._source[int(rng.choice(self._epoch))] if pasted else None,
                rng=rng,
            )
            if picture is not None:
                return Picture(*picture, slot, sample)
        raise InputError(
            f"{_TRIES} pictures in a row have no mask between {config.min_mask_frac:g} of the input and "
            f"{config.max_mask_frac:g} of the picture; {self._too_small}"
        )


def batch_loader(batches: StepBatches, *, first_step: int, workers: int | None) -> Iterator[Batch]:
    """Batches from `first_step` on, in order, made ahead by `workers` processes.

    None: one on the CPU, which has other work; with a GPU as many as there are cores beside the trainer's own.
    The processes are no forks of this one: of its threads (Prefect's, a store's) a fork keeps the locks and the
    functions to be called at the end, but not the threads, so it can lock up or end with an error.
    """
    if workers is None:
        workers = max(1, len(os.sched_getaffinity(0)) - 1) if torch.cuda.is_available() else 1
    loader: DataLoader[Batch] = DataLoader(
        batches,
        batch_size=None,
        sampler=range(first_step, len(batches)),
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if workers else None,
        multiprocessing_context="forkserver" if workers else None,
    )
    try:
        yield from loader
    except InputError as error:  # of another process it comes with that one's traceback before its text
        raise InputError(str(error).rpartition("InputError: ")[2].strip()) from error
