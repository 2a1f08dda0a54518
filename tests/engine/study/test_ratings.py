"""Ratings as Label Studio gives them back: whatever people did, read again, in another order or twice."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.study.ratings import Rating, item_of, merged, rating_of, read_ratings, task_data

ITEMS = {"i1", "i2"}


def region(name: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"id": name, "type": kind, "from_name": name, "to_name": "image", "value": value}


def rated(rating: object, *, item: str = "i1", number: int = 1, by: object = 3, **answers: str) -> dict[str, Any]:
    result = [region("rating", "choices", {"choices": [rating]})]
    result += [region(name, "choices", {"choices": [answer]}) for name, answer in answers.items()]
    annotation = {"id": number, "result": result, "was_cancelled": False, "lead_time": 12.5, "completed_by": by}
    return {"id": number, "data": task_data(item, "s", "/x.jpg"), "annotations": [annotation]}


def read(*tasks: dict[str, Any]) -> Any:
    return read_ratings(tasks, study="s", items=ITEMS)


def test_a_rating_with_its_answers() -> None:
    task = rated("7", object="yes", boundary="no")
    task["annotations"][0]["result"].append(region("comment", "textarea", {"text": [" a  hole ", "here"]}))
    (found,) = read(task).ratings
    assert found == Rating("i1", "label_studio:3", 1, 7, {"object": True, "boundary": False}, 12.5, "a hole here")
    assert rating_of(json.loads(json.dumps(found.to_dict()))) == found


def test_a_skip_is_a_rating_of_none_and_people_are_numbers() -> None:
    task = rated("7", by={"id": 4, "email": "a@b"})
    task["annotations"][0] |= {"was_cancelled": True, "lead_time": "long"}
    assert read(task).ratings == (Rating("i1", "label_studio:4", 1, None, {}, None),)


@pytest.mark.parametrize("rating", ["0", "11", 7, None, "5.5"])
def test_what_is_no_rating_is_counted(rating: object) -> None:
    found = read(rated(rating))
    assert (found.ratings, found.unreadable) == ((), 1)


def test_other_tasks_are_strangers() -> None:
    other, hand = rated("5", item="i9"), {"id": 3, "data": {"image": "x"}, "annotations": []}
    found = read(rated("5"), other, hand, rated("5") | {"data": task_data("i1", "another", "")})
    assert (len(found.ratings), found.strangers) == (1, 3)
    assert item_of(rated("5"), "s") == "i1"
    assert item_of({"data": None}, "s") is None


def test_a_person_counts_once_a_mask_and_two_people_twice() -> None:
    found = read(
        rated("5", number=2), rated("8", number=1), rated("6", number=3, by=9), rated("1", item="i2", number=4)
    )
    assert [(one.item, one.annotator, one.rating) for one in found.ratings] == [
        ("i1", "label_studio:3", 5),
        ("i1", "label_studio:9", 6),
        ("i2", "label_studio:3", 1),
    ]


ratings = st.lists(
    st.builds(
        Rating,
        st.sampled_from(["i1", "i2"]),
        st.sampled_from(["a", "b"]),
        st.integers(1, 5),
        st.integers(1, 10),
        st.just({}),
        st.none(),
    ),
    unique_by=lambda one: (one.annotation, one.item, one.annotator),
)


@given(ratings, st.randoms(use_true_random=False))
def test_merging_again_or_in_another_order_changes_nothing(found: list[Rating], random: Any) -> None:
    once = merged((), found)
    assert merged(once, found) == merged(once, ()) == once
    shuffled = list(found)
    random.shuffle(shuffled)
    assert merged((), shuffled) == once
    assert {(one.item, one.annotator) for one in once} == {(one.item, one.annotator) for one in found}


def test_what_was_kept_stays_and_a_change_counts() -> None:
    kept = [Rating("i1", "a", 1, 3, {}, None), Rating("i2", "a", 2, 4, {}, None)]
    changed = Rating("i1", "a", 1, 9, {}, None)
    assert merged(kept, [changed]) == (changed, kept[1])
