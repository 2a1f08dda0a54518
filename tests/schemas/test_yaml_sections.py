"""Files of settings: what is wrong with one, in one line."""

import pytest
from pydantic import Field

from schemas.errors import InputError
from schemas.yaml_sections import Section, parse_yaml


class Inner(Section):
    depth: int = 1


class Outer(Section):
    name: str
    parts: dict[str, Inner] = Field(default_factory=dict)


def parsed(text: str) -> Outer:
    return parse_yaml(text.encode(), Outer, file="a.yaml", among="name", inner={"parts.": Inner})


def test_keys_are_read_and_cannot_be_changed() -> None:
    found = parsed("name: x\nparts: {one: {depth: 3}, two: {}}")
    assert found == Outer(name="x", parts={"one": Inner(depth=3), "two": Inner()})
    with pytest.raises(ValueError, match="frozen"):
        found.name = "y"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1", "a.yaml: expected keys and values, among them name"),
        ("", "a.yaml: expected keys and values, among them name"),
        ("parts: {}", "a.yaml: name: field required"),
        ("name: x\ntitle: y", "a.yaml: unknown key 'title'; there are: name, parts"),
        ("name: x\nparts: {one: {deep: 1}}", "a.yaml: unknown key 'parts.one.deep'; there are: depth"),
        ("name: x\nparts: {one: {depth: deep}}", "a.yaml: parts.one.depth: input should be a valid integer"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parsed(text)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"name: [", b"name: \xff"])
def test_what_is_no_yaml_is_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="not valid YAML"):
        parse_yaml(content, Outer, file="a.yaml", among="name")


def test_a_key_that_stands_there_twice_is_refused() -> None:
    with pytest.raises(InputError, match="depth stands there twice"):
        parsed("name: x\nparts: {one: {depth: 1, depth: 2}}")
