"""Whether the masks of a label file lie in the boxes that it gives with them: else one of the two is misread."""

from typing import Any

from engine import rle as rle_codec
from schemas.rle import Rle

_LOOKED_AT = 200  # masks of a file; what is misread is so in all
_FEWEST = 3
_LEAST_IOU = 0.2
_SMALL_PX = 4  # sides of masks that may differ from their box by rounding alone


class BoxCheck:
    """Counts the masks of a file that have a box, and those that lie elsewhere."""

    def __init__(self) -> None:
        self._masks = self._elsewhere = 0

    def add(self, record: dict[str, Any], mask: Rle) -> None:
        """record: an annotation, whose `bbox` is XYWH or XYXY in pixels; others do not count, nor do small masks."""
        box = record.get("bbox")
        if self._masks == _LOOKED_AT or not isinstance(box, list) or len(box) != 4:
            return
        if not all(isinstance(side, int | float) for side in box) or not max(box, default=0) > 1:
            return
        x, y, width, height = map(float, box)
        own = tuple(map(float, rle_codec.box(mask)))
        if min(own[2] - own[0], own[3] - own[1]) < _SMALL_PX:
            return
        others = ((x, y, x + width, y + height), (x, y, width, height))
        self._masks += 1
        self._elsewhere += max(_iou(own, each) for each in others) < _LEAST_IOU

    def note(self) -> str:
        """What there is to say; "" where most masks lie in their boxes, or too few have one."""
        if self._masks < _FEWEST or 2 * self._elsewhere <= self._masks:
            return ""
        return (
            f"{self._elsewhere} of {self._masks} masks that were looked at lie outside of the boxes that the file "
            "gives with them; look at some before they are used"
        )


def _iou(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Of boxes XYXY; 0 where one is none."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)
