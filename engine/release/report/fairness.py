"""The section on fairness: whether a model is as good on the masks of each group (`engine.evaluation.groups`)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from engine.evaluation.groups import (
    POINTS,
    Group,
    LabelledScores,
    group_columns,
    group_notes,
    group_rows,
    group_values,
    groups_by_column,
    score_labelled,
)
from engine.figures import COLOURS
from engine.label_tables import read_labels
from engine.release.report.released import ReleasedMasks
from engine.release.report.sections import Section, Table
from model.predictor import Predictor
from model.training.samples import Sample
from schemas.counted import counted
from schemas.errors import InputError

# Columns of a table of labels: ids of the workspace, which stay from one release to the next, or those of the json.
CONTENT_KEY, KEY = "mask_id", "id"
_AUTOMATIC = "automatic"


@dataclass(frozen=True)
class Labels:
    """of_mask: {mask: {column: label}}. content_ids: whether masks are called by the workspace's ids or the json's."""

    of_mask: Mapping[int, Mapping[str, str]]
    content_ids: bool = True


def read_groups(path: Path) -> Labels:
    """Raises InputError for a table that cannot be read or used."""
    column, labels = read_labels(path, (CONTENT_KEY, KEY))
    return Labels(labels, content_ids=column == CONTENT_KEY)


def fairness_section(
    release: ReleasedMasks, *, groups: Labels, predictor: Predictor, model: str, seed: int = 0
) -> Section:
    """model: its name. Raises InputError if no mask of the release has a label."""
    origins: dict[int, str] = {}
    labels = groups.of_mask
    by_column = groups_by_column(_measure(release, groups, predictor, origins, seed), labels)
    missing = len(labels) - len(origins)
    automatic = sum(origin == _AUTOMATIC for origin in origins.values())
    notes = [f"{counted(len(origins), 'mask')}, model {model}; 95 % bootstrap intervals over pictures."]
    notes += [f"Rows of the table whose mask is not in this release: {missing:,}."] if missing else []
    if automatic:
        notes.append(f"Masks that were made by a model, where likeness to it is measured: {automatic:,}.")
    for column, found in by_column.items():
        notes += group_notes(column, found, labels, where="this release")
    return Section(
        "fairness",
        "Fairness",
        "mIoU of the model on each group, from 1 random point and after 2 more that correct (tables 2 and 6 of the SAM "
        "paper). Intervals that do not touch hint at a difference; intervals that do are no proof that there is none.",
        {column: group_values(found) for column, found in by_column.items()},
        figures={"fairness": (_figure(by_column), "mIoU with 95 % intervals.")} if any(by_column.values()) else {},
        tables=[Table(group_columns(column), group_rows(found)) for column, found in by_column.items() if found],
        notes=notes,
    )


def _measure(
    release: ReleasedMasks, groups: Labels, predictor: Predictor, origins: dict[int, str], seed: int
) -> LabelledScores:
    """Also fills the origin of each mask that is in the release."""

    def pictures() -> Iterator[tuple[Sample, list[int]]]:
        for picture in release.labelled(groups.of_mask.keys(), content_ids=groups.content_ids):
            origins.update(picture.origins)
            yield Sample(picture.pixels, [mask.coco() for mask in picture.masks.values()]), list(picture.masks)

    found = score_labelled(predictor, pictures(), seed=seed)
    if found is None:
        raise InputError(f"{release.place}: has none of the {len(groups.of_mask)} masks that the table of groups names")
    return found


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
        label = counted(points, "point")
        axes.plot(means, np.arange(len(groups)) + shift, "o", color=colour, markersize=5, label=label)
    axes.set_yticks(range(len(groups)), [name for name, _ in groups], fontsize=8)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlabel("mIoU", fontsize=9)
    axes.grid(alpha=0.25)
    axes.tick_params(axis="x", labelsize=8)
    axes.legend(fontsize=8, ncols=len(POINTS), loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    return figure
