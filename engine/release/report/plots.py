"""Figures 5 and 6 of the SAM paper for any datasets. The release comes first and is drawn strongest."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from engine.figures import COLOURS
from engine.release.report.properties import PER_PICTURE_ENDS, MaskProperties, grid_side

_LINES = ("-", "--", "-.", ":")
_SIZE_BINS, _CONCAVITY_BINS = 50, 20
_MAPS_A_ROW = 4


def centres_figure(datasets: Sequence[MaskProperties]) -> Figure:
    """Density maps of the masks' centres, all in one scale of colours: how many times as dense as if evenly spread."""
    rows = -(-len(datasets) // _MAPS_A_ROW)
    columns = min(len(datasets), _MAPS_A_ROW)
    maps = [dataset.density(grid_side(dataset.masks)) for dataset in datasets]
    highest = max(2.0, *(float(np.quantile(one, 0.99)) for one in maps))
    figure = Figure(figsize=(2.9 * columns + 0.9, 3.1 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for one, dataset, density in zip(axes, datasets, maps, strict=False):
        image = one.imshow(density, cmap="viridis", vmin=0, vmax=highest, extent=(0, 1, 1, 0), interpolation="nearest")
        one.set_title(dataset.name, fontsize=10)
        one.set_xticks([0, 0.5, 1])
        one.set_yticks([0, 0.5, 1])
        one.tick_params(labelsize=8)
    for one in list(axes):
        one.set_axis_off()
    figure.colorbar(image, ax=figure.axes, shrink=0.85, extend="max", label="density, 1 = evenly spread")
    return figure


def per_picture_figure(datasets: Sequence[MaskProperties]) -> Figure:
    """Bars: share of the pictures with so many masks."""
    figure, axes = _panel("masks per picture", "share of the pictures")
    labels = per_picture_labels()
    width = 0.8 / len(datasets)
    for number, (dataset, colour) in enumerate(zip(datasets, cycle(COLOURS))):
        left = np.arange(len(labels)) - 0.4 + width * (number + 0.5)
        axes.bar(left, dataset.per_picture(), width=width, color=colour, label=dataset.name)
    axes.set_xticks(range(len(labels)), labels, rotation=30)
    axes.legend(fontsize=8)
    return figure


def sizes_figure(datasets: Sequence[MaskProperties]) -> Figure:
    """Curves: share of the masks in each fiftieth of the relative size."""
    curves = {dataset.name: dataset.relative_sizes(_SIZE_BINS) for dataset in datasets}
    return _curves(curves, "relative size: √(mask area / picture area)", logarithmic=True)


def concavity_figure(concavities: Mapping[str, npt.NDArray[np.float64]]) -> Figure:
    """Curves: share of the sampled masks in each twentieth of the concavity."""
    curves = {name: _shares(values) for name, values in concavities.items()}
    return _curves(curves, "concavity: 1 − mask area / hull area")


def per_picture_labels() -> list[str]:
    """Of the bins of `MaskProperties.per_picture`."""
    starts = [0, *(end + 1 for end in PER_PICTURE_ENDS)]
    closed = [f"{start}–{end}" for start, end in zip(starts, PER_PICTURE_ENDS, strict=False)]
    return [*closed, f"> {PER_PICTURE_ENDS[-1]}"]


def _shares(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    counts, _ = np.histogram(values, bins=_CONCAVITY_BINS, range=(0, 1))
    return np.asarray(counts / max(len(values), 1))


def _curves(curves: Mapping[str, npt.NDArray[np.float64]], title: str, *, logarithmic: bool = False) -> Figure:
    """Steps over equal bins from 0 to 1."""
    figure, axes = _panel(title, "share of the masks")
    for (name, shares), colour, line in zip(curves.items(), cycle(COLOURS), cycle(_LINES)):
        drawn = np.where(shares > 0, shares, np.nan) if logarithmic else shares
        axes.stairs(drawn, np.linspace(0, 1, len(shares) + 1), color=colour, linestyle=line, linewidth=1.6, label=name)
    if logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(_percent())
    axes.set_xlim(0, 1)
    axes.legend(fontsize=8)
    return figure


def _percent() -> FuncFormatter:
    return FuncFormatter(lambda share, _: f"{100 * share:g}%")


def _panel(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.yaxis.set_major_formatter(_percent())
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes
