"""Keys of work: equal inputs, equal keys, whatever they are made of, and the same as ever."""

import enum
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.keys import canonical_text, content_key, work_key
from schemas.content_ids import content_id

finite = st.floats(allow_nan=False)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=10,
)


def by_repr(*parts: object) -> str:
    """The key as it was made before canonical texts."""
    return f"{content_id(repr(parts).encode()):016x}"


@given(st.lists(plain))
def test_keys_of_plain_values_are_those_of_old_workspaces(parts: list[object]) -> None:
    assert content_key(*parts) == by_repr(*parts)


@pytest.mark.parametrize(
    ("parts", "key"),
    [
        (("training", 0, "assisted_manual", 1), "51b2445523340e13"),
        ((1, "semi_automatic", 2, [5, 3], "97223ad15f3543cd", 0.95, None, b"386O"), "4bb49a496938af1a"),
    ],
)
def test_keys_never_change(parts: tuple[object, ...], key: str) -> None:
    """Seeds of trainings are made of them, and committed shards carry them."""
    assert content_key(*parts) == key


@given(st.integers(-(2**63), 2**63 - 1), finite, st.booleans(), st.text())
def test_numbers_of_numpy_are_those_of_python(whole: int, real: float, truth: bool, text: str) -> None:
    of_numpy = (np.int64(whole), np.float64(real), np.bool_(truth), np.str_(text.rstrip("\0")))
    assert content_key(*of_numpy) == content_key(whole, real, truth, text.rstrip("\0"))
    assert content_key([of_numpy], {np.int64(whole): of_numpy}) == content_key(
        [(whole, real, truth, text.rstrip("\0"))], {whole: (whole, real, truth, text.rstrip("\0"))}
    )


@given(plain, plain)
def test_different_values_have_different_texts(one: object, other: object) -> None:
    assert (canonical_text(one) == canonical_text(other)) == (repr(one) == repr(other))


def test_arrays_are_told_in_full() -> None:
    numbers = np.arange(5000)
    assert content_key(numbers) == content_key(numbers.tolist())
    other = numbers.copy()
    other[2500] = -1
    assert repr(numbers) == repr(other)  # which leaves out the middle
    assert content_key(numbers) != content_key(other)


def test_a_name_of_an_enumeration_is_its_text() -> None:
    class Kind(enum.StrEnum):
        DRAWN = "drawn"

    assert content_key(Kind.DRAWN) == content_key("drawn")


def test_dataclasses_and_named_tuples_by_name_and_fields() -> None:
    @dataclass(frozen=True)
    class Job:
        side_px: int

    class Size(NamedTuple):
        height: int

    assert canonical_text(Job(np.int64(3))) == canonical_text(Job(3)) == repr(Job(3))
    assert canonical_text(Size(np.int64(3))) == canonical_text(Size(3)) == repr(Size(3))


@pytest.mark.parametrize("value", [object(), {1, 2}, len, [object()]])
def test_what_has_no_text_of_its_own_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="no canonical text"):
        content_key(value)


def test_a_work_key_is_made_of_json() -> None:
    text = '[1,"semi_automatic",2,[5,3],0.95,null,true,{"bytes":"333836"},{"a":1,"b":[2]}]'
    parts = (1, "semi_automatic", 2, [5, 3], 0.95, None, True, b"386", {"b": [2], "a": 1})
    assert work_key(*parts) == f"{content_id(text.encode()):016x}"
    assert work_key(3) == work_key(np.int64(3)) != work_key("3")
    assert work_key((1, np.arange(3))) == work_key([1, [0, 1, 2]])


@given(st.lists(st.recursive(st.none() | st.booleans() | st.integers() | finite | st.text() | st.binary(), st.lists)))
def test_equal_work_has_equal_keys_whatever_numbers_it_came_in(parts: list[object]) -> None:
    def of_numpy(value: object) -> object:
        if isinstance(value, list | tuple):
            return type(value)(map(of_numpy, value))
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
            return np.int64(value)
        return np.float64(value) if isinstance(value, float) else value

    assert work_key(*parts) == work_key(*map(of_numpy, parts))


def test_a_work_key_tells_dataclasses_by_name_and_fields() -> None:
    @dataclass(frozen=True)
    class Job:
        side_px: int

    assert work_key(Job(np.int64(3))) == work_key(Job(3)) != work_key(Job(4))


@pytest.mark.parametrize("value", [object(), {1, 2}, len, [object()], {1: 2}])
def test_what_json_has_no_word_for_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="no canonical JSON"):
        work_key(value)
