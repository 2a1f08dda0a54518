"""A model whose masks are written down."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.masks.generator import GenerationResult, MaskGenerator
from model.predictor import Predictor
from model.promptable import DecodedMasks
from model.upscaling import Upscaling
from schemas.presets import GeneratorConfig, generator_preset
from tests.peers.decoder_outputs import StandInSam

Image = npt.NDArray[np.uint8]


Answer = tuple[npt.NDArray[np.bool_], float]  # a mask of the image, and its predicted IoU


STEEP = 8.0  # logits that no offset moves: a stability of 1


def coordinates(height: int, width: int) -> Image:
    """An image whose pixels say where they are, so that a crop knows its place."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[..., 0], image[..., 1] = np.meshgrid(np.arange(width), np.arange(height))
    return image


class Scripted:
    """A predictor that gives, for a point (x, y) of the image, the answers of a script; no resolution is lost."""

    def __init__(self, image: Image, script: Callable[[float, float, bool], list[Answer]]) -> None:
        self.image_hw = image.shape[:2]
        self.script = script
        self.prompts: list[tuple[float, float]] = []
        self.encoded: list[int] = []  # crops that came together
        self.asked: list[int] = []  # masks whose logits were asked for
        self.gain = 1.0
        self.device = torch.device("cpu")

    def encode_images(self, images: Sequence[Image]) -> list[Image]:
        self.encoded.append(len(images))
        return list(images)

    def set_embedding(self, encoded: Image) -> None:
        self.hw = encoded.shape[:2]
        self.x0, self.y0 = int(encoded[0, 0, 0]), int(encoded[0, 0, 1])

    @property
    def upscaling(self) -> Upscaling:
        return Upscaling(self.hw, self.hw, self.hw)

    def prompt(self, points: Tensor, labels: Tensor) -> "CountedMasks":
        assert points.shape == (len(labels), 1, 2)
        logits, ious = [], []
        for x, y in (points[:, 0] + torch.tensor([self.x0, self.y0])).tolist():
            self.prompts.append((x, y))
            answers = self.script(x, y, self.hw == self.image_hw)
            window = np.s_[self.y0 : self.y0 + self.hw[0], self.x0 : self.x0 + self.hw[1]]
            logits.append(np.stack([np.where(mask[window], STEEP, -STEEP) for mask, _ in answers]))
            ious.append([iou for _, iou in answers])
        all_logits = torch.tensor(np.stack(logits), dtype=torch.float32) * self.gain
        return CountedMasks(torch.tensor(ious), all_logits, self.asked)


class CountedMasks(DecodedMasks):
    def __init__(self, predicted_iou: Tensor, all_logits: Tensor, asked: list[int]) -> None:
        super().__init__(predicted_iou, all_logits)
        self.__dict__["asked"] = asked

    def logits(self, index: Tensor, /) -> Tensor:
        self.__dict__["asked"].append(len(index))
        return super().logits(index)


def box_mask(hw: tuple[int, int], x0: int, y0: int, x1: int, y1: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros(hw, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def run(image: Image, answers: list[Answer], **settings: Any) -> GenerationResult:
    """One point on the full image, with these answers."""
    predictor = Scripted(image, lambda x, y, whole: answers)
    return MaskGenerator(predictor, GeneratorConfig(**({"points_per_side": 1} | settings))).generate(image)


def real(image: Image, preset: str = "library-default", **settings: Any) -> GenerationResult:
    return MaskGenerator(Predictor(StandInSam()), generator_preset(preset, **settings)).generate(image)
