"""The figure of an ablation."""

import pytest

from engine.evaluation.ablation_plots import ablation_figure, places_of
from engine.evaluation.ablation_report import Curve, Point, lines_of
from engine.figures import drawn
from tests.engine.evaluation.test_ablation_report import CURVE, SUITE, result

DATA = Curve("data", "Share", (Point("0.1", 0.1, ("m0",), 1, 2), Point("1", 1.0, ("s0",), 2, 3)))


def test_a_panel_a_curve_and_a_line_a_number_of_clicks_with_intervals() -> None:
    lines = [lines_of(SUITE, result(), curve) for curve in (CURVE, DATA)]
    figure = ablation_figure([CURVE, DATA], lines, sets=2)
    stages, data = figure.axes
    assert [axes.get_title() for axes in (stages, data)] == ["Stages", "Share"]
    assert (stages.get_xscale(), data.get_xscale()) == ("linear", "log")
    assert stages.get_ylabel() == "mIoU, mean over 2 sets, with 95 % intervals"
    assert len(stages.containers) == 2  # 1 and 3 clicks; the best of three is in the table
    line = stages.containers[0].lines[0]  # type: ignore[attr-defined]
    assert list(line.get_xdata()) == [0, 1, 2]
    assert list(line.get_ydata()) == pytest.approx([0.3, 0.6, 0.25])
    assert [label.get_text() for label in data.get_xticklabels()] == ["0.1", "1"]
    legend = data.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["1 click", "3 clicks"]
    assert drawn(figure) == drawn(ablation_figure([CURVE, DATA], lines, sets=2))


def test_one_set_is_no_mean() -> None:
    figure = ablation_figure([DATA], [lines_of(SUITE, result(), DATA)], sets=1)
    assert figure.axes[0].get_ylabel() == "mIoU, with 95 % intervals"


def test_numbers_stand_at_their_place_and_names_one_beside_the_other() -> None:
    assert places_of(DATA) == [0.1, 1.0]
    assert places_of(Curve("points", "", DATA.points)) == [0.1, 1.0]
    assert places_of(Curve("encoder", "", DATA.points)) == [0, 1]
