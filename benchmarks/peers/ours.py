"""Our generator as a contender, under its contract `exact` or `fast`."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.peers.outputs import MASKS, Substitute
from benchmarks.peers.setting import OURS, OURS_FAST, Hw, Setting
from engine.masks.generator import GenerationResult, MaskGenerator
from model.encoded_image import EncodedImage
from model.encoders import ImageEmbedding
from model.mask_decoder import MaskPrediction
from model.predictor import Predictor
from model.promptable import PromptedMasks
from model.sam import Sam, build_sam
from schemas.presets import GeneratorConfig
from tests.peers.records import as_published

Generate = Callable[[npt.NDArray[np.uint8]], Any]


class Ours:
    """fast: the opt-in contract that trades equality for speed."""

    def __init__(self, setting: Setting, *, fast: bool = False) -> None:
        self.setting, self.fast = setting, fast
        self.name = OURS_FAST if fast else OURS
        self._sam: Sam | None = None

    def generator(self, config: GeneratorConfig, substitute: Substitute | None) -> Generate:
        """A call that finds the masks of a picture; without a substitute the networks have the word."""
        if substitute is None:
            return MaskGenerator(self._predictor(), config).generate
        inner = self._predictor() if substitute.networks else Predictor(Shell(self.setting.image_size))
        return MaskGenerator(Substituting(inner, substitute), config).generate

    def records(self, found: GenerationResult) -> list[dict[str, Any]]:
        """What `generator` gave, in the form that is compared."""
        return as_published(found.masks)

    def decode(self, embedding: Tensor, hw: Hw, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits (M, 3, h, w) and IoUs (M, 3), batch by batch, for the points of the grid."""
        predictor = self._predictor()
        predictor.set_embedding(EncodedImage(ImageEmbedding(embedding), image_hw=hw))
        input_h, input_w = predictor.input_hw
        to_pixels = torch.tensor([hw[1] / input_w, hw[0] / input_h], dtype=torch.float64)
        for points in (self.setting.input_points(hw) * to_pixels).split(batch):
            prompted = predictor.prompt(points[:, None], torch.ones(len(points), 1))
            every = torch.arange(len(points) * MASKS)
            yield prompted.logits(every).unflatten(0, (-1, MASKS)), prompted.predicted_iou

    def _predictor(self) -> Predictor:
        if self._sam is None:
            self._sam = build_sam(self.setting.model_config)
            self._sam.load_state_dict(load_file(self.setting.weights_file), strict=True)
            self._sam.eval()
        return Predictor(self._sam, contract="fast") if self.fast else Predictor(self._sam)


class Substituting:
    """A predictor whose networks run, but whose numbers come from a substitute; everything else is as it was."""

    def __init__(self, inner: Predictor, substitute: Substitute) -> None:
        self.inner, self.substitute = inner, substitute

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def encode_images(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[EncodedImage]:
        with self.substitute.encoding():
            encoded = self.inner.encode_images(images)
        self.substitute.on_encoded()
        return encoded

    def prompt(self, points: Tensor, labels: Tensor) -> "SubstitutedMasks":
        real = None
        if self.substitute.networks:
            with self.substitute.decoding():
                real = self.inner.prompt(points, labels)
        with self.substitute.watch.paused():
            (height, width), (input_h, input_w) = self.inner.image_hw, self.inner.input_hw
            scale = torch.tensor([input_w / width, input_h / height], dtype=torch.float64)
            rows = self.substitute.outputs.rows(points.reshape(-1, 2).double() * scale)
            return SubstitutedMasks(real, rows, self.substitute)


class SubstitutedMasks:
    """The masks of prompts that are the grid points `rows` (N,). The network makes the logits that are asked for."""

    def __init__(self, real: PromptedMasks | None, rows: Tensor, substitute: Substitute) -> None:
        self.real, self.rows, self.substitute = real, rows, substitute
        self.predicted_iou = substitute.outputs.ious[rows]
        if real is not None:
            substitute.keep_ious(rows, real.predicted_iou)

    def logits(self, index: Tensor) -> Tensor:
        numbers = self.rows[index // MASKS] * MASKS + index % MASKS
        if self.real is not None:
            with self.substitute.decoding():
                real = self.real.logits(index)
            with self.substitute.watch.paused():
                self.substitute.keep_logits(numbers, real)
        with self.substitute.watch.paused():
            return self.substitute.outputs.masks(numbers)


class Shell:
    """A model without networks, for what follows the decoder."""

    mask_threshold = 0.0
    device = torch.device("cpu")

    def __init__(self, image_size: int) -> None:
        self.image_size = image_size

    def preprocess(self, images: Tensor, /) -> Tensor:
        return images

    def encode(self, pixels: Tensor, /) -> Tensor:
        return pixels

    def decode(self, embedding: Any, /, **prompts: Any) -> MaskPrediction:
        raise NotImplementedError("a shell has no decoder")
