"""Points, changes and the page of an ablation, by hand."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from engine.evaluation.ablation_report import (
    Curve,
    Point,
    ablation_markdown,
    ablation_values,
    is_below,
    lines_of,
)
from engine.evaluation.bootstrap import bootstrap_difference, bootstrap_mean, bootstrap_runs
from engine.evaluation.suite import MeasuredSet, SuiteResult
from engine.quality.audit import Estimate
from schemas.suite import Suite, SuiteSet
from tests.engine.evaluation.suites import scores

SUITE = Suite(sets={"a": SuiteSet(coco=("a.json",))}, models=("start",), clicks=(1, 3), boxes=False, output="out")
CURVE = Curve(
    "stages",
    "Stages",
    (
        Point("start model", 0, ("start",), None, None),
        Point("manual", 1, ("m0", "m1"), 3, 1200),
        Point("+ semi-automatic", 2, ("s0", "s1"), 6, 2400),
    ),
)
ONE = {"start": [0.2, 0.4], "m0": [0.5, 0.5], "m1": [0.7, 0.7], "s0": [0.3, 0.2], "s1": [0.3, 0.2]}


def result() -> SuiteResult:
    of_peers = {
        name: {"1": scores(ious, [iou + 0.1 for iou in ious]), "3": scores([iou + 0.2 for iou in ious])}
        for name, ious in ONE.items()
    }
    return SuiteResult(tuple(ONE), {"a": MeasuredSet(2, 1, "all masks", of_peers)}, {"gone": "gone.json: no such file"})


def test_a_point_is_the_mean_over_its_models_and_changes_are_paired() -> None:
    one, oracle, three = lines_of(SUITE, result(), CURVE)
    assert [line.question.title for line in (one, oracle, three)] == ["1 click", "1 click, oracle", "3 clicks"]
    assert [found.value for found in one.miou] == pytest.approx([0.3, 0.6, 0.25])
    assert [found.value for found in oracle.miou] == pytest.approx([0.4, 0.7, 0.35])
    assert [found.value for found in three.change] == pytest.approx([0.3, -0.35])
    assert (one.miou[0].low, one.miou[0].high) == pytest.approx(bootstrap_mean(np.array([0.2, 0.4])))
    assert (one.miou[1].low, one.miou[1].high) == (0.5, 0.7)  # of either model alone
    manual, semi = (np.array([ONE[name] for name in names]) for names in (("m0", "m1"), ("s0", "s1")))
    assert (one.change[1].low, one.change[1].high) == bootstrap_runs([semi], [manual])
    assert (one.change[1].low, one.change[1].high) == pytest.approx((-0.5, -0.2))


@given(st_numpy.arrays(np.float64, (3, 8), elements=st.floats(0, 1, width=16)))
def test_a_change_is_the_difference_of_the_two_points(ious: np.ndarray) -> None:
    peers = {name: {"1": scores(list(row))} for name, row in zip("abc", ious, strict=True)}
    found = SuiteResult(("a", "b", "c"), {"a": MeasuredSet(8, 1, "", peers)}, {})
    curve = Curve("data", "Data", tuple(Point(name, at, (name,), 1, 1) for at, name in enumerate("abc")))
    (line, _) = lines_of(SUITE.model_copy(update={"clicks": (1,)}), found, curve)
    for change, before, after in zip(line.change, line.miou, line.miou[1:], strict=False):
        assert change.value == pytest.approx(after.value - before.value)
        assert change.low <= change.value + 1e-9
        assert change.value <= change.high + 1e-9


@pytest.mark.parametrize(("high", "below"), [(-0.001, True), (0.0, False), (0.2, False)])
def test_below_is_what_lies_below_0_as_a_whole(high: float, below: bool) -> None:
    assert is_below(Estimate(-0.1, -0.2, high)) is below


def test_single_models_have_the_paired_interval_of_their_masks() -> None:
    alone = Curve("stages", "Stages", tuple(Point(name, 0, (name,), 1, 1) for name in ("start", "s0")))
    one = lines_of(SUITE, result(), alone)[0]
    before, after = np.array(ONE["start"]), np.array(ONE["s0"])
    assert (one.change[0].low, one.change[0].high) == pytest.approx(bootstrap_difference(before, after))


def test_the_page_has_both_tables_and_says_what_is_worse() -> None:
    found = result()
    drawn = [lines_of(SUITE, found, CURVE)]
    page = ablation_markdown(found, [CURVE], drawn, facts=["Workspace w."])
    assert page.startswith("# Ablation\n\n- Workspace w.\n- Measured on a: 2 masks on 1 picture.\n")
    assert "- gone: left out: gone.json: no such file" in page
    assert "| Masks of | Pictures | Masks | 1 click | 1 click, oracle | 3 clicks |" in page
    assert "| start model | - | - | 0.300 (0.200 to 0.400) |" in page
    assert "| manual | 3 | 1,200 | 0.600 (0.500 to 0.700) |" in page
    assert "| manual → + semi-automatic | **-0.350** (-0.500 to -0.200) |" in page
    worse = "+ semi-automatic at 1 click; + semi-automatic at 1 click, oracle; + semi-automatic at 3 clicks"
    assert f"Below the one before at 95 %: {worse}. Above it: 3 of 6." in page


def test_a_curve_of_one_point_has_no_changes() -> None:
    alone = Curve("encoder", "Image encoder", CURVE.points[:1])
    page = ablation_markdown(result(), [alone], [lines_of(SUITE, result(), alone)], facts=[])
    assert "| Start model | Pictures |" in page
    assert "Change" not in page.replace("Changes are from", "")
    better = Curve("points", "Points", CURVE.points[:2])
    page = ablation_markdown(result(), [better], [lines_of(SUITE, result(), better)], facts=[])
    assert "None is below the one before at 95 %. Above it: 3 of 3." in page


def test_values_say_everything_in_json() -> None:
    found = result()
    values = json.loads(json.dumps(ablation_values(SUITE, found, [CURVE], [lines_of(SUITE, found, CURVE)])))
    assert values["sets"] == {"a": {"masks": 2, "pictures": 1, "note": "all masks"}}
    assert values["left_out"] == {"gone": "gone.json: no such file"}
    stages = values["experiments"]["stages"]
    assert stages["points"][1] == {"label": "manual", "x": 1, "images": 3, "masks": 1200, "models": ["m0", "m1"]}
    first = stages["lines"][0]
    assert (first["prompt"], first["answer"]) == ("1", "confident")
    assert first["miou"][0]["value"] == pytest.approx(0.3)
    assert [each["below"] for each in first["change"]] == [False, True]
