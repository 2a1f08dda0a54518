"""How the object detector learns: boxes to targets of cells, the loss, and the loop over frozen embeddings.

Shapes: B images, K cells, N boxes of an image; see `model.object_detector`. Lengths are pixels of the model's input.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from model.encoders import ImageEmbedding
from model.object_detector import CellOutput, Cells, DetectorConfig, ObjectDetector, as_float, inside
from model.predictor import Predictor
from model.training.bad_samples import BadLimit, BadSample, BadSamples
from schemas.errors import DivergedError, InputError

# A cell of side d stands for objects whose farthest side is up to this many d away; larger ones are for coarser grids.
REACH_CELLS = 8.0
# Only cells this near to the centre of a box, in cells, are asked for it.
CENTRE_CELLS = 1.5
_BOX_WEIGHT = 2.0


class DetectorSample(NamedTuple):
    """What the detector learns of an image. embedding: of one image (B = 1). boxes: (N, 4) XYXY of its masks.
    input_hw: (height, width) of the part of the model's input that shows the picture."""

    embedding: ImageEmbedding
    boxes: Tensor
    input_hw: tuple[int, int]


def encode_sample(
    predictor: Predictor, image: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float32], *, full_hw: tuple[int, int]
) -> DetectorSample:
    """What the detector learns of a picture (H, W, 3) uint8, with boxes (N, 4) XYXY in pixels of its full size.

    The picture may be given smaller than that; its shape must be the same.
    """
    predictor.set_image(image)
    input_h, input_w = predictor.input_hw
    scale = torch.tensor([input_w / full_hw[1], input_h / full_hw[0]] * 2)
    return DetectorSample(predictor.encoded.embedding, torch.tensor(boxes) * scale, (input_h, input_w))


class DetectorSource(Protocol):
    """Images to learn from; an item is made when it is asked for, so that an image is encoded only then."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> DetectorSample: ...


@dataclass(frozen=True)
class DetectorTraining:
    """Settings of a training run. Few images come `passes` times; beyond `many_images` the number of steps stays, until
    every image comes once. images_in_memory: how many embeddings are kept at a time."""

    seed: int = 0
    passes: int = 16
    many_images: int = 1000
    min_steps: int = 300
    batch_size: int = 8
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup_steps: int = 50
    images_in_memory: int = 1000

    @staticmethod
    def to_go_on(*, seed: int) -> "DetectorTraining":
        """For a detector that has learned already: more steps, or larger ones, made it worse with 20 images."""
        return DetectorTraining(seed=seed, min_steps=30, lr=3e-4, warmup_steps=5)

    def passes_over(self, images: int) -> float:
        """How often each of so many images comes."""
        few = self.min_steps * self.batch_size / images
        return max(1.0, few, self.passes * min(1.0, self.many_images / images))

    def steps(self, images: int) -> int:
        """How many steps a run on so many images takes."""
        blocks = [self.images_in_memory] * (images // self.images_in_memory) + [images % self.images_in_memory]
        return sum(math.ceil(block * self.passes_over(images) / self.batch_size) for block in blocks)

    def learning_rate(self, step: int, steps: int) -> float:
        """Linear warm-up, then half a cosine down to 0."""
        if step < self.warmup_steps:
            return self.lr * (step + 1) / self.warmup_steps
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - self.warmup_steps) / max(1, steps - self.warmup_steps)))


class Targets(NamedTuple):
    """What cells should say. distances: (B, K, 4), meaningful where `positive`. positive: (B, K) bool, cells that are
    asked for a box. counted: (B, K) bool, cells in the picture; what the others say does not matter."""

    distances: Tensor
    positive: Tensor
    counted: Tensor


class DetectionLoss(NamedTuple):
    """total: scalar to minimise. objectness, box: its parts, a positive cell."""

    total: Tensor
    objectness: Tensor
    box: Tensor


OnStep = Callable[[int, int, float], None]  # steps done, all steps, loss


def train_detector(
    source: DetectorSource,
    training: DetectorTraining,
    *,
    start: ObjectDetector | None = None,
    device: torch.device | str = "cpu",
    bad: BadSamples | None = None,
    on_step: OnStep | None = None,
) -> ObjectDetector:
    """Train a detector; the embeddings stay as they are. Equal settings and samples give equal weights on a CPU.

    start: a detector to go on from, which stays as it is; None for a new one. bad: takes the images that cannot be
    read, which are skipped; None for the default limit.
    Raises InputError where there is no image or no box, too many images cannot be read, or `start` is of another
    model's embeddings, DivergedError where the loss is no number any more.
    """
    if len(source) == 0:
        raise InputError("no image to train the object detector on")
    readable = _Readable(source, BadSamples(BadLimit(len(source))) if bad is None else bad)
    config = DetectorConfig.for_embedding(readable.first().embedding)
    if start is not None and not start.fits(config):
        raise InputError(
            f"the detector to start from is for other embeddings ({start.config}) than the model's: {config}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        detector = (copy.deepcopy(start) if start is not None else ObjectDetector(config)).to(device).train()
    kept = _Kept(readable, detector)
    optimizer = _optimizer(detector, training)
    steps, seen = training.steps(len(source)), 0
    for step, (block, batch) in enumerate(training_batches(len(source), training)):
        made = kept.batch(block, batch)
        if made is None:
            continue
        embedding, targets = made
        seen += int(targets.positive.sum())
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate(step, steps)
        loss = detection_loss(detector(embedding), targets).total
        if not torch.isfinite(loss):
            raise DivergedError(f"training the object detector diverged at step {step}: its loss is no number any more")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(detector.parameters(), 1.0)
        optimizer.step()
        if on_step is not None:
            on_step(step + 1, steps, float(loss.detach()))
    if not seen:
        raise InputError("no mask is large enough to train the object detector on")
    return detector.eval()


def assign(cells: Cells, boxes: Tensor, input_hw: tuple[int, int]) -> Targets:
    """Which cells are asked for which of N boxes (N, 4), for one image (B = 1).

    A cell is asked for a box that its centre lies in, near the box's own centre, if the box is of a size for its grid;
    of several boxes for the smallest.
    """
    counted = inside(cells.centres, input_hw)
    if len(boxes) == 0:
        nothing = torch.zeros_like(counted)
        return Targets(torch.zeros(1, len(counted), 4), nothing[None], counted[None])
    near, far = cells.centres[:, None] - boxes[None, :, :2], boxes[None, :, 2:] - cells.centres[:, None]
    distances = torch.cat([near, far], dim=-1)  # (K, N, 4)
    off_centre = ((near - far) / 2).abs().amax(dim=-1)
    reach, stride = distances.amax(dim=-1), cells.strides[:, None]
    finest, coarsest = cells.strides.min(), cells.strides.max()
    asked = (distances.amin(dim=-1) > 0) & (off_centre < CENTRE_CELLS * stride) & counted[:, None]
    asked &= (reach >= REACH_CELLS * stride / 2) | (stride == finest)
    asked &= (reach < REACH_CELLS * stride) | (stride == coarsest)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=-1)
    smallest = torch.where(asked, areas[None], torch.inf).argmin(dim=1)
    chosen = distances[torch.arange(len(distances), device=distances.device), smallest]
    return Targets(chosen[None], asked.any(dim=1)[None], counted[None])


def detection_loss(output: CellOutput, targets: Targets) -> DetectionLoss:
    """Quality focal loss on objectness (arXiv 2006.04388: its target is the IoU of the cell's own box), and
    generalised IoU (arXiv 1902.09630) on the boxes of positive cells; both a positive cell."""
    positive = targets.positive
    iou, giou = overlaps(output.distances[positive], targets.distances[positive])
    quality = torch.zeros_like(output.objectness)
    quality[positive] = iou.detach()
    wrongness = (output.objectness.sigmoid() - quality).abs() ** 2
    entropy = F.binary_cross_entropy_with_logits(output.objectness, quality, reduction="none")
    count = max(1, int(positive.sum()))
    objectness = (wrongness * entropy * targets.counted).sum() / count
    box = (1 - giou).sum() / count
    return DetectionLoss(objectness + _BOX_WEIGHT * box, objectness.detach(), box.detach())


def overlaps(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU, (N,) each, of boxes given by their distances (N, 4), above 0, from a common point."""
    shared, hull = _area(torch.minimum(first, second)), _area(torch.maximum(first, second))
    union = _area(first) + _area(second) - shared
    iou = shared / union
    return iou, iou - (hull - union) / hull


def _area(distances: Tensor) -> Tensor:
    return (distances[:, 0] + distances[:, 2]) * (distances[:, 1] + distances[:, 3])


class _Readable:
    """A source, of which what cannot be read is skipped."""

    def __init__(self, source: DetectorSource, bad: BadSamples) -> None:
        self._source, self._bad = source, bad

    def first(self) -> DetectorSample:
        """The first one that can be read. Raises InputError where none can."""
        found = (self[index] for index in range(len(self._source)))
        sample = next((each for each in found if each is not None), None)
        if sample is None:
            raise InputError(
                f"none of {len(self._source)} images can be read; the first: {self._bad.found()[0].reason}"
            )
        return sample

    def __getitem__(self, index: int) -> DetectorSample | None:
        try:
            return self._source[index]
        except InputError as error:
            self._bad.add([BadSample(index, "unreadable", str(error))])
            return None


class _Kept:
    """The samples of the block of images in hand, in half precision, each with its targets."""

    def __init__(self, source: _Readable, detector: ObjectDetector) -> None:
        self._source, self._detector = source, detector
        self._block = -1
        self._samples: dict[int, tuple[ImageEmbedding, Targets] | None] = {}

    def batch(self, block: int, index: list[int]) -> tuple[ImageEmbedding, Targets] | None:
        """The images of these that can be read; None where none can."""
        if block != self._block:
            self._block, self._samples = block, {}
        for each in index:
            if each not in self._samples:
                self._samples[each] = self._prepared(self._source[each])
        device = self._detector.log_scales.device
        found = [sample for each in index if (sample := self._samples[each]) is not None]
        if not found:
            return None
        embeddings, targets = zip(*found, strict=True)
        features = torch.cat([each.features for each in embeddings]).to(device)
        fine = [torch.cat(parts).to(device) for parts in zip(*(each.high_res for each in embeddings), strict=True)]
        stacked = Targets(*(torch.cat(parts).to(device) for parts in zip(*targets, strict=True)))
        return as_float(ImageEmbedding(features, tuple(fine))), stacked

    def _prepared(self, sample: DetectorSample | None) -> tuple[ImageEmbedding, Targets] | None:
        if sample is None:
            return None
        features = sample.embedding.features
        fine = sample.embedding.twice_as_fine if self._detector.config.fine_chans else None
        used = () if fine is None else (fine.cpu().half(),)
        half = ImageEmbedding(features.cpu().half(), used)
        cells = self._detector.cells(features.shape[-1])
        targets = assign(cells, sample.boxes.to(cells.centres), sample.input_hw)
        return half, Targets(*(part.cpu() for part in targets))


def training_batches(images: int, training: DetectorTraining) -> Iterator[tuple[int, list[int]]]:
    """For each step the number of its block and the indices of its images.

    A block is as many images as are kept in memory; its steps are done before the next one is begun.
    """
    generator = torch.Generator().manual_seed(training.seed)
    shuffled, passes = torch.randperm(images, generator=generator), training.passes_over(images)
    for number, block in enumerate(shuffled.split(training.images_in_memory)):
        waiting: list[int] = []
        for _ in range(math.ceil(len(block) * passes / training.batch_size)):
            while len(waiting) < training.batch_size:
                waiting += block[torch.randperm(len(block), generator=generator)].tolist()
            yield number, waiting[: training.batch_size]
            waiting = waiting[training.batch_size :]


def _optimizer(detector: ObjectDetector, training: DetectorTraining) -> torch.optim.AdamW:
    """Vectors (biases, norms) are not decayed."""
    matrices = [each for each in detector.parameters() if each.ndim > 1]
    vectors = [each for each in detector.parameters() if each.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": training.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=training.lr)
