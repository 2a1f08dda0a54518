from collections.abc import Iterator

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.image_ids import ImageIds, Run
from schemas.tables import Round

IDS = st.lists(st.integers(0, 2**63 - 1), max_size=20)


@given(IDS)
def test_they_are_the_sequence_that_they_were_made_of(ids: list[int]) -> None:
    made = ImageIds(ids)
    assert (list(made), len(made), bool(made)) == (ids, len(ids), bool(ids))
    assert made == ids == made
    assert made == tuple(ids) == made
    assert hash(made) == hash(tuple(ids))
    assert [made[place] for place in range(len(ids))] == ids
    assert made[:3] == ids[:3]
    assert all(type(each) is int for each in made)
    assert ImageIds.of(made) is made
    assert ImageIds(np.array(ids, dtype=np.int64)) == made


@given(IDS, IDS)
def test_other_ids_or_another_order_have_another_key(one: list[int], other: list[int]) -> None:
    assert (ImageIds(one) == ImageIds(other)) == (one == other) == (ImageIds(one).key == ImageIds(other).key)
    assert ImageIds(one) != "ids"


def test_what_lies_elsewhere_is_read_once_it_is_needed() -> None:
    read: list[str] = []

    def load() -> Iterator[Run]:
        read.append("now")
        yield Run("000000", np.array([5, 3]))
        yield Run("000001", np.array([9]))

    ids = ImageIds.stored(3, ImageIds([5, 3, 9]).key, load)
    assert len(ids) == 3
    assert ids == ImageIds([5, 3, 9])
    assert not read
    assert 3 in ids
    assert list(ids) == [5, 3, 9]
    assert read == ["now"]
    assert [run.shard for run in ids.runs() or ()] == ["000000", "000001"]


@given(IDS.map(lambda ids: list(dict.fromkeys(ids))), st.data())
def test_without_some_they_are_in_the_same_order(ids: list[int], data: st.DataObject) -> None:
    some = data.draw(st.lists(st.sampled_from(ids), max_size=9)) if ids else []
    left = [each for each in ids if each not in some]
    runs = [Run(str(start), np.array(ids[start : start + 3])) for start in range(0, len(ids), 3)]
    for given_as in (ImageIds(ids), ImageIds.stored(len(ids), ImageIds(ids).key, lambda: iter(runs))):
        found = given_as.without(some)
        assert found == left == list(found)
        assert (found.runs() is None) == (given_as.runs() is None)
        assert [each for run in found.runs() or () for each in run.ids.tolist()] in ([], left)


def test_a_round_is_equal_whatever_its_ids_were_given_as() -> None:
    assert Round("semi_automatic", 1, (1, 2)) == Round("semi_automatic", 1, [1, 2])
    assert Round("semi_automatic", 1, (1, 2)) != Round("semi_automatic", 1, (2, 1))
