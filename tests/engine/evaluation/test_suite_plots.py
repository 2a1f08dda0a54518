"""What the two figures of a suite show."""

import pytest

from engine.evaluation.suite import SuiteResult
from engine.evaluation.suite_plots import clicks_figure, deltas_figure
from engine.evaluation.suite_report import suite_answers
from engine.figures import drawn
from tests.engine.evaluation.suites import SUITE, result


def test_a_panel_a_peer_with_sets_best_first_and_the_mean_below() -> None:
    found = result()
    figure = deltas_figure(found, suite_answers(SUITE, found))
    assert figure is not None
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["ours − theirs, 1 click", "ours − felzenszwalb, 1 click", "ours − grabcut, box"]
    names = [[label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes]
    assert names == [["a", "b|c", "mean over sets"], ["b|c", "a", "mean over sets"], ["a", "b|c", "mean over sets"]]
    assert [bar.get_width() for bar in figure.axes[0].patches] == pytest.approx([0.2, 0.0, 0.1])
    assert [bar.get_width() for bar in figure.axes[2].patches] == pytest.approx([0.3, -0.4, -0.05])
    assert drawn(figure).startswith(b"\x89PNG")


def test_nobody_to_compare_with_is_no_figure() -> None:
    alone = SuiteResult(("ours",), result().sets, {})
    assert deltas_figure(alone, suite_answers(SUITE, alone)) is None


def test_curves_of_those_who_were_asked_by_clicks() -> None:
    found = result()
    (axes,) = clicks_figure(found, suite_answers(SUITE, found)).axes
    curves = {str(line.get_label()): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()}
    assert list(curves) == ["ours", "theirs", "felzenszwalb"]
    assert curves["ours"] == ([1, 3], pytest.approx([0.4, 0.7]))
    assert curves["felzenszwalb"] == ([1], pytest.approx([0.275]))
    assert axes.get_ylabel() == "mIoU, mean over 2 sets, with 95 % intervals"


def test_names_that_look_like_formulas_are_names() -> None:
    found = result()
    for each in found.sets.values():
        each.scores["$x_{"] = each.scores["theirs"]
    strange = SuiteResult(("ours", "$x_{"), {"a$b": found.sets["a"]}, {})
    figure = deltas_figure(strange, suite_answers(SUITE, strange))
    assert figure is not None
    assert drawn(figure)
    assert drawn(clicks_figure(strange, suite_answers(SUITE, strange)))
