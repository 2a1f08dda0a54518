"""How many masks of each source have which rating, as figure 11 of the SAM paper."""

import numpy as np
from matplotlib.figure import Figure

from engine.evaluation.suite_plots import plain, tidy
from engine.figures import COLOURS
from engine.study.analysis import Analysis
from schemas.labeling import RATINGS

_WIDTH = 0.8  # of the bars of a rating together


def ratings_figure(analysis: Analysis) -> Figure:
    """Bars of the shares of masks, a colour a source; the mean of each in the legend."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    count = len(analysis.sources)
    for number, (name, of) in enumerate(analysis.sources.items()):
        places = np.array(RATINGS) + (number - (count - 1) / 2) * _WIDTH / count
        shares = np.array(of.histogram) / of.rated
        label = f"{plain(name)}: {of.mean.value:.2f} ({of.mean.low:.2f} to {of.mean.high:.2f})"
        axes.bar(places, shares, width=_WIDTH / count, color=COLOURS[number % len(COLOURS)], label=label)
    axes.set_xticks(list(RATINGS))
    axes.set_xlabel("rating", fontsize=9)
    axes.set_ylabel("share of masks", fontsize=9)
    axes.legend(fontsize=8, frameon=False, title="mean with its 95 % interval", title_fontsize=8)
    tidy(axes)
    axes.grid(axis="y", alpha=0.25)
    return figure
