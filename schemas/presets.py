"""Settings of the automatic mask generator: the two published presets (SAM paper, appendix B; SAM code) and ours."""

import hashlib
import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas.plugins import known_name

_SPEED_AND_MEMORY = {"points_per_batch", "crops_per_batch", "max_memory_mb"}
# The settings there were when the first masks were made. One that came later counts only where it is not its default,
# so that masks made before it keep the name of their settings.
_ALWAYS_NAMED = {
    "points_per_side",
    "pred_iou_thresh",
    "stability_score_thresh",
    "stability_score_offset",
    "box_nms_thresh",
    "crop_n_layers",
    "crop_nms_thresh",
    "crop_overlap_ratio",
    "crop_n_points_downscale_factor",
    "min_mask_region_area",
    "drop_small_masks",
    "max_mask_area_frac",
}
MASK_FILTERS_GROUP = "sam_data_engine.filters"


def _mask_filter(name: str) -> str:
    return known_name(name, group=MASK_FILTERS_GROUP, builtin=())


class GeneratorConfig(BaseModel):
    """Settings of the automatic mask generator. Fractions are in [0, 1], lengths and areas in pixels of the image.

    `points_per_side` is the grid on the full image; crop layer i has a grid of
    `points_per_side / crop_n_points_downscale_factor**i` on each of its `4**i` crops.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    points_per_side: int = Field(32, ge=1)
    points_per_batch: int = Field(64, ge=1)
    pred_iou_thresh: float = Field(0.88, ge=0, le=1)
    stability_score_thresh: float = Field(0.95, ge=0, le=1)
    stability_score_offset: float = Field(1.0, ge=0)
    box_nms_thresh: float = Field(0.7, ge=0, le=1)
    crop_n_layers: int = Field(0, ge=0, le=4)
    crop_nms_thresh: float = Field(0.7, ge=0, le=1)
    crop_overlap_ratio: float = Field(512 / 1500, ge=0, lt=1)
    crop_n_points_downscale_factor: int = Field(1, ge=1)
    min_mask_region_area: int = Field(0, ge=0)
    drop_small_masks: bool = Field(
        False,
        description="drop a mask whose largest component is under min_mask_region_area (paper); "
        "otherwise keep that component (published code)",
    )
    max_mask_area_frac: float = Field(
        1.0, gt=0, le=1, description="masks covering at least this share are dropped; 1: none"
    )
    mask_nms_thresh: float = Field(
        1.0, ge=0, le=1, description="a mask whose IoU with a better one is above this is dropped; 1: none"
    )
    clean_before_crop_nms: bool = Field(
        False,
        description="clean small regions before duplicates are sought across crops (no effect without crops or "
        "min_mask_region_area); otherwise after, as the published code does",
    )
    store_nesting: bool = Field(False, description="find and store which mask lies inside which")
    filters: dict[Annotated[str, AfterValidator(_mask_filter)], dict[str, Any]] = Field(
        default_factory=dict,
        description="what installed packages add, by name with settings; they come last",
    )
    contract: Literal["exact", "fast"] = Field(
        "exact", description="fast: half precision where that pays; faster, and with other numbers than published"
    )
    crops_per_batch: int | None = Field(
        None, ge=1, description="crops or pictures encoded together; null: what suits the device"
    )
    max_memory_mb: int | None = Field(
        None, ge=64, description="working memory in MiB beside the model, the picture and the result; null: no limit"
    )

    @model_validator(mode="after")
    def _crop_grids_have_points(self) -> "GeneratorConfig":
        if self.points_per_side // self.crop_n_points_downscale_factor**self.crop_n_layers < 1:
            raise ValueError(
                f"crop_n_layers={self.crop_n_layers} with crop_n_points_downscale_factor="
                f"{self.crop_n_points_downscale_factor} leaves no points; raise points_per_side or lower one of them"
            )
        return self

    def config_hash(self) -> str:
        """16 hex digits that name these settings in every mask they make.

        What only sets speed and memory is left out, and so are later settings (_ALWAYS_NAMED) that are their defaults.
        """
        defaults = {
            name: field.get_default(call_default_factory=True)
            for name, field in type(self).model_fields.items()
            if name not in _ALWAYS_NAMED
        }
        off = {name for name, default in defaults.items() if getattr(self, name) == default}
        settings = self.model_dump(exclude=_SPEED_AND_MEMORY | off)
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def paper_sa1b() -> GeneratorConfig:
    """How SA-1B was made: full image and 20 crops, small regions cleaned (SAM paper, appendix B)."""
    return GeneratorConfig(
        crop_n_layers=2,
        crop_n_points_downscale_factor=2,
        min_mask_region_area=100,
        drop_small_masks=True,
        max_mask_area_frac=0.95,
    )


def library_default() -> GeneratorConfig:
    """What `segment_anything.SamAutomaticMaskGenerator` does when it is given nothing but a model."""
    return GeneratorConfig()


def nano() -> GeneratorConfig:
    """For the model that ships: the grid of the paper, with thresholds that fit how sure of itself `nano` is.

    The published thresholds were chosen for ViT-H and leave next to nothing of a small model's masks. These came within
    0.02 of the best F-measure (share of masks that show a segment of the ground truth, share of segments shown, at IoU
    0.5) on 24 validation photographs of the data that `nano` was trained on, and among those kept the most segments;
    suppression at 0.5 instead of 0.7 costs few segments and a third of the masks, which were fragments of others.
    Regions are cleaned as for SA-1B.
    """
    return GeneratorConfig(
        pred_iou_thresh=0.5,
        stability_score_thresh=0.75,
        stability_score_offset=0.3,
        box_nms_thresh=0.5,
        min_mask_region_area=100,
        drop_small_masks=True,
        max_mask_area_frac=0.95,
    )


GENERATOR_PRESETS: dict[str, Callable[[], GeneratorConfig]] = {
    "paper-sa1b": paper_sa1b,
    "library-default": library_default,
    "nano": nano,
}


def generator_preset(name: str, **overrides: Any) -> GeneratorConfig:
    """The preset called `name`, with single settings replaced and the whole validated again.

    Raises ValueError for an unknown name or setting.
    """
    if name not in GENERATOR_PRESETS:
        raise ValueError(f"unknown preset {name!r}; choose one of {', '.join(GENERATOR_PRESETS)}")
    return GeneratorConfig.model_validate(GENERATOR_PRESETS[name]().model_dump() | overrides)
