"""The section on fairness: whether a model is as good on the masks of each group (SAM paper, table 2).

Points are random, first in the mask, then in the error region. Intervals are bootstrapped over pictures, because masks
of one picture are alike.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from engine.evaluation.points import evaluate_points, random_point
from engine.quality.audit import Estimate, ratio_estimate
from engine.release.report.plots import COLOURS
from engine.release.report.released import ReleasedMasks
from engine.release.report.sections import Section, Table
from engine.release.report.tables import read_rows
from model.predictor import Predictor
from model.training.samples import Sample
from schemas.errors import InputError

# Columns of a table of labels: ids of the workspace, which stay from one release to the next, or those of the json.
CONTENT_KEY, KEY = "mask_id", "id"
POINTS = (1, 3)
_AUTOMATIC = "automatic"


@dataclass(frozen=True)
class Group:
    """masks, pictures: how many. miou: by the number of points; None with masks of fewer than two pictures."""

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


@dataclass(frozen=True)
class Labels:
    """of_mask: {mask: {column: label}}. content_ids: whether masks are called by the workspace's ids or the json's."""

    of_mask: Mapping[int, Mapping[str, str]]
    content_ids: bool = True


def read_groups(path: Path) -> Labels:
    """Raises InputError for a table that cannot be read or used."""
    found: dict[int, dict[str, str]] = {}
    column = ""
    for column, key, labels in read_rows(path, (CONTENT_KEY, KEY)):
        if not key.isdecimal():
            raise InputError(f"{path}: {column} {key!r} is no whole number")
        if int(key) in found:
            raise InputError(f"{path}: {column} {key} stands there twice; give each mask one line")
        found[int(key)] = labels
    if not found:
        raise InputError(f"{path}: no row below its header")
    return Labels(found, content_ids=column == CONTENT_KEY)


def group_scores(scores: LabelledScores, labels: Mapping[int, Mapping[str, str]], column: str) -> list[Group]:
    """The groups of a column that have masks, by name; masks without a label are in none."""
    of_mask = np.array([labels[mask_id].get(column, "") for mask_id in scores.mask_ids.tolist()], dtype=object)
    return [_group(name, scores, of_mask == name) for name in sorted(set(of_mask.tolist()) - {""})]


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


def fairness_section(
    release: ReleasedMasks, *, groups: Labels, predictor: Predictor, model: str, seed: int = 0
) -> Section:
    """model: its name. Raises InputError if no mask of the release has a label."""
    origins: dict[int, str] = {}
    labels = groups.of_mask
    scores = _measure(release, groups, predictor, origins, seed)
    columns = sorted({column for of_mask in labels.values() for column in of_mask})
    by_column = {column: group_scores(scores, labels, column) for column in columns}
    missing = len(labels) - len(origins)
    automatic = sum(origin == _AUTOMATIC for origin in origins.values())
    notes = [f"{len(origins):,} masks, model {model}; 95 % bootstrap intervals over pictures."]
    notes += [f"Rows of the table whose mask is not in this release: {missing:,}."] if missing else []
    if automatic:
        notes.append(f"Masks that were made by a model, where likeness to it is measured: {automatic:,}.")
    for column, found in by_column.items():
        notes += _small_groups(column, found, labels)
        notes += _pairs(column, found)
    return Section(
        "fairness",
        "Fairness",
        "mIoU of the model on each group, from 1 and from 3 random points (tables 2 and 6 of the SAM paper). Intervals "
        "that do not touch hint at a difference; intervals that do are no proof that there is none.",
        {column: _values(found) for column, found in by_column.items()},
        figures={"fairness": (_figure(by_column), "mIoU with 95 % intervals.")} if any(by_column.values()) else {},
        tables=[_table(column, found) for column, found in by_column.items() if found],
        notes=notes,
    )


def _measure(
    release: ReleasedMasks, groups: Labels, predictor: Predictor, origins: dict[int, str], seed: int
) -> LabelledScores:
    """Also fills the origin of each mask that is in the release."""
    mask_ids: list[int] = []
    pictures: list[int] = []

    def samples() -> Iterator[Sample]:
        for number, picture in enumerate(release.labelled(groups.of_mask.keys(), content_ids=groups.content_ids)):
            origins.update(picture.origins)
            mask_ids.extend(picture.masks)
            pictures.extend([number] * len(picture.masks))
            yield Sample(picture.pixels, [mask.coco() for mask in picture.masks.values()])

    found = evaluate_points(predictor, samples(), clicks=POINTS, choose=random_point(seed))
    if not mask_ids:
        raise InputError(f"{release.place}: has none of the {len(groups.of_mask)} masks that the table of groups names")
    return LabelledScores(
        np.array(mask_ids), np.array(pictures), {points: scores.confident for points, scores in found.items()}
    )


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


def _small_groups(column: str, groups: Sequence[Group], labels: Mapping[int, Mapping[str, str]]) -> list[str]:
    """One line for each group of which nothing can be said."""
    named = {of_mask[column] for of_mask in labels.values() if of_mask.get(column)}
    absent = sorted(named - {group.name for group in groups})
    lines = [f"{column}, {name}: no mask in this release." for name in absent]
    few = [group for group in groups if group.pictures < 2]
    return lines + [f"{column}, {one.name}: masks of a single picture ({one.masks}), so no interval." for one in few]


def _pairs(column: str, groups: Sequence[Group]) -> list[str]:
    """One line for each number of points: whose intervals are disjoint."""
    lines = []
    for points in POINTS:
        pairs = [f"{better} over {worse}" for better, worse in disjoint(groups, points)]
        what = "point" if points == 1 else "points"
        lines.append(f"{column}, {points} {what}: disjoint intervals: {', '.join(pairs) or 'none'}.")
    return lines


def _values(groups: Sequence[Group]) -> dict[str, Any]:
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


def _estimate(group: Group, points: int) -> dict[str, float | None]:
    found = group.miou[points]
    bounds = (None, None) if found is None else (found.low, found.high)
    return {"miou": group.mean[points], "low": bounds[0], "high": bounds[1]}


def _table(column: str, groups: Sequence[Group]) -> Table:
    rows = tuple(
        (one.name, f"{one.masks:,}", f"{one.pictures:,}", *(_cell(one, points) for points in POINTS)) for one in groups
    )
    return Table((column, "Masks", "Pictures", "mIoU, 1 point", "mIoU, 3 points"), rows)


def _cell(group: Group, points: int) -> str:
    found = group.miou[points]
    mean = f"{group.mean[points]:.3f}"
    return mean if found is None else f"{mean} ({found.low:.3f} to {found.high:.3f})"


def _figure(by_column: Mapping[str, Sequence[Group]]) -> Figure:
    """A line a group, a colour a number of points."""
    groups = [(f"{column}: {group.name}", group) for column, its in by_column.items() for group in its]
    figure = Figure(figsize=(6.4, 1.1 + 0.34 * len(groups)), layout="constrained")
    axes = figure.subplots()
    for points, colour, shift in zip(POINTS, COLOURS, (-0.12, 0.12), strict=False):
        for row, (_, group) in enumerate(groups):
            if (found := group.miou[points]) is not None:
                axes.plot([found.low, found.high], [row + shift] * 2, color=colour, linewidth=2)
        means = [group.mean[points] for _, group in groups]
        label = f"{points} point" if points == 1 else f"{points} points"
        axes.plot(means, np.arange(len(groups)) + shift, "o", color=colour, markersize=5, label=label)
    axes.set_yticks(range(len(groups)), [name for name, _ in groups], fontsize=8)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlabel("mIoU", fontsize=9)
    axes.grid(alpha=0.25)
    axes.tick_params(axis="x", labelsize=8)
    axes.legend(fontsize=8, ncols=len(POINTS), loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    return figure
