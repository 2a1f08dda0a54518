"""`transformers` as a contender: its SamModel under its mask-generation pipeline, networks wrapped at their seams.

What differs from the published generator: a stability score has to be above its threshold, where the published one may
equal it; epsilon of the decoder's layer norms is 1e-6, where it is 1e-5; no cleaning of small regions; no stability
scores and points in what it returns; run lengths instead of COCO's strings.
"""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmarks.peers import published
from benchmarks.peers.outputs import Substitute
from benchmarks.peers.setting import TRANSFORMERS, Hw, Setting
from engine import rle
from model.encoder_configs import ViTConfig
from schemas.presets import GeneratorConfig
from tests.peers.torchvision_standin import install_torchvision_standin

# From the published names to those of transformers, one after the other (its convert_sam_to_hf.py).
RENAMES = [
    (r"((?:iou_prediction_head|output_hypernetworks_mlps\.\d))\.layers\.0", r"\1.proj_in"),
    (r"((?:iou_prediction_head|output_hypernetworks_mlps\.\d))\.layers\.1", r"\1.layers.0"),
    (r"((?:iou_prediction_head|output_hypernetworks_mlps\.\d))\.layers\.2", r"\1.proj_out"),
    (r"output_upscaling\.0", "upscale_conv1"),
    (r"output_upscaling\.1", "upscale_layer_norm"),
    (r"output_upscaling\.3", "upscale_conv2"),
    (r"mask_downscaling\.0", "mask_embed.conv1"),
    (r"mask_downscaling\.1", "mask_embed.layer_norm1"),
    (r"mask_downscaling\.3", "mask_embed.conv2"),
    (r"mask_downscaling\.4", "mask_embed.layer_norm2"),
    (r"mask_downscaling\.6", "mask_embed.conv3"),
    (r"point_embeddings", "point_embed"),
    (r"pe_layer\.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
    (r"image_encoder", "vision_encoder"),
    (r"neck\.0", "neck.conv1"),
    (r"neck\.1", "neck.layer_norm1"),
    (r"neck\.2", "neck.conv2"),
    (r"neck\.3", "neck.layer_norm2"),
    (r"patch_embed\.proj", "patch_embed.projection"),
    (r"\.norm", ".layer_norm"),
    (r"blocks", "layers"),
]

_IMPORTS = "from transformers import MaskGenerationPipeline, SamModel"


def why_not(setting: Setting) -> str | None:
    """Why this peer is left out, or None."""
    if not isinstance(setting.model_config.encoder, ViTConfig):
        return f"its SamModel has no image encoder of {setting.model}"
    if setting.generator.min_mask_region_area:
        return "it does not clean small regions"
    # In a process of its own: it does not go with our stand-in for torchvision.
    tried = subprocess.run([sys.executable, "-c", _IMPORTS], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"it cannot be imported ({tried.stderr.strip().splitlines()[-1]})"
    return None


class HuggingFace:
    """Needs the package transformers."""

    def __init__(self, setting: Setting) -> None:
        import transformers  # before the stand-in: it looks for parts of torchvision that the stand-in lacks
        from transformers.models.sam import image_processing_pil_sam, modeling_sam

        del image_processing_pil_sam, modeling_sam
        self.transformers: Any = transformers
        install_torchvision_standin()  # for `batched_nms`
        self.setting, self.name = setting, TRANSFORMERS
        self._sam: Any = None

    def generator(self, config: GeneratorConfig, substitute: Substitute | None) -> Callable[..., Any]:
        """A call that finds the masks of a picture; without a substitute the networks have the word."""
        model = self._real_sam() if substitute is None else self._wrapped(substitute)
        pipeline = self.transformers.MaskGenerationPipeline(model=model, image_processor=self._image_processor())
        if substitute is not None and not substitute.networks:
            _pause_networks(pipeline, substitute)

        def generate(image: npt.NDArray[np.uint8]) -> Any:
            return pipeline(
                Image.fromarray(image),
                points_per_batch=config.points_per_batch,
                points_per_crop=config.points_per_side,
                pred_iou_thresh=config.pred_iou_thresh,
                stability_score_thresh=config.stability_score_thresh,
                stability_score_offset=config.stability_score_offset,
                crops_nms_thresh=config.box_nms_thresh,
                output_rle_mask=True,
                output_bboxes_mask=True,
            )

        return generate

    def records(self, found: Any) -> list[dict[str, Any]]:
        """What `generator` gave, in the form that is compared."""
        rows = zip(found["rle_mask"], found["scores"].tolist(), found["bounding_boxes"].tolist(), strict=True)
        return [
            {
                "segmentation": rle.from_coco(mask, *mask["size"]).to_coco(),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "predicted_iou": score,
            }
            for mask, score, (x0, y0, x1, y1) in rows
        ]

    @torch.no_grad()
    def decode(self, embedding: Tensor, hw: Hw, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits (M, 3, h, w) and IoUs (M, 3), batch by batch, for the points of the grid."""
        sam = self._real_sam()
        for points in self.setting.input_points(hw)[None, :, None].split(batch, dim=1):
            labels = torch.ones(points.shape[:3], dtype=torch.int64)
            found = sam(image_embeddings=embedding, input_points=points, input_labels=labels)
            yield found.pred_masks[0], found.iou_scores[0]

    def _image_processor(self) -> Any:
        side, low = self.setting.image_size, self.setting.low_res
        module = self.transformers.models.sam.image_processing_pil_sam
        processor = module.SamImageProcessorPil(
            size={"longest_edge": side},
            pad_size={"height": side, "width": side},
            mask_size={"longest_edge": low},
            mask_pad_size={"height": low, "width": low},
        )
        # The method insists on the real torchvision, and then calls this.
        processor.post_process_for_mask_generation = module._post_process_for_mask_generation
        return processor

    def _real_sam(self) -> Any:
        if self._sam is None:
            self._sam = self.transformers.SamModel(self._config(self.setting.model_config.encoder)).eval()
            self._sam.load_state_dict(renamed(load_file(self.setting.weights_file)), strict=True)
        return self._sam

    def _config(self, encoder: Any) -> Any:
        return self.transformers.SamConfig(
            vision_config={
                "hidden_size": encoder.embed_dim,
                "num_hidden_layers": encoder.depth,
                "num_attention_heads": encoder.num_heads,
                "mlp_ratio": encoder.mlp_ratio,
                "image_size": encoder.img_size,
                "window_size": encoder.window_size,
                "global_attn_indexes": list(encoder.global_attn_indexes),
            },
            prompt_encoder_config={"image_size": encoder.img_size},
        )

    def _wrapped(self, substitute: Substitute) -> Any:
        """The real model, or the hull of one, with its three networks wrapped."""
        real = self._real_sam() if substitute.networks else None
        encoder = ViTConfig(16, 0, 1, global_attn_indexes=(), img_size=self.setting.image_size)
        with torch.device("meta"):
            hull = self.transformers.SamModel(self._config(encoder)).eval()
        hull.shared_image_embedding = real and real.shared_image_embedding
        hull.vision_encoder = VisionEncoder(real and real.vision_encoder, substitute)
        hull.prompt_encoder = PromptEncoder(real and real.prompt_encoder, substitute)
        hull.mask_decoder = MaskDecoder(real and real.mask_decoder, hull.prompt_encoder, substitute)
        if real is None:
            hull.somewhere = nn.Parameter(torch.zeros(1))  # tells the pipeline the device
            hull.get_image_wide_positional_embeddings = lambda: torch.zeros(1, 1, 1, 1)
        return hull


def renamed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Published weights under the names of transformers."""
    found = {}
    for name, tensor in weights.items():
        for pattern, replacement in RENAMES:
            name = re.sub(pattern, replacement, name)
        found[name] = tensor
    position = "positional_embedding"
    found[f"shared_image_embedding.{position}"] = found[f"prompt_encoder.shared_embedding.{position}"]
    return found


def _pause_networks(pipeline: Any, substitute: Substitute) -> None:
    """Take the resizing of the picture off the clock."""
    preprocess = pipeline.preprocess

    def paused(*inputs: Any, **settings: Any) -> Iterator[Any]:
        steps = preprocess(*inputs, **settings)
        while True:
            with substitute.watch.paused():
                step = next(steps, None)
            if step is None:
                return
            yield step

    pipeline.preprocess = paused


class VisionEncoder(nn.Module):
    """The real image encoder on the clock, or none."""

    def __init__(self, real: nn.Module | None, substitute: Substitute) -> None:
        super().__init__()
        self.real, self.substitute = real, substitute

    def forward(self, pixels: Tensor, **settings: Any) -> Any:
        if self.real is None:
            return (pixels.new_zeros(1, 1, 1, 1),)
        with self.substitute.encoding():
            found = self.real(pixels, **settings)
        self.substitute.on_encoded()
        return found


class PromptEncoder(published.PromptEncoder):
    """The same for the names of transformers."""

    def forward(self, input_points: Tensor, **others: Any) -> Any:
        return self.encoded(input_points, input_points=input_points, **others)


class MaskDecoder(published.MaskDecoder):
    """The same with one more axis, of images."""

    def forward(self, **inputs: Any) -> tuple[Tensor, Tensor]:
        logits, iou = super().forward(**inputs)
        return logits[None], iou[None]

    def decoded(self, **inputs: Any) -> tuple[Tensor, Tensor]:
        logits, iou = super().decoded(**inputs)
        return logits[0], iou[0]
