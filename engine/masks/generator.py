"""Masks of everything in an image: prompt a grid of points, keep confident, stable, distinct masks.

Given the same decoder outputs, the preset `library-default` gives the masks of
`segment_anything.SamAutomaticMaskGenerator`: same masks, same order, same numbers. Unlike it, masks are measured and
filtered at the decoder's resolution (`engine.masks.measuring`), and only what suppression leaves becomes pixels.

Shapes: N prompts a batch, 3 masks each; (h, w) the decoder's resolution; (H, W) the crop in hand.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.masks import filters
from engine.masks.candidates import Candidates
from engine.masks.cleaning import clean_candidates
from engine.masks.counters import Counters
from engine.masks.crop_masks import MASK_THRESHOLD, CropMasks
from engine.masks.crops import Crop, make_crops
from engine.masks.grid import layer_grids, points_in_crop
from engine.masks.measuring import survey
from engine.masks.memory import crops_per_batch, limits
from engine.masks.named_filters import pass_filters
from engine.masks.nesting import parents
from engine.masks.nms import box_nms
from engine.masks.overlaps import coverage_frac, mask_nms
from engine.rle import measured
from model.encoded_image import check_image
from model.geometry import box_area
from model.promptable import PromptedMasks
from model.upscaling import Upscaling
from schemas.errors import InputError
from schemas.mask import GENERATOR, Mask, Prompt
from schemas.presets import GeneratorConfig
from schemas.rle import Rle

Image = npt.NDArray[np.uint8]
Progress = Callable[[int, int], None]


class MaskPredictor(Protocol):
    """What the generator needs of `model.predictor.Predictor`."""

    def encode_images(self, images: Sequence[Image], /) -> list[Any]:
        """Several pictures through the encoder together; `set_embedding` takes what comes back."""
        ...

    @property
    def device(self) -> torch.device: ...

    def set_embedding(self, encoded: Any, /) -> None: ...

    def prompt(self, points: Tensor, labels: Tensor, /) -> PromptedMasks:
        """points: (N, 1, 2); labels: (N, 1). Three masks a prompt."""
        ...

    @property
    def upscaling(self) -> Upscaling: ...


@dataclass(frozen=True)
class GenerationResult:
    """What was found on an image.

    masks: each with the point that prompted it. dropped: masks for each reason of `filters.REASONS`, and for
    each of `GeneratorConfig.filters`. seconds: of each phase of `counters.PHASES`. coverage_frac: share of the image in
    at least one mask. parents: for each mask the index of the smallest mask that contains it, None where none does
    (`nesting.parents`); None as a whole unless `store_nesting` is set.
    """

    masks: list[Mask]
    dropped: dict[str, int]
    seconds: dict[str, float]
    coverage_frac: float
    parents: list[int | None] | None


@dataclass
class _Job:
    """An image on its way: its crops, and the masks that are left of each crop that is done."""

    image: Image
    crops: list[Crop]
    total_points: int
    progress: Progress | None
    counters: Counters = field(default_factory=Counters)
    parts: list[Candidates[Rle]] = field(default_factory=list)
    done_points: int = 0

    @property
    def hw(self) -> tuple[int, int]:
        return self.image.shape[0], self.image.shape[1]

    def advance(self, points: int) -> None:
        self.done_points += points
        if self.progress is not None:
            self.progress(self.done_points, self.total_points)


class MaskGenerator:
    """Finds the masks of an image with a predictor and the settings of a preset (`schemas.presets`)."""

    def __init__(self, predictor: MaskPredictor, config: GeneratorConfig) -> None:
        self.predictor = predictor
        self.config = config
        self._grids = layer_grids(config)

    def generate(self, image: Image, *, progress: Progress | None = None) -> GenerationResult:
        """Masks of an image, (H, W, 3) uint8 RGB.

        progress: called after each batch with the points prompted so far and their total.
        Raises InputError if the image is empty, of another shape or type, or too small for the crop layers, if the
        model gives numbers that are not finite, and if not even one prompt fits into `max_memory_mb`.
        """
        job = self._job(image, progress)
        together = crops_per_batch(self.config, on_cpu=self._on_cpu)
        for first in range(0, len(job.crops), together):
            crops = job.crops[first : first + together]
            for crop, encoded in zip(crops, self._encode(crops, job), strict=True):
                job.parts.append(self._masks_of_crop(encoded, job, crop))
        return self._finish(job)

    def _job(self, image: Image, progress: Progress | None) -> _Job:
        check_image(image)
        config, image_hw = self.config, (image.shape[0], image.shape[1])
        crops = make_crops(image_hw, n_layers=config.crop_n_layers, overlap_ratio=config.crop_overlap_ratio)
        return _Job(image, crops, sum(len(self._grids[crop.layer]) for crop in crops), progress)

    @property
    def _on_cpu(self) -> bool:
        return self.predictor.device.type == "cpu"

    @torch.no_grad()
    def _encode(self, crops: Sequence[Crop], job: _Job) -> list[Any]:
        """Several crops of an image through the encoder together."""
        pixels = [np.ascontiguousarray(job.image[crop.y0 : crop.y1, crop.x0 : crop.x1]) for crop in crops]
        with job.counters.timed("encode"):
            return self.predictor.encode_images(pixels)

    @torch.no_grad()
    def _masks_of_crop(self, encoded: Any, job: _Job, crop: Crop) -> Candidates[Rle]:
        """Prompt one crop batch by batch, and keep the distinct masks that pass the filters."""
        self.predictor.set_embedding(encoded)
        upscaling = self.predictor.upscaling
        limit = limits(self.config, upscaling, on_cpu=self._on_cpu)
        offset = self.config.stability_score_offset
        waiting = CropMasks(crop, upscaling, image_hw=job.hw, offset=offset, max_bytes=limit.waiting_bytes)
        batches = []
        for points in torch.as_tensor(points_in_crop(self._grids[crop.layer], crop)).split(limit.prompts):
            with job.counters.timed("prompt_decode"):
                prompted = self.predictor.prompt(points[:, None, :], torch.ones((len(points), 1)))
            batches.append(self._filter_batch(prompted, points, crop, job, waiting))
            job.advance(len(points))
        found = self._distinct_in_crop(Candidates.concatenate(batches), waiting, job)
        with job.counters.timed("rle"):
            encoded_masks = found.with_masks([waiting.encoded(place) for place in found.masks])
        if self.config.min_mask_region_area > 0 and self.config.clean_before_crop_nms:
            return clean_candidates(encoded_masks, self.config, job.counters)
        return encoded_masks

    def _filter_batch(
        self, prompted: PromptedMasks, points: Tensor, crop: Crop, job: _Job, waiting: CropMasks
    ) -> Candidates[int]:
        """The masks of N prompts (N, 2) that pass; their masks are places in `waiting`."""
        with job.counters.timed("filter"):
            predicted_iou = prompted.predicted_iou.flatten(0, 1)
            if not torch.isfinite(predicted_iou).all():
                raise InputError(
                    "the model gave predicted IoUs that are not finite; its weights are broken, or too large for its "
                    "type"
                )
            confident = job.counters.kept(
                filters.by_predicted_iou(predicted_iou, threshold=self.config.pred_iou_thresh)
            )
        if len(confident) == 0:
            return Candidates.empty()
        with job.counters.timed("prompt_decode"):
            logits = prompted.logits(confident)
        with job.counters.timed("filter"):
            offset = self.config.stability_score_offset
            found = survey(logits.float(), self.predictor.upscaling, threshold=MASK_THRESHOLD, offset=offset)
            rows = job.counters.kept(filters.by_emptiness(found.empty))
            corner = torch.tensor([crop.x0, crop.y0])
            boxes = found.boxes[rows] + corner.repeat(2)
            uncut = job.counters.kept(filters.by_crop_edge(boxes, crop, image_hw=job.hw))
            rows, boxes = rows[uncut], boxes[uncut]
            places = waiting.add(found, rows)
        index = confident.cpu()[rows]
        return Candidates(
            places,
            boxes,
            predicted_iou.float().cpu()[index],
            torch.full((len(places),), torch.nan),
            points[index // prompted.predicted_iou.shape[1]] + corner,
            torch.tensor(crop.box).expand(len(places), 4),
        )

    def _distinct_in_crop(self, found: Candidates[int], waiting: CropMasks, job: _Job) -> Candidates[int]:
        """The best of masks whose boxes overlap, of those that are stable and not too large; knows their stability.

        Only masks that no better one covers are measured for that.
        """
        config, counters, image_area = self.config, job.counters, job.hw[0] * job.hw[1]
        n_unfit = 0

        def fit(rows: Tensor) -> Tensor:
            nonlocal n_unfit
            with counters.timed("filter"):
                intersection, union, area = waiting.counts([found.masks[row] for row in rows.tolist()]).unbind(1)
                score = filters.stability_of_counts(intersection, union)
                found.stability_score[rows] = score
                kept = counters.kept(filters.by_stability(score, threshold=config.stability_score_thresh))
                max_area_frac = config.max_mask_area_frac
                verdict = filters.by_area_frac(area[kept], image_area=image_area, max_area_frac=max_area_frac)
                kept = kept[counters.kept(verdict)]
            n_unfit += len(rows) - len(kept)
            return torch.zeros(len(rows), dtype=torch.bool).index_fill(0, kept, True)

        with counters.timed("nms"):
            keep = box_nms(found.boxes, found.predicted_iou, iou_threshold=config.box_nms_thresh, admit=fit)
            counters.dropped["duplicate_within_crop"] += len(found) - len(keep) - n_unfit
            return found.select(keep)

    def _finish(self, job: _Job) -> GenerationResult:
        found: Candidates[Rle] = Candidates.concatenate(job.parts)
        if len(job.crops) > 1:
            found = self._distinct_across_crops(found, job.counters)
        if self.config.min_mask_region_area > 0 and not self.config.clean_before_crop_nms:
            found = clean_candidates(found, self.config, job.counters)
        if self.config.mask_nms_thresh < 1:
            found = self._distinct_by_mask(found, job.counters)
        if self.config.filters:
            found = self._pass_named_filters(found, job.counters)
        with job.counters.timed("rle"):
            covered = coverage_frac(found.masks)
            nested = parents(found.masks, found.boxes) if self.config.store_nesting else None
        return GenerationResult(_as_masks(found), job.counters.dropped, job.counters.seconds, covered, nested)

    def _distinct_across_crops(self, found: Candidates[Rle], counters: Counters) -> Candidates[Rle]:
        """Of masks that overlap keep those of the smallest crop: they were seen most zoomed in."""
        with counters.timed("nms"):
            keep = box_nms(found.boxes, 1 / box_area(found.crop_boxes), iou_threshold=self.config.crop_nms_thresh)
            counters.dropped["duplicate_across_crops"] += len(found) - len(keep)
            return found.select(keep)

    def _distinct_by_mask(self, found: Candidates[Rle], counters: Counters) -> Candidates[Rle]:
        """Of masks that overlap keep the first: they lie best first, and so they stay."""
        with counters.timed("nms"):
            same = torch.zeros(len(found))
            keep = mask_nms(found.masks, found.boxes, same, iou_threshold=self.config.mask_nms_thresh)
            counters.dropped["duplicate_mask"] += len(found) - len(keep)
            return found.select(keep)

    def _pass_named_filters(self, found: Candidates[Rle], counters: Counters) -> Candidates[Rle]:
        with counters.timed("filter"):
            kept, dropped = pass_filters(_as_masks(found), self.config.filters)
            counters.dropped |= dropped
            return found.select(torch.tensor(kept, dtype=torch.int64))


def _as_masks(found: Candidates[Rle]) -> list[Mask]:
    return [
        replace(
            measured(one),
            crop_box=tuple(crop_box),
            prompt=Prompt(points=((x, y, 1),)),
            predicted_iou=iou,
            stability_score=stability,
            origin="automatic",
            annotator=GENERATOR,
        )
        for one, iou, stability, crop_box, (x, y) in zip(
            found.masks,
            found.predicted_iou.tolist(),
            found.stability_score.tolist(),
            found.crop_boxes.tolist(),
            found.points.tolist(),
            strict=True,
        )
    ]
