"""How the masks of one run differ from those of another, in numbers. Without torch: reports read it too."""

from dataclasses import dataclass

from schemas.counted import counted

SAME_MASK_IOU = 0.5  # two masks are one and the same thing from here on


@dataclass(frozen=True)
class MaskDifference:
    """Masks found beside masks expected, paired one to one by the highest IoU, at least SAME_MASK_IOU.

    matched: pairs; identical: those of equal pixels. lost: expected without a partner. extra: found without one.
    mean_iou, least_iou: of the pairs, 1 where there are none.
    """

    matched: int
    identical: int
    lost: int
    extra: int
    mean_iou: float
    least_iou: float

    def __str__(self) -> str:
        return (
            f"{counted(self.matched, 'mask')} matched ({self.identical} identical, mean IoU {self.mean_iou:.4f}, least "
            f"{self.least_iou:.4f}), {self.lost} lost, {self.extra} extra"
        )
