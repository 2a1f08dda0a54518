"""Registries: built-in things and entry points of other distributions, found by name."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import InputError
from schemas.plugins import Registry
from tests.distributions import install

GROUP = "sam_data_engine.tests"


@pytest.fixture
def registry() -> Registry[type]:
    return Registry("counter", group=GROUP, needs=("most_common",), builtin={"own": "collections:Counter"})


def test_a_built_in_thing_and_one_of_another_distribution(
    registry: Registry[type], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "more-counters", {GROUP: {"foreign": "collections:Counter"}})
    assert list(registry) == ["own", "foreign"]
    assert len(registry) == 2
    assert registry["own"] is registry["foreign"] is __import__("collections").Counter
    assert "foreign" in registry
    assert "other" not in registry


def test_an_unknown_name_lists_the_known_ones(
    registry: Registry[type], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "more-counters", {GROUP: {"foreign": "collections:Counter"}})
    with pytest.raises(InputError, match=r"^unknown counter 'fast'; known: own, foreign$"):
        registry["fast"]


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("no_such_module:Thing", "does not load: ModuleNotFoundError: No module named 'no_such_module'"),
        ("collections:NoSuchThing", "does not load: AttributeError"),
        ("collections:deque", "lacks most_common"),
    ],
)
def test_a_broken_entry_point_is_named_with_its_distribution_and_breaks_no_other(
    place: str,
    said: str,
    registry: Registry[type],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    install(tmp_path, monkeypatch, "broken-counters", {GROUP: {"broken": place}})
    install(tmp_path, monkeypatch, "more-counters", {GROUP: {"whole": "collections:Counter"}})
    with pytest.raises(InputError) as error:
        registry["broken"]
    assert str(error.value).startswith(f"counter 'broken' ({place}) of broken-counters 1.0 {said}")
    with caplog.at_level(logging.WARNING):
        assert [name for name, _ in registry.working()] == ["own", "whole"]
    assert str(error.value) in caplog.text


def test_a_built_in_thing_is_never_replaced_and_the_attempt_is_told(
    registry: Registry[type], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(tmp_path, monkeypatch, "bold-counters", {GROUP: {"own": "collections:deque"}})
    with caplog.at_level(logging.WARNING):
        assert list(registry) == ["own"]
    assert "bold-counters 1.0: the counter 'own' is built in" in caplog.text
    assert registry["own"] is __import__("collections").Counter


def test_a_name_that_two_distributions_claim_is_an_error(
    registry: Registry[type], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for distribution in ("first-counters", "second-counters"):
        install(tmp_path, monkeypatch, distribution, {GROUP: {"new": "collections:Counter"}})
    with pytest.raises(InputError, match=r"'new': claimed by (first|second)-counters 1.0 and (first|second)-counters"):
        registry["new"]


def test_listing_names_imports_nothing(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom schemas.plugins import Registry\n"
        "names = list(Registry('x', group='none', needs=(), builtin={'a': 'torch:Tensor', 'b': 'numpy:array'}))\n"
        "assert names == ['a', 'b']\nassert not {'torch', 'numpy'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
