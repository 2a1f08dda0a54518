"""Masks of everything in an image: prompt a grid of points, keep confident, stable, distinct masks.

Given the same decoder outputs, the preset `library-default` gives the masks of
`segment_anything.SamAutomaticMaskGenerator`: same masks, same order, same numbers. Unlike it, masks that fail on
predicted IoU are never brought to full size, the others only a few at a time, and what passes is kept as RLE.

Shapes: N prompts a batch, 3 masks each; (h, w) the decoder's resolution; (H, W) the crop in hand.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine import rle
from engine.geometry import box_area, mask_boxes
from engine.masks import filters
from engine.masks.candidates import Candidates
from engine.masks.cleaning import clean_candidates
from engine.masks.crops import Crop, make_crops
from engine.masks.grid import layer_grids, points_in_crop
from engine.masks.nms import box_nms
from engine.masks.tally import Tally
from model.predictor import LowRes, check_image
from schemas.errors import InputError
from schemas.presets import GeneratorConfig

MASK_THRESHOLD = 0.0
# Full-size logits in hand at a time, in pixels: 64 MiB of float32. Each mask also passes through the model's padded
# input size, so it counts as at least one megapixel.
CHUNK_PIXELS = 2**24
_MEGAPIXEL = 2**20


class MaskPredictor(Protocol):
    """What the generator needs of `model.predictor.Predictor`."""

    def set_image(self, image: npt.NDArray[np.uint8]) -> None: ...

    def predict_low_res(self, points: Any, labels: Any) -> LowRes: ...

    def upscale(self, logits: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class GeneratedMask:
    """One mask of an image.

    rle: the full image. area: pixels.
    box_xyxy: first and last column and row with foreground, both inclusive, as in SA-1B; `engine.rle.box_xyxy` gives
        COCO's box, which ends one pixel later.
    predicted_iou, stability_score: in [0, 1]; those of the mask before small regions were cleaned.
    crop_box_xyxy: the crop that was prompted, right and bottom exclusive. point_xy: the prompt, pixels of the image.
    """

    rle: rle.Rle
    box_xyxy: tuple[int, int, int, int]
    area: int
    predicted_iou: float
    stability_score: float
    crop_box_xyxy: tuple[int, int, int, int]
    point_xy: tuple[float, float]


@dataclass(frozen=True)
class GenerationResult:
    """masks: what was found. dropped: masks for each reason of `filters.REASONS`. seconds: of each phase."""

    masks: list[GeneratedMask]
    dropped: dict[str, int]
    seconds: dict[str, float]


class MaskGenerator:
    """Finds the masks of an image with a predictor and the settings of a preset (`schemas.presets`)."""

    def __init__(self, predictor: MaskPredictor, config: GeneratorConfig) -> None:
        self.predictor = predictor
        self.config = config
        self._grids = layer_grids(config)

    @torch.no_grad()
    def generate(
        self, image: npt.NDArray[np.uint8], *, progress: Callable[[int, int], None] | None = None
    ) -> GenerationResult:
        """Masks of an image, (H, W, 3) uint8 RGB.

        progress: called after each batch with the points prompted so far and their total.
        Raises InputError if the image is empty, of another shape or type, or too small for the crop layers, and if the
        model gives numbers that are not finite.
        """
        check_image(image)
        config, tally = self.config, Tally()
        image_hw = (image.shape[0], image.shape[1])
        crops = make_crops(image_hw, n_layers=config.crop_n_layers, overlap_ratio=config.crop_overlap_ratio)
        total = sum(len(self._grids[crop.layer]) for crop in crops)
        parts, done = [], 0
        for crop in crops:
            batches = []
            for points, batch in self._prompt_crop(image, crop, tally):
                batches.append(batch)
                done += points
                if progress is not None:
                    progress(done, total)
            parts.append(self._distinct_in_crop(Candidates.concatenate(batches), tally))
        found = Candidates.concatenate(parts)
        if len(crops) > 1:
            found = self._distinct_across_crops(found, tally)
        if config.min_mask_region_area > 0:
            found = clean_candidates(found, config, tally)
        return GenerationResult(_finish(found), tally.dropped, tally.seconds)

    def _prompt_crop(self, image: npt.NDArray[np.uint8], crop: Crop, tally: Tally) -> Iterator[tuple[int, Candidates]]:
        """Prompt one crop, batch by batch: how many points, and the masks of them that pass the filters."""
        image_hw = (image.shape[0], image.shape[1])
        with tally.timed("encode"):
            self.predictor.set_image(np.ascontiguousarray(image[crop.y0 : crop.y1, crop.x0 : crop.x1]))
        points = torch.as_tensor(points_in_crop(self._grids[crop.layer], crop))
        for batch in points.split(self.config.points_per_batch):
            with tally.timed("decode"):
                low_res = self.predictor.predict_low_res(batch[:, None, :], torch.ones((len(batch), 1)))
            yield len(batch), self._filter_batch(low_res, batch, crop, image_hw=image_hw, tally=tally)

    def _filter_batch(
        self, low_res: LowRes, points: Tensor, crop: Crop, *, image_hw: tuple[int, int], tally: Tally
    ) -> Candidates:
        """The masks of N prompts that pass, at full size for a moment and as RLE from then on."""
        with tally.timed("filter"):
            predicted_iou, logits = low_res.predicted_iou.flatten(0, 1), low_res.logits.flatten(0, 1)
            _check_finite(predicted_iou, "predicted IoUs")
            confident = tally.kept(filters.by_predicted_iou(predicted_iou, threshold=self.config.pred_iou_thresh))
            _check_finite(logits[confident], "mask logits")
        points = points.repeat_interleave(low_res.logits.shape[1], dim=0)
        chunk = max(1, CHUNK_PIXELS // max(crop.width * crop.height, _MEGAPIXEL))
        parts = []
        for index in confident.split(chunk) if len(confident) else ():
            with tally.timed("filter"):
                stable, score, masks, boxes = self._filter_masks(logits[index], crop, image_hw=image_hw, tally=tally)
                rows = index[stable].cpu()
            with tally.timed("rle"):
                rles = _encode(masks, boxes, crop, image_hw=image_hw)
            offset = torch.tensor([crop.x0, crop.y0])
            parts.append(
                Candidates(
                    rles,
                    boxes.cpu() + offset.repeat(2),
                    predicted_iou[index[stable]].float().cpu(),
                    score.cpu(),
                    points[rows] + offset,
                    torch.tensor(crop.box_xyxy).expand(len(rles), 4),
                )
            )
        return Candidates.concatenate(parts)

    def _filter_masks(
        self, logits: Tensor, crop: Crop, *, image_hw: tuple[int, int], tally: Tally
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Bring logits (n, h, w) to full size and filter them.

        Returns, for the m that stay: their index (m,), stability (m,), masks (m, H, W) bool, inclusive boxes (m, 4) in
        pixels of the crop.
        """
        config = self.config
        full = self.predictor.upscale(logits[None])[0]
        score = filters.stability_score(full, threshold=MASK_THRESHOLD, offset=config.stability_score_offset)
        rows = tally.kept(filters.by_stability(score, threshold=config.stability_score_thresh))
        masks = full[rows] > MASK_THRESHOLD
        area = masks.sum(dim=(1, 2))
        index = tally.kept(filters.by_emptiness(area))
        rows, masks, area = rows[index], masks[index], area[index]
        image_area = image_hw[0] * image_hw[1]
        max_area_frac = config.max_mask_area_frac
        index = tally.kept(filters.by_area_frac(area, image_area=image_area, max_area_frac=max_area_frac))
        rows, masks = rows[index], masks[index]
        boxes = mask_boxes(masks)
        offset = torch.tensor([crop.x0, crop.y0] * 2, device=boxes.device)
        index = tally.kept(filters.by_crop_edge(boxes + offset, crop, image_hw=image_hw))
        return rows[index], score[rows[index]], masks[index], boxes[index]

    def _distinct_in_crop(self, found: Candidates, tally: Tally) -> Candidates:
        with tally.timed("nms"):
            keep = box_nms(found.boxes, found.predicted_iou, iou_threshold=self.config.box_nms_thresh)
            tally.dropped["duplicate_within_crop"] += len(found) - len(keep)
            return found.select(keep)

    def _distinct_across_crops(self, found: Candidates, tally: Tally) -> Candidates:
        """Of masks that overlap keep those of the smallest crop: they were seen most zoomed in."""
        with tally.timed("nms"):
            keep = box_nms(found.boxes, 1 / box_area(found.crop_boxes), iou_threshold=self.config.crop_nms_thresh)
            tally.dropped["duplicate_across_crops"] += len(found) - len(keep)
            return found.select(keep)


def _encode(masks: Tensor, boxes: Tensor, crop: Crop, *, image_hw: tuple[int, int]) -> list[rle.Rle]:
    """RLEs, in the frame of the image, of masks (m, H, W) of a crop; only what lies inside their boxes is read."""
    height, width = image_hw
    rles = []
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.tolist(), strict=True):
        inside = mask[y0 : y1 + 1, x0 : x1 + 1].cpu().numpy()
        rles.append(rle.encode_at(inside, x0=crop.x0 + x0, y0=crop.y0 + y0, height=height, width=width))
    return rles


def _check_finite(numbers: Tensor, what: str) -> None:
    if not torch.isfinite(numbers).all():
        raise InputError(
            f"the model gave {what} that are not finite; its weights are broken, or too large for its type"
        )


def _finish(found: Candidates) -> list[GeneratedMask]:
    return [
        GeneratedMask(one, tuple(box), rle.area(one), iou, stability, tuple(crop_box), tuple(point))
        for one, box, iou, stability, crop_box, point in zip(
            found.rles,
            found.boxes.tolist(),
            found.predicted_iou.tolist(),
            found.stability_score.tolist(),
            found.crop_boxes.tolist(),
            found.points.tolist(),
            strict=True,
        )
    ]
