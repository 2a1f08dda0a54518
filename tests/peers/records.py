"""Our masks in the form of the published generator's output, so that the two can be compared field by field."""

from collections.abc import Iterable
from typing import Any

from engine import published
from schemas.mask import Mask


def as_published(masks: Iterable[Mask]) -> list[dict[str, Any]]:
    """What `SamAutomaticMaskGenerator` with output_mode="coco_rle" would return for these masks."""
    return [published.as_published(mask, "coco_rle") for mask in masks]
