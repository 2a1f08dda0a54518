"""Means, intervals and paired differences of a study, by hand and against scipy."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from engine.evaluation.bootstrap import bootstrap_mean
from engine.study.analysis import DRAWS, analyse, study_markdown
from engine.study.ratings import Rating
from schemas.errors import WaitError
from tests.engine.study.studies import ratings, study

OURS, THEIRS = [8, 9, 10, 6], [5, 7, 10, 1]


def test_the_numbers_by_hand() -> None:
    found = analyse(study(), ratings({"ours": OURS, "theirs": THEIRS}))
    ours, theirs = found.sources["ours"], found.sources["theirs"]
    assert (ours.rated, ours.mean.value, theirs.mean.value) == (4, 8.25, 5.75)
    assert ours.mean.low <= 8.25 <= ours.mean.high
    assert ours.histogram == (0, 0, 0, 0, 0, 1, 0, 1, 1, 1)
    assert ours.yes == {"object": 1.0, "boundary": 0.25}
    assert ours.seconds == 21.5
    (difference,) = found.differences
    differences = np.array(OURS) - np.array(THEIRS)
    assert (difference.first, difference.second, difference.units) == ("ours", "theirs", 4)
    assert difference.mean.value == 2.5
    assert (difference.mean.low, difference.mean.high) == bootstrap_mean(differences, draws=DRAWS)
    assert difference.p == pytest.approx(stats.ttest_rel(OURS, THEIRS).pvalue)
    assert (found.raters, found.skipped) == (1, 0)


def test_pairs_of_pictures_take_the_mean_over_the_masks_of_each() -> None:
    (difference,) = analyse(study(pairs="pictures"), ratings({"ours": OURS, "theirs": THEIRS})).differences
    assert difference.units == 2
    assert difference.mean.value == pytest.approx(((8.5 - 6) + (8 - 5.5)) / 2)
    assert difference.p is None  # both differences are 2.5


def test_what_is_not_rated_does_not_count_and_several_people_are_a_mean() -> None:
    given = ratings({"ours": [8, None, 4], "theirs": [5, 7]}) + ratings({"ours": [9]}, annotator="b")
    found = analyse(study(people=2), given)
    ours = found.sources["ours"]
    assert (ours.rated, ours.mean.value) == (2, (8.5 + 4) / 2)
    assert sum(ours.histogram) == 2
    assert (found.raters, found.skipped) == (2, 1)
    (difference,) = found.differences
    assert (difference.units, difference.mean.value, difference.p) == (1, 3.5, None)
    alone = analyse(study(), ratings({"ours": [8]}))
    assert (list(alone.sources), alone.differences) == (["ours"], ())
    apart = analyse(study(), [*ratings({"ours": [8]}), Rating("theirs-1", "a", 1, 5, {}, None)])
    assert apart.differences == ()


def test_without_a_rating_there_is_nothing_to_say() -> None:
    with pytest.raises(WaitError, match=r"study 's': nothing is rated yet; run sam-engine study collect"):
        analyse(study(), ratings({"ours": [None]}))


@given(st.lists(st.tuples(st.integers(1, 10), st.integers(1, 10)), min_size=4, max_size=4))
def test_turned_round_all_is_turned_round(pairs: list[tuple[int, int]]) -> None:
    ours, theirs = [list(column) for column in zip(*pairs, strict=True)]
    (there,) = analyse(study(), ratings({"ours": ours, "theirs": theirs}), draws=200).differences
    (back,) = analyse(study(), ratings({"ours": theirs, "theirs": ours}), draws=200).differences
    assert there.mean.value == pytest.approx(-back.mean.value)
    assert there.mean.low <= there.mean.value + 1e-9
    assert there.mean.value <= there.mean.high + 1e-9
    assert (there.p is None) == (back.p is None)


def test_the_page_and_the_json() -> None:
    found = analyse(study(), ratings({"ours": OURS, "theirs": THEIRS}))
    page = study_markdown(found)
    assert page.startswith("# Study s\n\n- 8 of 8 masks are rated, by 1 person; 0 of 8 ratings were skipped.\n")
    assert "![How many masks have which rating](study-s.png)" in page
    columns = "| Source | Masks | Mean rating | Rated 7 or better | Valid object | Clean boundary | Matches the point |"
    assert columns in page
    assert "| ours | 4 | 8.250 (" in page
    assert "| 75% | 100% | 25% | - | 22 |" in page
    assert "| Difference | Objects | Mean | p |" in page
    assert "| ours − theirs | 4 | **+2.500** (" in page
    values = json.loads(json.dumps(found.to_dict()))
    assert values["sources"]["ours"]["mean"]["value"] == 8.25
    assert values["differences"][0]["mean"]["value"] == 2.5
    alone = study_markdown(analyse(study(), ratings({"ours": OURS})))
    assert "Difference |" not in alone
