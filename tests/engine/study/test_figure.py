"""The figure of a study."""

import pytest

from engine.figures import drawn
from engine.study.analysis import analyse
from engine.study.figure import ratings_figure
from tests.engine.study.studies import ratings, study


def test_bars_are_the_shares_of_the_masks() -> None:
    found = analyse(study(), ratings({"ours": [8, 9, 10, 10], "theirs": [1, 1, 1, 2]}))
    figure = ratings_figure(found)
    (axes,) = figure.axes
    ours, theirs = axes.containers
    assert [bar.get_height() for bar in ours] == [0, 0, 0, 0, 0, 0, 0, 0.25, 0.25, 0.5]  # type: ignore[attr-defined]
    assert [bar.get_height() for bar in theirs][:2] == [0.75, 0.25]  # type: ignore[attr-defined]
    middles = [bar.get_x() + bar.get_width() / 2 for bar in ours]  # type: ignore[attr-defined]
    assert middles == pytest.approx([rating - 0.2 for rating in range(1, 11)])
    legend = axes.get_legend()
    assert legend is not None
    assert legend.get_texts()[0].get_text().startswith("ours: 9.25 (")
    assert drawn(figure) == drawn(ratings_figure(found))
