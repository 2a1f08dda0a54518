"""What an ablation found: mIoU of every point of its curves, and what each changes of the one before (SAM paper,
section 7.6 and figure 13).

Intervals are 95 % bootstrap intervals; masks are drawn within each set. Differences are paired: all models were asked
for the same masks. With several seeds a point is the mean over its models, and models are drawn too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.evaluation.bootstrap import bootstrap_runs
from engine.evaluation.suite import SuiteResult
from engine.evaluation.suite_report import (
    Question,
    difference_cell,
    estimate_cell,
    estimate_of,
    ious_of,
    questions_of,
    table_lines,
)
from engine.quality.audit import Estimate
from schemas.counted import counted
from schemas.suite import Suite

Ious = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """models: names of its models, one a seed. x: where it stands. images, masks: learned from; None for no training,
    of the first seed where a part is drawn."""

    label: str
    x: float
    models: tuple[str, ...]
    images: int | None
    masks: int | None


@dataclass(frozen=True)
class Curve:
    """Points in the order in which they are compared. name: "stages", "data", "encoder" or "points"."""

    name: str
    title: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Drawn:
    """One line of a curve. miou: of each point. change: of each from the one before, the first has none."""

    question: Question
    miou: tuple[Estimate, ...]
    change: tuple[Estimate, ...]


def lines_of(suite: Suite, result: SuiteResult, curve: Curve) -> list[Drawn]:
    """Of each number of clicks, and of the best of three for one. Raises ValueError where the result has no set."""
    return [_line(result, curve, question) for question in questions_of(suite)]


def _line(result: SuiteResult, curve: Curve, question: Question) -> Drawn:
    ious = [_ious(result, point, question) for point in curve.points]
    return Drawn(question, tuple(map(_estimate, ious)), tuple(_estimate(now, then) for then, now in pairwise(ious)))


def _ious(result: SuiteResult, point: Point, question: Question) -> list[Ious]:
    """Of each set (M, N): of the M models of a point on its N masks."""
    return [np.stack([ious_of(result, name, peer, question) for peer in point.models]) for name in result.sets]


def _estimate(ious: Sequence[Ious], before: Sequence[Ious] | None = None) -> Estimate:
    """The mean, or its change since `before`; where a point has several models they are drawn too."""
    means = [of_set.mean(axis=0) for of_set in ious]
    if before is not None:
        means = [now - then.mean(axis=0) for now, then in zip(means, before, strict=True)]
    if all(len(side[0]) == 1 for side in (ious, before or ious)):
        return estimate_of(means)
    return Estimate(float(np.mean([of_set.mean() for of_set in means])), *bootstrap_runs(ious, before))


def is_below(change: Estimate) -> bool:
    """Whether a point is surely worse than the one before: all of the interval lies below 0."""
    return change.high < 0


def ablation_values(
    suite: Suite, result: SuiteResult, curves: Sequence[Curve], drawn: Sequence[Sequence[Drawn]]
) -> dict[str, Any]:
    """All of it, for JSON. drawn: the lines of each curve."""
    return {
        "sets": {
            name: {"masks": each.masks, "pictures": each.pictures, "note": each.note}
            for name, each in result.sets.items()
        },
        "left_out": result.left_out,
        "first_point": suite.first_point,
        "experiments": {
            curve.name: {
                "points": [
                    {"label": point.label, "x": point.x, "images": point.images, "masks": point.masks}
                    | {"models": list(point.models)}
                    for point in curve.points
                ],
                "lines": [
                    {
                        "prompt": line.question.prompt,
                        "answer": line.question.answer,
                        "miou": [vars(found) for found in line.miou],
                        "change": [vars(found) | {"below": is_below(found)} for found in line.change],
                    }
                    for line in lines
                ],
            }
            for curve, lines in zip(curves, drawn, strict=True)
        },
    }


def ablation_markdown(
    result: SuiteResult, curves: Sequence[Curve], drawn: Sequence[Sequence[Drawn]], *, facts: Sequence[str]
) -> str:
    """A page: what was trained and measured, then two tables for each curve. facts: lines for the beginning."""
    masks = ", ".join(
        f"{name}: {counted(s.masks, 'mask')} on {counted(s.pictures, 'picture')}" for name, s in result.sets.items()
    )
    over = ", mean over sets" if len(result.sets) > 1 else ""
    lines = [
        "# Ablation",
        "",
        *(f"- {fact}" for fact in facts),
        f"- Measured on {masks}.",
        f"- mIoU{over}; in brackets 95 % bootstrap intervals: masks are drawn within each set. "
        + _what_intervals_miss(curves),
        "- Changes are from the line before, on the same masks; bold where the interval excludes 0.",
        *(f"- {name}: left out: {reason}" for name, reason in result.left_out.items()),
        "",
        "![mIoU of each curve](ablation.png)",
    ]
    for curve, of_curve in zip(curves, drawn, strict=True):
        lines += ["", f"## {curve.title}", "", *_miou_table(curve, of_curve)]
        if len(curve.points) > 1:
            lines += ["", *_change_table(curve, of_curve), "", _verdict(curve, of_curve)]
    return "\n".join([*lines, ""])


def _what_intervals_miss(curves: Sequence[Curve]) -> str:
    alone = all(len(point.models) == 1 for curve in curves for point in curve.points)
    if alone:
        return "Masks of one picture are alike, and trainings of other seeds give other models: true ones are wider."
    return "Models of other seeds are drawn too. Masks of one picture are alike, and seeds few: true ones are wider."


def _miou_table(curve: Curve, lines: Sequence[Drawn]) -> list[str]:
    columns = (_column(curve), "Pictures", "Masks", *(line.question.title for line in lines))
    rows = [
        (point.label, _count(point.images), _count(point.masks), *(estimate_cell(line.miou[at]) for line in lines))
        for at, point in enumerate(curve.points)
    ]
    return table_lines(columns, rows)


def _change_table(curve: Curve, lines: Sequence[Drawn]) -> list[str]:
    columns = ("Change", *(line.question.title for line in lines))
    rows = [
        (f"{before.label} → {after.label}", *(difference_cell(line.change[at]) for line in lines))
        for at, (before, after) in enumerate(pairwise(curve.points))
    ]
    return table_lines(columns, rows)


def _verdict(curve: Curve, lines: Sequence[Drawn]) -> str:
    """Which points are surely worse than the one before."""
    worse = [
        f"{curve.points[at + 1].label} at {line.question.title}"
        for line in lines
        for at, change in enumerate(line.change)
        if is_below(change)
    ]
    better = sum(change.low > 0 for line in lines for change in line.change)
    told = f"Below the one before at 95 %: {'; '.join(worse)}." if worse else "None is below the one before at 95 %."
    return f"{told} Above it: {better} of {sum(len(line.change) for line in lines)}."


def _column(curve: Curve) -> str:
    return {"stages": "Masks of", "data": "Share", "encoder": "Start model"}.get(curve.name, "Points a side")


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"
