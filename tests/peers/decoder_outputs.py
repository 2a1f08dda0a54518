"""Stand-in for a trained SAM: decoder outputs made from region maps of the picture itself.

Untrained weights leave the mask generator one mask or none. Here a prompt gives the region it lies in, at three scales
of segmentation: mask logits are the signed distance to the region's outline times a slope, plus smooth noise, and here
and there a speck that is an island or a hole. Predicted IoUs are drawn per region, some of them on a coarse scale so
that there are ties. Everything follows from the picture and the seed, so `segment_anything` and our generator can be
fed the same numbers, crop by crop.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from skimage.segmentation import felzenszwalb
from torch import Tensor
from torch.nn import functional as F

from model.mask_decoder import MaskPrediction

IMAGE_SIZE = 1024
LOW_RES = IMAGE_SIZE // 4
SCALES = (60.0, 250.0, 1000.0)


@dataclass(frozen=True)
class RegionMaps:
    """labels: (3, 256, 256) int64, one map a scale. seed: of everything drawn at random."""

    labels: npt.NDArray[np.int64]
    seed: int


def encode(pixels: Tensor, *, seed: int = 0) -> RegionMaps:
    """pixels: (1, 3, 1024, 1024) uint8, the resized picture padded with zeros."""
    return _region_maps(pixels.to(torch.uint8).cpu().numpy().tobytes(), seed)


def decode(maps: RegionMaps, points: Tensor) -> MaskPrediction:
    """points: (N, 1, 2) or (N, 2) in pixels of the encoder's input. Returns logits (N, 3, 256, 256), IoUs (N, 3)."""
    # Rounded, so that the last bit of a coordinate cannot move a point into another region.
    cells = (points.double().reshape(-1, 2) * 16).round().div(16 * 4).long().clamp(0, LOW_RES - 1).tolist()
    outputs = [[_region(maps, scale, x, y) for scale in range(len(SCALES))] for x, y in cells]
    logits = torch.stack([torch.stack([torch.from_numpy(logit) for logit, _ in row]) for row in outputs])
    return MaskPrediction(logits, torch.tensor([[iou for _, iou in row] for row in outputs], dtype=torch.float32))


def _region(maps: RegionMaps, scale: int, x: int, y: int) -> tuple[npt.NDArray[np.float32], float]:
    label = int(maps.labels[scale, y, x])
    logits, iou = _region_logits(_Key(maps), scale, label)
    if label % 2:  # every other region looks a little different from each point, as a real decoder's masks do
        rng = np.random.default_rng([maps.seed, scale, label, x, y])
        logits = logits + _smooth_noise(rng, amplitude=1.0)
        iou = float(np.float32(iou + rng.uniform(-0.02, 0.02)))
    return logits, iou


class _Key:
    """Region maps as a key of a cache: equal where they are the same object."""

    def __init__(self, maps: RegionMaps) -> None:
        self.maps = maps

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.maps is other.maps

    def __hash__(self) -> int:
        return id(self.maps)


@lru_cache(maxsize=2000)
def _region_logits(key: _Key, scale: int, label: int) -> tuple[npt.NDArray[np.float32], float]:
    rng = np.random.default_rng([key.maps.seed, scale, label])
    region = (key.maps.labels[scale] == label).astype(np.uint8)
    inside = cv2.distanceTransform(region, cv2.DIST_L2, 5)
    outside = cv2.distanceTransform(1 - region, cv2.DIST_L2, 5)
    slope = rng.uniform(1.5, 16)
    # A region without an outside is infinitely far from it.
    distance = np.clip(inside, 0, LOW_RES) - np.clip(outside, 0, LOW_RES)
    logits = np.clip(distance * slope, -30, 30) + _smooth_noise(rng, amplitude=2.0) + _specks(rng, region)
    iou = rng.uniform(0.82, 1.0)
    return logits.astype(np.float32), round(iou, 2) if label % 3 == 0 else iou


def _specks(rng: np.random.Generator, region: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """In two of five regions: a few steep dots around the region, islands outside of it and holes inside."""
    specks = np.zeros((LOW_RES, LOW_RES), dtype=np.float32)
    if rng.random() < 0.6:
        return specks
    x0, y0, width, height = cv2.boundingRect(region)
    for _ in range(rng.integers(1, 5)):
        x, y = int(rng.integers(x0 - 4, x0 + width + 4)), int(rng.integers(y0 - 4, y0 + height + 4))
        if 0 <= x < LOW_RES and 0 <= y < LOW_RES:
            cv2.circle(specks, (x, y), int(rng.integers(0, 4)), -60.0 if region[y, x] else 60.0, thickness=-1)
    return specks


def _smooth_noise(rng: np.random.Generator, *, amplitude: float) -> npt.NDArray[np.float32]:
    coarse = rng.normal(0, amplitude, (16, 16)).astype(np.float32)
    return cv2.resize(coarse, (LOW_RES, LOW_RES), interpolation=cv2.INTER_CUBIC)


@lru_cache(maxsize=64)
def _region_maps(pixels: bytes, seed: int) -> RegionMaps:
    picture = np.frombuffer(pixels, dtype=np.uint8).reshape(3, IMAGE_SIZE, IMAGE_SIZE).transpose(1, 2, 0)
    small = cv2.resize(picture, (LOW_RES, LOW_RES), interpolation=cv2.INTER_AREA)
    labels = [felzenszwalb(small, scale=scale, sigma=0.8, min_size=int(scale / 6)) for scale in SCALES]
    return RegionMaps(np.stack(labels), seed)


def _pad(pixels: Tensor) -> Tensor:
    height, width = pixels.shape[-2:]
    return F.pad(pixels, (0, IMAGE_SIZE - width, 0, IMAGE_SIZE - height))


class StandInSam:
    """The model under `model.predictor.Predictor`."""

    image_size = IMAGE_SIZE
    mask_threshold = 0.0
    device = torch.device("cpu")

    def preprocess(self, images: Tensor, /) -> Tensor:
        return _pad(images)

    def encode(self, pixels: Tensor, /) -> RegionMaps:
        return encode(pixels)

    def decode(
        self,
        embedding: RegionMaps,
        /,
        *,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        masks: Tensor | None,
        multimask_output: bool,
    ) -> MaskPrediction:
        if points is None or boxes is not None or masks is not None or not multimask_output:
            raise ValueError("the stand-in knows single points and three masks only")
        return decode(embedding, points[0])


def standin_peer_sam() -> Any:
    """The same under `segment_anything.SamPredictor`: its own `Sam`, networks replaced. Needs torchvision or ours."""
    from segment_anything.modeling import Sam  # type: ignore[import-untyped]

    class Encoder:
        img_size = IMAGE_SIZE

        def __call__(self, pixels: Tensor) -> RegionMaps:
            return encode(pixels)

    class Prompts:
        def __call__(self, points: tuple[Tensor, Tensor], boxes: None, masks: None) -> tuple[Tensor, None]:
            return points[0], None

        def get_dense_pe(self) -> None:
            return None

    def mask_decoder(
        *, image_embeddings: RegionMaps, sparse_prompt_embeddings: Tensor, **_: object
    ) -> tuple[Tensor, Tensor]:
        prediction = decode(image_embeddings, sparse_prompt_embeddings)
        return prediction.logits, prediction.predicted_iou

    class PeerSam(Sam):
        def preprocess(self, x: Tensor) -> Tensor:
            return _pad(x)

    return PeerSam(Encoder(), Prompts(), mask_decoder)
