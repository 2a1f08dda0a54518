"""`segment-anything` and `mobilesam-mirror` as contenders: their own generator, networks wrapped at their seams."""

import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.peers.outputs import Substitute
from benchmarks.peers.setting import MOBILE_SAM, SEGMENT_ANYTHING, Hw, Setting
from schemas.presets import GeneratorConfig
from tests.peers.published import published_sam
from tests.peers.timm_standin import install_timm_standin
from tests.peers.torchvision_standin import install_torchvision_standin

MODULES = {SEGMENT_ANYTHING: "segment_anything", MOBILE_SAM: "mobile_sam"}


class Published:
    """name: a key of MODULES."""

    def __init__(self, setting: Setting, name: str) -> None:
        install_torchvision_standin()
        install_timm_standin()
        self.setting, self.name = setting, name
        self.module: Any = importlib.import_module(MODULES[name])
        self._sam: Any = None

    def generator(self, config: GeneratorConfig, substitute: Substitute | None) -> Callable[..., Any]:
        """A call that finds the masks of a picture; without a substitute the networks have the word."""
        sam = self._real_sam() if substitute is None else self._wrapped(substitute)
        make = self.module.SamAutomaticMaskGenerator
        settings = config.model_dump(include=set(inspect.signature(make).parameters))
        generator = make(sam, output_mode="coco_rle", **settings)
        if substitute is not None:
            _wrap_set_image(generator.predictor, substitute)
        generate: Callable[..., Any] = generator.generate
        return generate

    def records(self, found: Any) -> list[dict[str, Any]]:
        """What `generator` gave, in the form that is compared."""
        records: list[dict[str, Any]] = found
        return records

    @torch.no_grad()
    def decode(self, embedding: Tensor, hw: Hw, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits (M, 3, h, w) and IoUs (M, 3), batch by batch, for the points of the grid: as `predict_torch` does."""
        sam = self._real_sam()
        for points in self.setting.input_points(hw).split(batch):
            labels = torch.ones(len(points), 1, dtype=torch.int)
            sparse, dense = sam.prompt_encoder(points=(points[:, None], labels), boxes=None, masks=None)
            yield sam.mask_decoder(
                image_embeddings=embedding,
                image_pe=sam.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=True,
            )

    def _real_sam(self) -> Any:
        if self._sam is None:
            self._sam = published_sam(self.setting.model_config)
            self._sam.load_state_dict(load_file(self.setting.weights_file), strict=True)
        return self._sam

    def _wrapped(self, substitute: Substitute) -> Any:
        real = self._real_sam() if substitute.networks else None
        encoder = real.image_encoder if real is not None else NoEncoder(self.setting.image_size)
        prompts = PromptEncoder(real and real.prompt_encoder, substitute)
        decoder = MaskDecoder(real and real.mask_decoder, prompts, substitute)
        return self.module.modeling.Sam(encoder, prompts, decoder).eval()


def _wrap_set_image(predictor: Any, substitute: Substitute) -> None:
    set_image = predictor.set_image

    def timed(image: npt.NDArray[np.uint8]) -> None:
        with substitute.encoding():
            set_image(image)
        substitute.on_encoded()

    predictor.set_image = timed


class NoEncoder(nn.Module):
    """For what follows the decoder."""

    def __init__(self, img_size: int) -> None:
        super().__init__()
        self.img_size = img_size

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels


class PromptEncoder(nn.Module):
    """Remembers the points, and lets the real one encode them if there is one."""

    def __init__(self, real: nn.Module | None, substitute: Substitute) -> None:
        super().__init__()
        self.real, self.substitute = real, substitute
        self.points = torch.empty(0, 2)

    def forward(self, points: tuple[Tensor, Tensor], boxes: None, masks: None) -> Any:
        return self.encoded(points[0], points=points, boxes=boxes, masks=masks)

    def encoded(self, coordinates: Tensor, **inputs: Any) -> Any:
        self.points = coordinates.reshape(-1, 2)
        if self.real is None:
            return None, None
        with self.substitute.decoding():
            return self.real(**inputs)

    def get_dense_pe(self) -> Any:
        if self.real is None:
            return None
        with self.substitute.decoding():
            return self.real.get_dense_pe()  # type: ignore[operator]


class MaskDecoder(nn.Module):
    """Lets the real one decode if there is one, and gives the known outputs."""

    def __init__(self, real: nn.Module | None, prompts: PromptEncoder, substitute: Substitute) -> None:
        super().__init__()
        self.real, self.substitute = real, substitute
        self._prompts = [prompts]  # in a list: it is no module of this one

    def forward(self, **inputs: Any) -> tuple[Tensor, Tensor]:
        real = None if self.real is None else self.decoded(**inputs)
        return self.substitute.replace(self._prompts[0].points, real)

    def decoded(self, **inputs: Any) -> tuple[Tensor, Tensor]:
        """What the real one says: logits (M, 3, h, w) and IoUs (M, 3)."""
        with self.substitute.decoding():
            found: tuple[Tensor, Tensor] = self.real(**inputs)  # type: ignore[misc]
        return found
