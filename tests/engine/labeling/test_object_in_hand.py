from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.labeling.contexts import Prompt, read_context
from engine.labeling.object_in_hand import SAME_OBJECT_S, TaskPrompts
from tests.engine.labeling.bodies import box, point

ENDINGS = ["accept", "reload", "undo"]


def draft_of(region: dict[str, Any]) -> dict[str, Any]:
    """A point as the editor sends it after a reload: it says no more whether it is positive."""
    return {key: value for key, value in region.items() if key != "is_positive"}


@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from(ENDINGS)), min_size=20, max_size=20))
def test_no_object_is_made_with_the_prompts_of_another(objects: list[tuple[int, str]]) -> None:
    """Objects of one to four clicks, each left as the list says: accepted, or with its points still there."""
    known = TaskPrompts()
    left: list[dict[str, Any]] = []
    accepted: set[str] = set()
    for number, (clicks, ending) in enumerate(objects):
        points = [point(10 + click, number, id=f"{number}-{click}") for click in range(clicks)]
        for upto in range(1, clicks + 1):
            own = known.own(read_context([*left, *points[:upto]]), accepted=accepted, at=float(number))
            assert own.ids == tuple(each["id"] for each in points[:upto])
            known.put(own, region_id=f"region-{number}", at=float(number))
        if ending == "reload":
            left = [*map(draft_of, left), *map(draft_of, points)]
        elif ending == "undo":
            accepted, left = {*accepted, f"region-{number}"}, [*left, *points]


def test_a_box_of_long_ago_is_another_objects() -> None:
    known = TaskPrompts()
    first, second, third = (read_context([box(1, 1, 9, 9, id=each)]) for each in "abc")
    known.put(first, region_id="", at=0.0)
    both = Prompt(boxes=first.boxes + second.boxes)
    assert known.own(both, accepted=(), at=SAME_OBJECT_S) == both
    known.put(both, region_id="", at=SAME_OBJECT_S)
    late = Prompt(boxes=second.boxes + third.boxes)
    assert known.own(late, accepted=(), at=2 * SAME_OBJECT_S + 0.1) == third


def test_who_goes_back_to_prompts_gets_them_back() -> None:
    known = TaskPrompts()
    one = read_context([point(1, 1, id="p")])
    known.put(one, region_id="r", at=0.0)
    assert known.own(one, accepted={"r"}, at=1.0) == one


def test_without_an_answer_nothing_is_accepted() -> None:
    known = TaskPrompts()
    one, two = point(1, 1, id="p"), point(2, 2, id="q")
    known.put(read_context([one]), region_id="", at=0.0)
    assert known.own(read_context([one, two]), accepted={""}, at=1.0).ids == ("p", "q")
