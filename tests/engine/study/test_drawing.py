"""Which masks a study shows: from all sources alike, each once, in an order that tells nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import rle
from engine.study.drawing import Item, check_same_objects, draw
from engine.study.sources import Known
from schemas.errors import InputError

known_masks = st.lists(
    st.builds(Known, st.sampled_from("abcd"), st.sampled_from("12345"), st.sampled_from([10.0, 24.0, 60.0])),
    max_size=20,
    unique_by=lambda one: (one.picture, one.object_id),
)


@given(known_masks, known_masks, st.sampled_from(["objects", "pictures"]), st.integers(1, 6), st.integers(0, 3))
def test_what_is_drawn(first: list[Known], second: list[Known], pairs: str, masks: int, seed: int) -> None:
    sources = {"one": first, "two": second}
    try:
        items = draw(sources, pairs=pairs, masks=masks, seed=seed)  # type: ignore[arg-type]
    except InputError:
        items = []
    large = {name: {(m.picture, m.object_id) for m in known if m.short_px >= 24} for name, known in sources.items()}
    units = [{key if pairs == "objects" else key[0] for key in of_source} for of_source in (large["one"], large["two"])]
    common = units[0] & units[1]
    assert bool(items) is bool(common)
    assert len({item.item for item in items}) == len(items)
    for name, of_source in large.items():
        mine = [(item.picture, item.object_id) for item in items if item.source == name]
        there = [key for key in of_source if (key if pairs == "objects" else key[0]) in common]
        assert len(mine) == min(masks, len(there))
        assert set(mine) <= set(there)
    if pairs == "objects":
        units_of = [sorted(item.unit("objects") for item in items if item.source == name) for name in sources]
        assert units_of[0] == units_of[1]


def test_the_same_in_every_run_whatever_the_order_of_the_masks_and_another_by_another_seed() -> None:
    known = [Known("p", str(number), 50) for number in range(30)]
    sources, turned = {"a": known, "b": known}, {"a": known[::-1], "b": known}
    items = draw(sources, pairs="objects", masks=10, seed=1)
    assert draw(turned, pairs="objects", masks=10, seed=1) == items
    assert draw(sources, pairs="objects", masks=10, seed=2) != items
    order = [item.source for item in items]
    assert order != sorted(order)
    assert all(len(item.item) == 16 for item in items)


def test_fewer_masks_are_some_of_more() -> None:
    known = [Known("p", str(number), 50) for number in range(30)]
    few, many = (
        {(item.source, item.object_id) for item in draw({"a": known, "b": known}, pairs="pictures", masks=masks)}
        for masks in (5, 12)
    )
    assert few < many


def test_nothing_in_common_is_one_line() -> None:
    sources = {"a": [Known("p", "1", 50)], "b": [Known("q", "1", 50), Known("p", "2", 10)]}
    with pytest.raises(InputError, match=r"a, b: no object of which each has a mask of 24 px .* ids have to be"):
        draw(sources, pairs="objects", masks=3)
    with pytest.raises(InputError, match=r"no picture of which each has a mask of 24 px .* names of their files"):
        draw(sources, pairs="pictures", masks=3)
    assert len(draw(sources, pairs="pictures", masks=3, shortest_px=10)) == 2


def test_ids_that_name_other_objects_are_found_out() -> None:
    def square(x: int) -> rle.Rle:
        mask = np.zeros((40, 90), dtype=bool)
        mask[5:30, x : x + 20] = True
        return rle.encode(mask)

    items = [Item(f"{source}{n}", source, "p", str(n)) for n in range(3) for source in ("a", "b")]
    places = {"a0": 0, "a1": 30, "a2": 60, "b0": 2, "b1": 31, "b2": 0}
    check_same_objects(items, {name: square(x) for name, x in places.items()})
    with pytest.raises(InputError, match="2 of 3 masks of one id do not touch"):
        check_same_objects(items, {name: square(x) for name, x in (places | {"b1": 60}).items()})
