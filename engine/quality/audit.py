"""The audit of the paper: experts correct every mask of a random sample of images (SAM paper, section 5).

Masks before and after are paired; how alike the two of a pair are says how good the masks were.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine import rle as rle_codec
from engine.evaluation.bootstrap import bootstrap_mean
from schemas.counted import counted
from schemas.errors import InputError
from schemas.rle import Rle

# An expert who deletes a mask and draws the object anew has corrected it; below this IoU it is taken to be another
# object.
PAIR_IOU = 0.5
HIGH_IOU, FAIR_IOU = 0.90, 0.75
PAPER_NOTE = "The SAM paper (section 5) found 94 % of the pairs over 0.90 and 97 % over 0.75, on 500 images."


@dataclass(frozen=True)
class CorrectedMask:
    """A mask as an expert left it. mask_id: of the mask that its region was published as, None for one that is new."""

    rle: Rle
    mask_id: int | None = None


@dataclass(frozen=True)
class MaskPair:
    """A mask and the IoU that it has with its correction."""

    mask_id: int
    iou: float


@dataclass(frozen=True)
class AuditedImage:
    """What experts did with the masks of an image. deleted: ids of masks that have no correction; added: new masks."""

    image_id: int
    pairs: tuple[MaskPair, ...]
    deleted: tuple[int, ...]
    added: int


@dataclass(frozen=True)
class Estimate:
    """A mean or share over all masks of the audit, with the bounds of its 95 % bootstrap interval over images."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class AuditReport:
    """What an audit came to; None where there is nothing to take a share of.

    over_high, over_fair: share of the pairs with an IoU over 0.90 and over 0.75. mean_iou: over pairs.
    kept_high: share of all masks before, deleted ones too, that have a correction with an IoU over 0.90.
    deleted_frac: of the masks before. added_frac: new masks for each mask before; may exceed 1.
    """

    images: int
    skipped: int
    masks: int
    pairs: int
    deleted: int
    added: int
    over_high: Estimate | None
    over_fair: Estimate | None
    mean_iou: Estimate | None
    kept_high: Estimate | None
    deleted_frac: Estimate | None
    added_frac: Estimate | None

    def to_dict(self) -> dict[str, Any]:
        return {key: vars(value) if isinstance(value, Estimate) else value for key, value in vars(self).items()}


def compare(image_id: int, before: Mapping[int, Rle], after: Sequence[CorrectedMask]) -> AuditedImage:
    """Pair the masks of an image with their corrections.

    before: masks by id. after: what the experts left, in any order. A correction that carries the id of a mask is its
    pair, however little they have in common; of several with one id, the most like it. The rest is paired greedily by
    IoU, from 0.5 on. A mask that was erased to nothing is deleted. Raises InputError if masks differ in size.
    """
    ids = sorted(before)
    try:
        left = sorted((one for one in after if rle_codec.area(one.rle) > 0), key=lambda one: one.rle.counts)
        iou = rle_codec.iou_matrix([before[mask_id] for mask_id in ids], [one.rle for one in left])
    except InputError as error:
        raise InputError(f"audit of image {image_id}: {error}") from error
    same = np.array([[one.mask_id == mask_id for one in left] for mask_id in ids], dtype=bool).reshape(iou.shape)
    found = _greedy(iou, same)
    free = iou >= PAIR_IOU
    free[list(found), :] = False
    free[:, list(found.values())] = False
    found |= _greedy(iou, free)
    return AuditedImage(
        image_id,
        pairs=tuple(MaskPair(ids[row], float(iou[row, column])) for row, column in sorted(found.items())),
        deleted=tuple(mask_id for row, mask_id in enumerate(ids) if row not in found),
        added=len(left) - len(found),
    )


def audit_report(images: Sequence[AuditedImage], *, skipped: int = 0) -> AuditReport:
    """Sum up an audit. skipped: images of the sample that experts did not do."""
    ious = [np.array([pair.iou for pair in image.pairs], dtype=np.float64) for image in images]
    deleted = np.array([len(image.deleted) for image in images], dtype=np.float64)
    added = np.array([image.added for image in images], dtype=np.float64)
    pairs = np.array([len(one) for one in ious], dtype=np.float64)
    high = np.array([(one > HIGH_IOU).sum() for one in ious], dtype=np.float64)
    fair = np.array([(one > FAIR_IOU).sum() for one in ious], dtype=np.float64)
    masks = pairs + deleted
    return AuditReport(
        images=len(images),
        skipped=skipped,
        masks=int(masks.sum()),
        pairs=int(pairs.sum()),
        deleted=int(deleted.sum()),
        added=int(added.sum()),
        over_high=ratio_estimate(high, pairs),
        over_fair=ratio_estimate(fair, pairs),
        mean_iou=ratio_estimate(np.array([one.sum() for one in ious]), pairs),
        kept_high=ratio_estimate(high, masks),
        deleted_frac=ratio_estimate(deleted, masks),
        added_frac=ratio_estimate(added, masks, limit=np.inf),
    )


def audit_lines(report: AuditReport) -> list[str]:
    """The section of the report about an audit, as Markdown."""
    counts = f"{counted(report.images, 'image')} ({report.skipped} skipped), {counted(report.masks, 'mask')}"
    rows = (
        (f"Pairs with IoU > {HIGH_IOU:.2f}", _percent(report.over_high)),
        (f"Pairs with IoU > {FAIR_IOU:.2f}", _percent(report.over_fair)),
        ("Mean IoU of pairs", _number(report.mean_iou)),
        (f"Masks with IoU > {HIGH_IOU:.2f}, deleted ones counted as wrong", _percent(report.kept_high)),
        ("Masks deleted", _percent(report.deleted_frac)),
        ("Masks added, of those there were", _percent(report.added_frac)),
    )
    return [
        "",
        "# Audit",
        "",
        f"{counts}: {report.pairs} corrected or left as they were, {report.deleted} deleted, {report.added} added.",
        "",
        "| | Value | 95 % interval |",
        "| --- | --- | --- |",
        *(f"| {title} | {value} | {interval} |" for title, (value, interval) in rows),
        "",
        f"A pair is a mask and what experts made of it; intervals are bootstrapped over images. {PAPER_NOTE}",
    ]


def _greedy(iou: npt.NDArray[np.float64], allowed: npt.NDArray[np.bool_]) -> dict[int, int]:
    """Column by row of the pairs that are allowed, highest IoU first, each row and column once."""
    rows, columns = np.nonzero(allowed)
    found: dict[int, int] = {}
    for place in np.argsort(-iou[rows, columns], kind="stable"):
        row, column = int(rows[place]), int(columns[place])
        if row not in found and column not in found.values():
            found[row] = column
    return found


def ratio_estimate(
    parts: npt.NDArray[np.float64], wholes: npt.NDArray[np.float64], *, limit: float = 1.0
) -> Estimate | None:
    """sum(parts) / sum(wholes) over images (N,), and its interval; None where the wholes are nothing.

    Images have different numbers of masks, so the ratio is no mean over images. Its linearisation is: each image stands
    for the ratio and what it alone moves it by, and the mean of these is the ratio.
    """
    if not wholes.sum():
        return None
    ratio = float(parts.sum() / wholes.sum())
    low, high = bootstrap_mean(ratio + (parts - ratio * wholes) / wholes.mean())
    return Estimate(ratio, max(0.0, low), min(limit, high))


def _percent(estimate: Estimate | None) -> tuple[str, str]:
    if estimate is None:
        return "-", "-"
    return f"{estimate.value:.1%}", f"{estimate.low:.1%} to {estimate.high:.1%}"


def _number(estimate: Estimate | None) -> tuple[str, str]:
    if estimate is None:
        return "-", "-"
    return f"{estimate.value:.3f}", f"{estimate.low:.3f} to {estimate.high:.3f}"
