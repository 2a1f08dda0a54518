"""Stages that packages bring: what they may be called, and where they stand in the order."""

import logging
from pathlib import Path

import pytest

from schemas import stages
from schemas.stages import BUILTIN_STAGES, StageInfo, can_be_called, in_order
from schemas.tables import TABLES
from tests.distributions import install

FIRST, SECOND, LAST = BUILTIN_STAGES


@pytest.mark.parametrize("name", [*TABLES, "data_engine", "Boxes", "boxes-2", "2_boxes", "", "a" * 42])
def test_names_of_what_there_is_and_what_no_folder_can_be_called_are_refused(name: str) -> None:
    assert not can_be_called(name)


@pytest.mark.parametrize("name", ["boxes", "boxes_2", "a" * 41])
def test_other_names_are_free(name: str) -> None:
    assert can_be_called(name)


def test_each_stands_behind_the_one_that_it_follows() -> None:
    installed = {
        "z_text": StageInfo("z:Z"),
        "boxes": StageInfo("b:B"),
        "review": StageInfo("r:R", after="boxes"),
        "parts": StageInfo("p:P", after=FIRST),
    }
    assert in_order(installed) == (FIRST, "parts", SECOND, LAST, "boxes", "review", "z_text")


def test_one_that_follows_nothing_known_is_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert in_order({"a": StageInfo("a:A", after="b"), "b": StageInfo("b:B", after="a")}) == BUILTIN_STAGES
    assert [record.getMessage() for record in caplog.records] == [
        "stage 'b' of b:B is left out: there is no stage 'a' to follow",
        "stage 'a' of a:A is left out: there is no stage 'b' to follow",
    ]


def test_a_package_that_takes_a_name_is_left_out_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "two_stages.py").write_text(
        "from schemas.stages import StageInfo\nSTAGE = StageInfo('two_stages:Worker')\n"
    )
    names = {"rounds": "two_stages:STAGE", "two_boxes": "two_stages:STAGE"}
    install(tmp_path, monkeypatch, "two-stages", {stages.STAGES_GROUP: names}, code=code)
    with caplog.at_level(logging.WARNING):
        found = stages._installed()
    assert found["two_boxes"].worker == "two_stages:Worker"
    assert "rounds" not in found
    assert "stage 'rounds' of two_stages:Worker is left out: no stage can have that name" in caplog.messages
