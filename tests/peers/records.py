"""Our masks in the form of the published generator's output, so that the two can be compared field by field."""

from collections.abc import Iterable
from typing import Any

from schemas.mask import Box, Mask
from schemas.sa1b import to_xywh


def as_published(masks: Iterable[Mask]) -> list[dict[str, Any]]:
    """What `SamAutomaticMaskGenerator` with output_mode="coco_rle" would return for these masks."""
    return [
        {
            "segmentation": mask.rle.to_coco(),
            "area": mask.area,
            "bbox": _inclusive_xywh(mask.box),
            "predicted_iou": mask.predicted_iou,
            "point_coords": [list(point) for point in mask.prompt.on_object],
            "stability_score": mask.stability_score,
            "crop_box": list(to_xywh(mask.crop_box)),
        }
        for mask in masks
    ]


def _inclusive_xywh(box: Box) -> list[float]:
    """The published generator counts to the last pixel itself."""
    x, y, width, height = to_xywh(box)
    return [x, y, width - 1, height - 1]
