"""Batches as a pure function of (seed, step): what a resumed run reads is what it would have read."""

import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch.utils.data import DataLoader, Dataset

from model.training.augment import augment, never_shown
from model.training.bad_samples import BadLimit, BadSample
from model.training.config import Phase, TrainingConfig
from model.training.order import order_of
from model.training.run_weights import RunWeights
from model.training.samples import Batch, Picture, Sample, SampleSource, collate
from schemas.errors import InputError

TOO_SMALL = "lower min_mask_frac or raise max_mask_frac (sam-engine train --set max_mask_frac=1), or check the masks"
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
        bad_limit: BadLimit | None = None,
    ) -> None:
        """pad_rgb: what fills the square around a picture. weights: how often each sample comes in an epoch, relative
        to the rarest (rounded); None for once each. too_small: what to do where pictures show no mask large enough.
        bad_limit: how many samples may be unreadable; the default share of them where None.

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
        self._bad_limit = bad_limit or BadLimit(len(source))
        self._unreadable: dict[int, BadSample] = {}
        self._image_size = image_size
        self._pad_rgb = pad_rgb
        alike = RunWeights([len(source)], [1.0])
        self._order = order_of(source, alike if weights is None else weights, seed=config.seed)
        self._starts = self._images_before_each_phase()

    def __len__(self) -> int:
        return self._config.steps

    def __getitem__(self, step: int) -> Batch:
        phase = self._config.phase(step)
        number = self._config.phases.index(phase)
        first_step = self._config.phases[number - 1].until if number else 0
        first = self._starts[number] + (step - first_step) * phase.batch_size
        slots = range(self._process, phase.batch_size, self._processes)
        skipped: dict[int, BadSample] = {}
        batch = collate([self._picture(step, slot, first + slot, skipped) for slot in slots])
        batch = batch.with_masks_multiple_of(self._config.masks_multiple)
        return replace(batch, skipped=tuple(skipped.values())) if skipped else batch

    def _images_before_each_phase(self) -> list[int]:
        starts, step = [0], 0
        for phase in self._config.phases:
            starts.append(starts[-1] + (phase.until - step) * phase.batch_size)
            step = phase.until
        return starts

    def _picture(self, step: int, slot: int, position: int, skipped: dict[int, BadSample]) -> Picture:
        """The picture at this position of the endless stream; where it shows no usable mask, one of the next ones.

        skipped: takes the samples that were passed over since no step can use them.
        Raises InputError where too many cannot be read, or too many in a row show no mask.
        """
        phase, unread = self._config.phase(step), 0
        for attempt in range(_TRIES + len(self._order)):
            if attempt - unread == _TRIES:
                break
            rng = np.random.default_rng((self._config.seed, 1, position, attempt))
            number = self._order.sample(position + attempt)
            pasted = rng.random() < self._config.paste_prob
            sample = self._sample(number, skipped)
            if sample is None:
                unread += 1
                continue
            donor = self._sample(int(rng.choice(self._order.beside(position + attempt))), skipped) if pasted else None
            picture = self._augmented(sample, donor, phase, rng)
            if picture is not None:
                return Picture(*picture, slot, number)
            if self._shows_no_mask(sample):
                name = sample.name or f"sample {number + 1}"
                skipped[number] = BadSample(number, "without_masks", f"{name}: {self._no_mask()}")
        raise InputError(f"{_TRIES} pictures in a row have {self._no_mask()}; {self._too_small}")

    def _augmented(
        self, sample: Sample, donor: Sample | None, phase: Phase, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray] | None:
        config = self._config
        return augment(
            sample,
            side_px=phase.input_size_px or self._image_size,
            max_masks=phase.masks_per_image,
            scale_range=config.scale_range,
            flip=config.flip,
            colour_jitter=config.colour_jitter,
            min_mask_frac=config.min_mask_frac,
            max_mask_frac=config.max_mask_frac,
            pad_rgb=self._pad_rgb,
            zoom_prob=config.zoom_prob,
            donor=donor,
            rng=rng,
        )

    def _sample(self, number: int, skipped: dict[int, BadSample]) -> Sample | None:
        """A sample of the source; None where it cannot be read. Raises InputError where that is one too many."""
        if number not in self._unreadable:
            try:
                return self._source[number]
            except InputError as error:
                self._unreadable[number] = BadSample(number, "unreadable", str(error))
                self._bad_limit.check([bad.reason for bad in self._unreadable.values()])
        skipped[number] = self._unreadable[number]
        return None

    def _shows_no_mask(self, sample: Sample) -> bool:
        """Whether none of its masks is learned from in any phase."""
        areas = np.array([coco_mask.area(mask) for mask in sample.masks], dtype=np.float64)
        heights, widths = (np.full(len(areas), float(side)) for side in sample.full_hw)
        side_px = max(phase.input_size_px or self._image_size for phase in self._config.phases)
        small, large = never_shown(areas, heights, widths, self._config, side_px=side_px)
        return bool((small | large).all())

    def _no_mask(self) -> str:
        config = self._config
        return f"no mask between {config.min_mask_frac:g} of the input and {config.max_mask_frac:g} of the picture"


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
        worker_init_fn=_end_with_parent,
    )
    try:
        yield from loader
    except InputError as error:  # of another process it comes with that one's traceback before its text
        raise InputError(str(error).rpartition("InputError: ")[2].strip()) from error


def _end_with_parent(_: int) -> None:
    """Have this process end with the one that it makes batches for, however that ends.

    Torch watches who forked it: the fork server, which lives on for as long as one of its forks does.
    """
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
