"""Whether a model is as good on the masks of each group: tables 2 and 6 of the SAM paper.

The first point of a mask is random, the next ones correct (appendix D.1). Intervals are bootstrapped over pictures,
because masks of one picture are alike.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.evaluation.points import evaluate_points, random_point
from engine.quality.audit import Estimate, ratio_estimate
from model.predictor import Predictor
from model.training.samples import Sample
from schemas.counted import counted

POINTS = (1, 3)
Labels = Mapping[int, Mapping[str, str]]  # {mask: {column: label}}


@dataclass(frozen=True)
class Group:
    """masks, pictures: how many. mean, miou: by the number of points.

    miou is None with masks of fewer than two pictures.
    """

    name: str
    masks: int
    pictures: int
    mean: dict[int, float]
    miou: dict[int, Estimate | None]


@dataclass(frozen=True)
class LabelledScores:
    """IoU of N masks. ious: (N,) by the number of points. pictures: (N,), which masks share one."""

    mask_ids: npt.NDArray[np.int64]
    pictures: npt.NDArray[np.int64]
    ious: Mapping[int, npt.NDArray[np.float64]]


def score_labelled(
    predictor: Predictor, pictures: Iterable[tuple[Sample, Sequence[int]]], *, seed: int = 0
) -> LabelledScores | None:
    """Click on every mask; pictures come with the ids of their masks. None where there is no mask at all."""
    mask_ids: list[int] = []
    of_picture: list[int] = []

    def samples() -> Iterator[Sample]:
        for number, (sample, ids) in enumerate(pictures):
            mask_ids.extend(ids)
            of_picture.extend([number] * len(ids))
            yield sample

    found = evaluate_points(predictor, samples(), clicks=POINTS, first=random_point(seed))
    if not mask_ids:
        return None
    ious = {points: scores.confident for points, scores in found.items()}
    return LabelledScores(np.array(mask_ids), np.array(of_picture), ious)


def group_scores(scores: LabelledScores, labels: Labels, column: str) -> list[Group]:
    """The groups of a column that have masks, by name; masks without a label are in none."""
    of_mask = np.array([labels[mask_id].get(column, "") for mask_id in scores.mask_ids.tolist()], dtype=object)
    return [_group(name, scores, of_mask == name) for name in sorted(set(of_mask.tolist()) - {""})]


def groups_by_column(scores: LabelledScores, labels: Labels) -> dict[str, list[Group]]:
    """The groups of every column that labels have, by its name."""
    columns = sorted({column for of_mask in labels.values() for column in of_mask})
    return {column: group_scores(scores, labels, column) for column in columns}


def disjoint(groups: Sequence[Group], points: int) -> list[tuple[str, str]]:
    """Pairs (better, worse) of groups whose intervals do not touch."""
    found = []
    for first, second in combinations(groups, 2):
        one, other = first.miou[points], second.miou[points]
        if one is None or other is None:
            continue
        if one.low > other.high:
            found.append((first.name, second.name))
        elif other.low > one.high:
            found.append((second.name, first.name))
    return found


def group_values(groups: Sequence[Group]) -> dict[str, Any]:
    """The groups of a column, and which of their intervals are disjoint, for JSON."""
    return {
        "groups": {
            one.name: {
                "masks": one.masks,
                "pictures": one.pictures,
                **{f"points_{points}": _estimate(one, points) for points in POINTS},
            }
            for one in groups
        },
        "disjoint": {f"points_{points}": [list(pair) for pair in disjoint(groups, points)] for points in POINTS},
    }


def group_columns(column: str) -> tuple[str, ...]:
    """Headings of a table of the groups of a column."""
    return (column, "Masks", "Pictures", "mIoU, 1 point", "mIoU, 3 points")


def group_rows(groups: Sequence[Group]) -> tuple[tuple[str, ...], ...]:
    """A row a group, for people to read."""
    return tuple(
        (one.name, f"{one.masks:,}", f"{one.pictures:,}", *(_cell(one, points) for points in POINTS)) for one in groups
    )


def group_notes(column: str, groups: Sequence[Group], labels: Labels, *, where: str) -> list[str]:
    """Lines on the groups of a column: of which nothing can be said, and which intervals are disjoint.

    where: what the masks were looked for in, such as "this release".
    """
    named = {of_mask[column] for of_mask in labels.values() if of_mask.get(column)}
    absent = sorted(named - {group.name for group in groups})
    lines = [f"{column}, {name}: no mask in {where}." for name in absent]
    few = [group for group in groups if group.pictures < 2]
    lines += [f"{column}, {one.name}: masks of a single picture ({one.masks}), so no interval." for one in few]
    for points in POINTS:
        pairs = [f"{better} over {worse}" for better, worse in disjoint(groups, points)]
        lines.append(f"{column}, {counted(points, 'point')}: disjoint intervals: {', '.join(pairs) or 'none'}.")
    return lines


def _group(name: str, scores: LabelledScores, chosen: npt.NDArray[np.bool_]) -> Group:
    _, place = np.unique(scores.pictures[chosen], return_inverse=True)
    masks = _sums(place, np.ones(len(place)))
    means, estimates = {}, {}
    for points, ious in scores.ious.items():
        means[points] = float(ious[chosen].mean())
        estimates[points] = ratio_estimate(_sums(place, ious[chosen]), masks) if len(masks) > 1 else None
    return Group(name, int(chosen.sum()), len(masks), means, estimates)


def _sums(place: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of the values at each place from 0 on."""
    return np.bincount(place, values).astype(np.float64)


def _estimate(group: Group, points: int) -> dict[str, float | None]:
    found = group.miou[points]
    bounds = (None, None) if found is None else (found.low, found.high)
    return {"miou": group.mean[points], "low": bounds[0], "high": bounds[1]}


def _cell(group: Group, points: int) -> str:
    found = group.miou[points]
    mean = f"{group.mean[points]:.3f}"
    return mean if found is None else f"{mean} ({found.low:.3f} to {found.high:.3f})"
