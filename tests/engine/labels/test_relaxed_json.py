"""JSON with what JSON does not know, and what stays no JSON."""

import json
import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.labels.relaxed_json import relaxed

CONTENT = {"a": [1, 2.5, None, True], "b": 'http://x/*y*/,] "//" \\'}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(CONTENT, indent=1).replace("\n]", ",\n]").replace("\n}", " , \n}"),
        "// first\n" + json.dumps(CONTENT),
        json.dumps(CONTENT) + " /* last \n line */",
        json.dumps(CONTENT)[:-1] + ", // one more\n}",
    ],
)
def test_comments_and_commas_are_left_out_but_never_in_texts(text: str) -> None:
    mended = Counter[str]()
    assert relaxed(text, mended) == CONTENT
    assert mended == {"comments or commas too many in JSON": 1}


def test_what_python_writes_is_read() -> None:
    mended = Counter[str]()
    assert relaxed(f" {CONTENT!r}\n", mended) == CONTENT
    assert relaxed("[(1, 2), {'a': b'x'}]", mended) == [[1, 2], {"a": "x"}]
    assert mended == {"lists and dicts as Python writes them": 2}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{'a': 1",
        "{'a': print(1)}",
        "'a'",
        "['a'] + ['b']",
        "{'a': nan}",
        "{'a': {1}}",
        "{(1,): 'a'}",
        "[" * 5000 + "'",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    mended = Counter[str]()
    with pytest.raises(ValueError, match=r"."):
        relaxed(text, mended)
    assert not mended


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_json_is_itself(content: Any) -> None:
    assert relaxed(json.dumps(content), Counter()) == content


def test_a_text_that_is_cut_off_takes_no_time() -> None:
    text = json.dumps([{"a": "x" * 20}] * 50_000)[:-7]
    started = time.perf_counter()
    with pytest.raises(ValueError, match=r"."):
        relaxed(text, Counter())
    assert time.perf_counter() - started < 5
