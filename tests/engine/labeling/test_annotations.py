import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.labeling.annotations import read_task
from engine.labeling.regions import scale_down, scale_up
from engine.labeling.tool import as_work
from schemas.mask import Prompt
from tests.engine.labeling.label_studio import (
    FULL,
    SHOWN,
    annotation,
    prompted,
    published,
    rectangle,
    region,
    task,
)

# One pixel off the grid of the shown picture: scaled down and up again it would not be the same.
ODD = rectangle(3, 5, 31, 21)
OTHER = rectangle(40, 20, 56, 36)
EVEN = rectangle(4, 4, 20, 20)


def test_untouched_edited_deleted_and_new_masks_are_told_apart() -> None:
    record = published(ODD, OTHER, EVEN)
    found = read_task(
        task(
            annotation(
                region(ODD, "prefilled-0"),
                region(rectangle(40, 20, 50, 36), "prefilled-1"),
                region(EVEN, "new", **prompted(10, 12, points=2)),
                region(rectangle(0, 30, 10, 40), "drawn"),
            )
        ),
        record,
    )
    assert found.done
    assert [mask.mask.origin for mask in found.masks] == ["automatic", "automatic_corrected", "manual", "manual"]
    assert found.masks[0].mask.rle == ODD, "nobody touched it: its pixels are those of the full picture"
    assert found.masks[1].mask.rle == rectangle(40, 20, 50, 36)
    assert [mask.mask.clicks for mask in found.masks] == [0, 0, 2, 0]
    assert found.masks[2].mask.prompt == Prompt(points=((30.0, 10.0, 1),) * 2), "percent of the full picture"
    assert [one.region_id for one in found.deleted] == ["prefilled-2"]
    assert found.annotator == "label_studio:3"


def test_origin_does_not_depend_on_what_the_browser_says() -> None:
    """The same pixels under the same id are the same mask, whatever `origin` says."""
    touched = region(ODD, "prefilled-0") | {"origin": "prediction-changed"}
    assert read_task(task(annotation(touched)), published(ODD)).masks[0].mask.origin == "automatic"


def test_time_is_shared_out() -> None:
    """60 s: 12 and 8 s from first to last prompt, the other 40 s for the two that were drawn or edited by hand."""
    record = published(ODD, OTHER)
    found = read_task(
        task(
            annotation(
                region(ODD, "prefilled-0"),
                region(rectangle(40, 20, 50, 36), "prefilled-1"),
                region(EVEN, "a", **prompted(100, 112, points=3)),
                region(rectangle(22, 22, 30, 30), "b", **prompted(120, 128)),
                region(rectangle(0, 30, 10, 40), "drawn"),
            )
        ),
        record,
    )
    assert [mask.mask.seconds for mask in found.masks] == [0, 20, 12, 8, 20]
    assert not any(mask.over_limit for mask in found.masks)


def test_masks_from_prompts_take_their_own_time_alone() -> None:
    """Not a share of the time for looking, which makes a mask of one click as dear as one of many."""
    regions = [region(EVEN, "a", **prompted(100, 131)), region(OTHER, "b", **prompted(140, 140))]
    found = read_task(task(annotation(*regions)), published())
    assert [mask.mask.seconds for mask in found.masks] == [31, 0]
    assert [mask.over_limit for mask in found.masks] == [True, False]
    assert [mask.timed for mask in found.masks] == ["prompts"] * 2
    assert [event.seconds for event in as_work(found).events if event.kind == "look"] == [29]


def test_the_page_tells_each_mask_s_own_time() -> None:
    """From the first press to the accept or the last stroke, another mask's turn left out; the rest is for looking."""
    record = published(ODD, OTHER)
    found = read_task(
        task(
            annotation(
                region(ODD, "prefilled-0", acts=[[10.0, 12.0]]),
                region(rectangle(40, 20, 50, 36), "prefilled-1", acts=[[20.0, 24.5]]),
                region(EVEN, "a", **prompted(100, 100), acts=[[99.9, 103.9]]),
                region(rectangle(0, 30, 10, 40), "drawn", acts=[[30.0, 33.0], [50.0, 52.0]]),
            )
        ),
        record,
    )
    assert [mask.mask.seconds for mask in found.masks] == pytest.approx([0, 4.5, 4, 5])
    assert [mask.timed for mask in found.masks] == ["nothing", "acts", "acts", "acts"], "a stroke that was undone"
    events = as_work(found).events
    assert sum(event.seconds for event in events) == pytest.approx(60)
    assert [event.detail["timed"] for event in events if event.kind != "look"] == [mask.timed for mask in found.masks]


@pytest.mark.parametrize(
    "acts", [[], None, 3, "ab", [[1]], [[1, 2, 3]], [["a", 2]], [[5, 4]], [[math.nan, 1]], [[0, math.inf]], [None]]
)
def test_acts_that_say_nothing_count_for_nothing(acts: object) -> None:
    found = read_task(task(annotation(region(EVEN, "a", **prompted(100, 107), acts=acts))), published())
    assert (found.masks[0].mask.seconds, found.masks[0].timed) == (7, "prompts")
    drawn = read_task(task(annotation(region(EVEN, "a", acts=acts))), published())
    assert (drawn.masks[0].mask.seconds, drawn.masks[0].timed) == (60, "share")


@given(
    st.floats(0, 500),
    st.lists(st.tuples(st.booleans(), st.floats(0, 60)), min_size=1, max_size=5),
)
def test_no_second_is_lost_or_counted_twice(lead_time: float, made: list[tuple[bool, float]]) -> None:
    regions = [
        region(rectangle(10 * n, 0, 10 * n + 8, 8), f"r{n}", **(prompted(50, 50 + spent) if by_prompt else {}))
        for n, (by_prompt, spent) in enumerate(made)
    ]
    found = read_task(task(annotation(*regions, lead_time=lead_time)), published())
    prompting = sum(spent for by_prompt, spent in made if by_prompt)
    assert sum(event.seconds for event in as_work(found).events) == pytest.approx(max(lead_time, prompting), abs=0.01)


def test_prompts_that_were_never_accepted_are_counted_and_dropped() -> None:
    left = [{"id": "k", "type": "keypointlabels"}, {"id": "b", "type": "rectanglelabels"}]
    found = read_task(task(annotation(region(EVEN, "a"), *left)), published())
    assert found.unaccepted_prompts == 2
    assert len(found.masks) == 1
    assert found.done


def test_a_skipped_task_is_a_skipped_image() -> None:
    found = read_task(task(annotation(region(EVEN, "a"), was_cancelled=True, lead_time=4.0)), published(ODD))
    assert found.done
    assert found.skipped
    assert found.masks == ()
    assert found.deleted == (), "who skips an image says nothing about its masks"
    assert found.lead_time_s == 4.0


def test_nobody_was_there_yet() -> None:
    for nothing in ({}, task(), {"id": 1, "annotations": None}):
        assert not read_task(nothing, published(ODD)).done


def test_the_last_of_several_annotations_counts() -> None:
    early = annotation(region(EVEN, "a"), updated_at="2026-01-01T10:00:00Z", completed_by={"id": 1})
    late = annotation(region(OTHER, "b"), updated_at="2026-01-01T11:00:00Z", completed_by={"id": 2})
    skipped = annotation(was_cancelled=True, updated_at="2026-01-01T12:00:00Z")
    for order in ([early, late, skipped], [skipped, late, early]):
        found = read_task(task(*order), published())
        assert found.masks[0].mask.rle == OTHER
        assert found.annotator == "label_studio:2"
        assert len(found.others) == 2
        (kept,) = (one for one in found.others if not one.skipped)
        assert kept.masks[0].mask.rle == EVEN, "what does not count is not lost"
        assert kept.annotator == "label_studio:1"


def test_an_image_for_two_people_waits_for_the_second() -> None:
    for_two = replace(published(), people=2)
    first, again, second = (
        annotation(region(EVEN, "a"), id=number, completed_by=who, updated_at=f"2026-01-01T1{number}:00:00Z")
        for number, who in ((0, 1), (1, 1), (2, 2))
    )
    assert read_task(task(first), for_two).missing_people == 1
    assert read_task(task(first), for_two).done, "what is there counts if the round is closed before"
    assert read_task(task(first, again), for_two).missing_people == 1, "the same person in two tabs is no second one"
    assert read_task(task(first, second), for_two).missing_people == 0
    skipped = second | {"was_cancelled": True}
    assert read_task(task(first, skipped), for_two).missing_people == 0


def test_two_tabs_of_one_person_leave_both_works() -> None:
    first = annotation(region(EVEN, "a"), id=1, updated_at="2026-01-01T10:00:00Z", lead_time=20.0)
    second = annotation(region(OTHER, "b"), id=2, updated_at="2026-01-01T11:00:00Z")
    found = read_task(task(first, second), published())
    assert found.masks[0].mask.rle == OTHER
    (kept,) = found.others
    assert (kept.annotator, kept.masks[0].mask.rle, kept.lead_time_s) == (found.annotator, EVEN, 20.0)


@pytest.mark.parametrize("lead_time", [-5.0, 0.0, 10.0])
def test_a_clock_that_was_set_back_makes_no_time_negative(lead_time: float) -> None:
    back = region(EVEN, "a", **prompted(1000.0, 400.0))
    found = read_task(task(annotation(back, region(OTHER, "b"), lead_time=lead_time)), published())
    assert found.done
    assert found.lead_time_s == max(0.0, lead_time)
    assert sum(mask.mask.seconds for mask in found.masks) == found.lead_time_s
    assert all(mask.mask.seconds >= 0 for mask in found.masks)


def test_masks_of_another_size_are_a_problem_and_nothing_else_is_lost() -> None:
    other = region(EVEN, "a") | {"original_width": 31}
    found = read_task(task(annotation(other, region(OTHER, "b"))), published(ODD))
    assert not found.done
    assert len(found.masks) == 1
    assert found.deleted == (), "not before the problem is solved"
    assert "31x20 px, and the one that was published has 30x20" in found.problems[0]


def test_a_damaged_mask() -> None:
    broken = region(EVEN, "a")
    broken["value"]["rle"] = broken["value"]["rle"][:9]
    assert "cut off" in read_task(task(annotation(broken)), published()).problems[0]


def test_another_labelling_config() -> None:
    polygon = {"id": "p", "type": "polygonlabels", "original_width": 30, "original_height": 20, "value": {}}
    found = read_task(task(annotation(polygon)), published())
    assert not found.done
    assert "of type polygonlabels" in found.problems[0]
    assert "\n" not in found.problems[0]


def test_relations_between_regions_do_not_matter() -> None:
    assert read_task(task(annotation({"from_id": "a", "to_id": "b", "direction": "right"})), published()).done


def test_a_mask_that_was_rubbed_out_is_deleted() -> None:
    empty = region(rectangle(0, 0, 0, 0), "prefilled-0")
    found = read_task(task(annotation(empty)), published(ODD))
    assert found.masks == ()
    assert [one.region_id for one in found.deleted] == ["prefilled-0"]


def test_a_region_that_comes_twice_counts_once() -> None:
    found = read_task(task(annotation(region(EVEN, "a"), region(EVEN, "a"))), published())
    assert len(found.masks) == 1


def test_a_thousand_masks_on_one_task() -> None:
    regions = [region(rectangle(n % 50, n % 30, n % 50 + 8, n % 30 + 8), f"r{n}") for n in range(1000)]
    assert len(read_task(task(annotation(*regions)), published()).masks) == 1000


def test_a_new_mask_comes_back_at_full_size() -> None:
    found = read_task(task(annotation(region(ODD, "a"))), published())
    assert (found.masks[0].mask.rle.height, found.masks[0].mask.rle.width) == FULL
    assert found.masks[0].mask.rle == scale_up(scale_down(ODD, SHOWN), FULL)
    assert math.isnan(found.masks[0].first_prompt_s)
