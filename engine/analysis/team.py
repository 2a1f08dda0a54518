"""Who did what in a round, and how far people agree on the images that more than one of them annotated."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from engine.analysis.markdown import table_section
from engine.analysis.rounds import RoundReport
from engine.quality.audit import PAIR_IOU, AuditedImage, CorrectedMask, Estimate, compare, ratio_estimate
from schemas.mask import Mask
from schemas.rle import Rle
from schemas.round_metrics import AgreementMetrics, PersonMetrics

_PEOPLE = (
    "Stage",
    "Round",
    "Annotator",
    "Images",
    "Skipped",
    "Prompts not accepted",
    "Superseded",
    "Their masks",
    "Their seconds",
)
_AGREEMENT = ("Stage", "Round", "Images twice", "Planned", "Pairs", "Mean IoU of pairs", "Found by both")
_PEOPLE_NOTE = (
    "Superseded: annotations of images of which another one counts, the one that was changed last; with their masks "
    "they are in the table `annotations`. Prompts not accepted: clicks and boxes that were left when the image was "
    "submitted, and whose mask nobody took."
)
_AGREEMENT_NOTE = (
    f"A pair is what two people marked as the same object (IoU at least {PAIR_IOU:g}); found by both: pairs, of all "
    "objects that either of them marked. Masks that both were shown and left alone do not count. Intervals: 95 %, "
    "bootstrapped over images. Planned: as `labeling.overlap_frac` asked."
)


def team_statistics(masks: pa.Table, annotations: pa.Table) -> dict[str, Any]:
    """Keys of `RoundMetrics`, from a round's rows of its masks table and of `annotations`; no keys without these."""
    given = annotations.sort_by([("submitted_s", "ascending"), ("annotation", "ascending")]).to_pylist()
    if not given:
        return {}
    names = sorted({row["annotator"] for row in given})
    people = {name: _of_person([row for row in given if row["annotator"] == name]) for name in names}
    agreement = _agreement(given, masks)
    return {
        "people": {name: own.to_dict() for name, own in people.items()},
        **({} if agreement is None else {"agreement": agreement.to_dict()}),
    }


def team_lines(reports: Sequence[RoundReport]) -> list[str]:
    """Markdown: a table of people, and one of how far they agree; nothing where no round has either."""
    people = [
        f"{_place(report)} | {name} | {own.images} | {own.skipped} | {own.unaccepted_prompts} | {own.superseded} "
        f"| {own.superseded_masks} | {own.superseded_s:.0f} |"
        for report in reports
        for name, own in (report.people or {}).items()
    ]
    agreement = [
        f"{_place(report)} | {own.images} | {own.planned} | {own.pairs} "
        f"| {_with_interval(own.mean_iou, own.mean_iou_interval)} "
        f"| {_with_interval(own.found_by_both_frac, own.found_by_both_interval)} |"
        for report in reports
        if (own := report.agreement) is not None
    ]
    return [
        *table_section("People", _PEOPLE, people, _PEOPLE_NOTE),
        *table_section("Agreement", _AGREEMENT, agreement, _AGREEMENT_NOTE),
    ]


def _of_person(given: Sequence[Mapping[str, Any]]) -> PersonMetrics:
    valid = [row for row in given if row["valid"]]
    superseded = [row for row in given if not row["valid"]]
    return PersonMetrics(
        images=len(valid),
        skipped=sum(row["skipped"] for row in valid),
        unaccepted_prompts=sum(row["unaccepted_prompts"] for row in given),
        superseded=len(superseded),
        superseded_masks=sum(row["mask_count"] for row in superseded),
        superseded_s=float(sum(row["seconds"] for row in superseded)),
    )


def _agreement(given: Sequence[Mapping[str, Any]], masks: pa.Table) -> AgreementMetrics | None:
    """None where no image was annotated by two people."""
    found, planned = [], 0
    by_image: dict[int, list[Mask]] = defaultdict(list)
    for row in masks.to_pylist():
        by_image[row["image_id"]].append(Mask.from_row(row))
    for valid, other in _pairs_of_people(given):
        theirs = [Mask.from_json(mask) for mask in json.loads(other["masks"])]
        found.append(_compared(valid["image_id"], by_image[valid["image_id"]], theirs))
        planned += valid["people"] > 1
    if not found:
        return None
    pairs = np.array([len(one.pairs) for one in found], dtype=np.float64)
    objects = pairs + np.array([len(one.deleted) + one.added for one in found])
    mean_iou = ratio_estimate(np.array([sum(pair.iou for pair in one.pairs) for one in found]), pairs)
    both = ratio_estimate(pairs, objects)
    return AgreementMetrics(
        images=len(found),
        planned=planned,
        pairs=int(pairs.sum()),
        objects=int(objects.sum()),
        mean_iou=mean_iou and mean_iou.value,
        mean_iou_interval=_interval(mean_iou),
        found_by_both_frac=both and both.value,
        found_by_both_interval=_interval(both),
    )


def _pairs_of_people(given: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The valid annotation of each image beside the last one of each other person; images that somebody skipped are
    left out."""
    submitted = [row for row in given if not row["skipped"]]
    valid = {row["image_id"]: row for row in submitted if row["valid"]}
    others = {(row["image_id"], row["annotator"]): row for row in submitted if not row["valid"]}
    for (image_id, annotator), other in sorted(others.items()):
        if image_id in valid and valid[image_id]["annotator"] != annotator:
            yield valid[image_id], other


def _compared(image_id: int, ours: Sequence[Mask], theirs: Sequence[Mask]) -> AuditedImage:
    left_alone = _automatic(ours) & _automatic(theirs)
    first = [mask.rle for mask in ours if mask.rle not in left_alone]
    second = [CorrectedMask(mask.rle) for mask in theirs if mask.rle not in left_alone]
    return compare(image_id, dict(enumerate(first)), second)


def _automatic(masks: Sequence[Mask]) -> set[Rle]:
    return {mask.rle for mask in masks if mask.origin == "automatic"}


def _interval(estimate: Estimate | None) -> tuple[float, float] | None:
    return None if estimate is None else (estimate.low, estimate.high)


def _place(report: RoundReport) -> str:
    return f"| {report.stage.replace('_', ' ')} | {report.round}"


def _with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    return "-" if value is None or interval is None else f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"
