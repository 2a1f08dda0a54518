"""Means over sets, paired differences and the page, by hand."""

import json

import pytest

from engine.evaluation.bootstrap import bootstrap_difference, bootstrap_mean
from engine.evaluation.suite import SuiteResult
from engine.evaluation.suite_report import (
    excludes_zero,
    mean_table,
    suite_answers,
    suite_lines,
    suite_markdown,
    suite_values,
)
from engine.quality.audit import Estimate
from tests.engine.evaluation.suites import SUITE, result


def test_questions_are_clicks_then_boxes_with_the_oracle_where_there_are_three_masks() -> None:
    titles = [each.question.title for each in suite_answers(SUITE, result())]
    assert titles == ["1 click", "1 click, oracle", "3 clicks", "box", "box, oracle"]
    without = SUITE.model_copy(update={"boxes": False, "clicks": (3,)})
    assert [each.question.title for each in suite_answers(without, result())] == ["3 clicks"]


def test_sets_count_alike_in_the_mean_and_differences_are_paired() -> None:
    found = result()
    one, oracle, three, box, _ = suite_answers(SUITE, found)
    of_a = one.sets["a"]
    ours, theirs = (found.sets["a"].scores[peer]["1"].confident for peer in ("ours", "theirs"))
    assert of_a.miou["ours"].value == pytest.approx(0.6)
    assert (of_a.miou["ours"].low, of_a.miou["ours"].high) == pytest.approx(bootstrap_mean(ours))
    difference = of_a.better_by["theirs"]
    assert difference.value == pytest.approx(0.2)
    assert (difference.low, difference.high) == pytest.approx(bootstrap_difference(theirs, ours))
    assert excludes_zero(difference)
    assert one.mean.miou["ours"].value == pytest.approx((0.6 + 0.2) / 2)
    assert one.mean.better_by["theirs"].value == pytest.approx(0.1)
    assert oracle.mean.miou["ours"].value == pytest.approx((0.7 + 0.4) / 2)
    assert list(one.mean.miou) == ["ours", "theirs", "felzenszwalb"]
    assert list(three.mean.better_by) == ["theirs"]
    assert list(box.mean.better_by) == ["theirs", "grabcut"]
    assert box.mean.better_by["grabcut"].value == pytest.approx(((0.8 - 0.5) + (0.5 - 0.9)) / 2)


@pytest.mark.parametrize(("low", "high", "excluded"), [(0.1, 0.2, True), (-0.2, -0.1, True), (0, 0.1, False)])
def test_an_interval_that_touches_0_does_not_exclude_it(low: float, high: float, excluded: bool) -> None:
    assert excludes_zero(Estimate(0.0, low, high)) is excluded


def test_values_say_everything_in_json() -> None:
    found = result()
    values = json.loads(json.dumps(suite_values(SUITE, found, suite_answers(SUITE, found))))
    assert values["sets"]["b|c"] == {"masks": 1, "pictures": 1, "note": "all masks, of 5 px or more"}
    assert values["left_out"] == {"gone": "gone.json: no such file"}
    first = values["results"][0]
    assert (first["prompt"], first["answer"]) == ("1", "confident")
    assert first["mean"]["miou"]["theirs"]["miou"] == pytest.approx(0.3)
    better = first["sets"]["a"]["better_by"]["theirs"]
    assert (better["difference"], better["excludes_zero"]) == (pytest.approx(0.2), True)
    assert first["sets"]["b|c"]["better_by"]["theirs"]["excludes_zero"] is False


def test_the_page_has_the_mean_and_a_table_a_question() -> None:
    found = result()
    answers = suite_answers(SUITE, found)
    columns, rows = mean_table(found, answers)
    assert columns == ("Prompt", "ours", "theirs", "felzenszwalb", "grabcut")
    assert rows[2][0] == "3 clicks"
    assert rows[2][3:] == ("-", "-")
    page = suite_markdown(SUITE, found, answers)
    assert "| b\\|c | 1 | 1 | all masks, of 5 px or more |" in page
    assert "| Set | ours | theirs | felzenszwalb | ours − theirs | ours − felzenszwalb |" in page
    assert "| **+0.200** (+0.100 to +0.300) |" in page
    assert "| +0.000 (+0.000 to +0.000) |" in page
    assert "Differences are of ours from the other, on the same masks; bold where the interval excludes 0." in page
    assert "- gone: left out: gone.json: no such file" in page
    assert "- b|c: a single mask, whose interval says nothing." in page
    assert page.count("mean over sets |") == len(answers)
    widths = {line.count(" | ") for line in page.split("## 3 clicks")[1].split("## ")[0].splitlines() if line}
    assert widths == {3}


def test_lines_say_where_the_first_click_is() -> None:
    assert "farthest from the boundary" in " ".join(suite_lines(SUITE, result()))
    assert "any pixel of the mask" in " ".join(
        suite_lines(SUITE.model_copy(update={"first_point": "random"}), result())
    )


def test_one_model_alone_is_compared_with_nothing() -> None:
    found = result()
    alone = SuiteResult(("ours",), found.sets, {})
    answers = suite_answers(SUITE, alone)
    assert all(each.mean.better_by == {} for each in answers)
    assert "Differences" not in suite_markdown(SUITE, alone, answers)


def test_a_mean_is_named_where_there_is_one() -> None:
    several, alone = result(), result()
    del alone.sets["b|c"]
    assert suite_lines(SUITE, several)[0].startswith("mIoU, mean over 2 sets; in brackets")
    assert suite_lines(SUITE, alone)[0].startswith("mIoU of one set; in brackets")
