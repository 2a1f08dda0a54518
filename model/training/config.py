"""What a training run is told. Presets that fill it in are in `presets.py`."""

import math
from itertools import pairwise
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Phase(BaseModel):
    """How steps look until step `until`; a run goes through its phases in order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    until: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    masks_per_image: int = Field(ge=1)
    correction_points: int = Field(ge=0)
    mask_only_rounds: bool = True
    input_size_px: int | None = Field(None, ge=32, description="None: the model's own")


class TrainingConfig(BaseModel):
    """Settings of one training run. The defaults are the paper's (SAM paper, appendix A) unless said otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    phases: tuple[Phase, ...]
    seed: int = 0

    lr: float = Field(8e-4, gt=0)
    encoder_lr_factor: float = Field(1.0, gt=0, description="learning rate of the image encoder over that of the rest")
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="learning rate of each ViT block over that of the block after it"
    )
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(0.1, ge=0)
    warmup_steps: int = Field(250, ge=0)
    schedule: Literal["step", "cosine", "linear_end"] = "step"
    milestones_frac: tuple[float, ...] = (2 / 3, 86_666 / 90_000)
    decay_frac: float = Field(0.3, gt=0, le=1, description="linear_end: share of the steps over which the rate falls")
    grad_clip: float | None = Field(None, gt=0)
    ema_decay: float | None = Field(None, gt=0, lt=1)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    freeze_encoder: bool = False
    dropout: float = Field(0.1, ge=0, lt=1, description="in the mask decoder")
    drop_path: float = Field(0.0, ge=0, lt=1, description="of the image encoder's last block, growing from 0")
    decoder_depth: int | None = Field(None, ge=1, description="layers of the mask decoder; None: the model's own")
    supervise_all_iou: bool = Field(False, description="the IoU of every mask, not of the one of lowest loss alone")

    box_prob: float = Field(0.5, ge=0, le=1)
    mask_first_prob: float = Field(0.0, ge=0, le=1, description="share of steps that start from a degraded true mask")
    scale_range: tuple[float, float] = (1.0, 1.0)
    flip: bool = False
    colour_jitter: float = Field(0.0, ge=0, lt=1)
    paste_prob: float = Field(0.0, ge=0, le=1, description="share of pictures on which segments of another are pasted")
    zoom_prob: float = Field(0.0, ge=0, le=1, description="share of pictures that are shown around a small mask")
    min_mask_frac: float = Field(1e-4, ge=0, lt=1, description="of the square input; smaller masks are left out")
    max_mask_frac: float = Field(0.9, gt=0, le=1, description="of the picture; larger masks are left out")
    loader_workers: int | None = Field(None, ge=0, description="None: one on the CPU, all cores but one with a GPU")

    images_at_once: int | None = Field(
        None,
        ge=1,
        description="pictures in one pass of the encoder; None: one of 512 px or more small ones on the CPU, all of "
        "the step with a GPU or where batch norm sees them together",
    )
    masks_at_once: int = Field(64, ge=1, description="masks in one pass of the decoder")
    masks_multiple: int = Field(
        1, ge=1, description="of masks in a step; the last are left out. A GPU works out anew how to treat each number"
    )
    checkpoint_activations: bool = Field(False, description="the encoder keeps less and computes it again")
    cache_embeddings_mib: int = Field(0, ge=0, description="of a frozen encoder, where pictures are not augmented")

    @model_validator(mode="after")
    def _settings_fit(self) -> "TrainingConfig":
        ends = [phase.until for phase in self.phases]
        if not ends or any(later <= earlier for earlier, later in pairwise(ends)):
            raise ValueError(f"phases must end at rising steps, found {ends}")
        augmented = self.scale_range != (1.0, 1.0) or any(
            (self.flip, self.colour_jitter, self.paste_prob, self.zoom_prob)
        )
        if self.cache_embeddings_mib and (augmented or not self.freeze_encoder):
            raise ValueError(
                "cache_embeddings_mib needs freeze_encoder, and no scale_range, flip, colour_jitter, paste_prob or "
                "zoom_prob"
            )
        if not 0 < self.scale_range[0] <= self.scale_range[1]:
            raise ValueError(f"scale_range must be (low, high) with 0 < low <= high, found {self.scale_range}")
        return self

    @property
    def steps(self) -> int:
        return self.phases[-1].until

    def longest_px(self, image_size: int) -> int | None:
        """How large a picture's longest side ever gets, for a model of this input size: no more need be decoded.

        None where zoomed views need all of it.
        """
        if self.zoom_prob:
            return None
        largest = max(phase.input_size_px or image_size for phase in self.phases)
        return math.ceil(largest * self.scale_range[1])

    def phase(self, step: int) -> Phase:
        """The phase that step number `step` (from 0) belongs to."""
        return next(phase for phase in self.phases if step < phase.until)
