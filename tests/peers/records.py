"""Our masks in the form of the published generator's output, so that the two can be compared field by field."""

from collections.abc import Iterable
from typing import Any

from engine.masks.generator import GeneratedMask


def as_published(masks: Iterable[GeneratedMask]) -> list[dict[str, Any]]:
    """What `SamAutomaticMaskGenerator` with output_mode="coco_rle" would return for these masks."""
    return [
        {
            "segmentation": mask.rle.to_coco(),
            "area": mask.area,
            "bbox": _xywh(mask.box_xyxy),
            "predicted_iou": mask.predicted_iou,
            "point_coords": [list(mask.point_xy)],
            "stability_score": mask.stability_score,
            "crop_box": _xywh(mask.crop_box_xyxy),
        }
        for mask in masks
    ]


def _xywh(box_xyxy: tuple[int, int, int, int]) -> list[int]:
    x0, y0, x1, y1 = box_xyxy
    return [x0, y0, x1 - x0, y1 - y0]
