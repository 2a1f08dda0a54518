"""Figure 13 of the SAM paper for any workspace: mIoU over stages, data, encoders and the generator's grid."""

from collections.abc import Sequence
from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from engine.evaluation.ablation_report import Curve, Drawn
from engine.evaluation.suite_plots import MARKERS, plain, tidy
from engine.figures import COLOURS

_BY_NUMBER = ("data", "points")  # curves over a number, on a logarithmic axis; the others over names
_LONG_LABEL = 8  # characters


def ablation_figure(curves: Sequence[Curve], drawn: Sequence[Sequence[Drawn]], *, sets: int) -> Figure:
    """A panel a curve, a line a number of clicks, with 95 % intervals. drawn: lines of each curve. sets: how many."""
    figure = Figure(figsize=(1.2 + 3.6 * len(curves), 4), layout="constrained")
    panels = figure.subplots(1, len(curves), squeeze=False, sharey=True)[0]
    for axes, curve, lines in zip(panels, curves, drawn, strict=True):
        confident = [line for line in lines if line.question.answer == "confident"]
        for line, colour, marker in zip(confident, cycle(COLOURS), cycle(MARKERS), strict=False):
            _draw(axes, curve, line, colour=colour, marker=marker)
        _label(axes, curve)
    over = f", mean over {sets} sets" if sets > 1 else ""
    panels[0].set_ylabel(f"mIoU{over}, with 95 % intervals", fontsize=9)
    panels[-1].legend(fontsize=8, frameon=False)
    return figure


def places_of(curve: Curve) -> list[float]:
    """Where its points stand on the axis: at their numbers, or one beside the other."""
    return [point.x if curve.name in _BY_NUMBER else place for place, point in enumerate(curve.points)]


def _draw(axes: Axes, curve: Curve, line: Drawn, *, colour: str, marker: str) -> None:
    places, means = places_of(curve), [found.value for found in line.miou]
    below = [found.value - found.low for found in line.miou]
    above = [found.high - found.value for found in line.miou]
    axes.errorbar(
        places,
        means,
        yerr=[below, above],
        label=line.question.title,
        color=colour,
        marker=marker,
        markersize=4,
        linewidth=1.4,
        elinewidth=1,
        capsize=2,
    )


def _label(axes: Axes, curve: Curve) -> None:
    labels = [plain(point.label) for point in curve.points]
    turned = any(len(label) > _LONG_LABEL for label in labels)
    if curve.name in _BY_NUMBER:
        axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xticks(places_of(curve), labels, rotation=30 if turned else 0, ha="right" if turned else "center")
    axes.set_title(curve.title, fontsize=10)
    tidy(axes)
    axes.grid(alpha=0.25)
