"""What is kept of a study."""

from pathlib import Path

import pytest

from engine.study.drawing import Item
from engine.study.folder import Study, StudyFolder
from engine.study.ratings import Rating
from engine.workspace import Workspace
from schemas.errors import InputError

STUDY = Study("s", ("b", "a"), "objects", 2, "key", (Item("i1", "a", "p", "1"), Item("i2", "b", "p", "1")))


def test_what_is_put_is_read_again(tmp_path: Path) -> None:
    folder = StudyFolder(Workspace(tmp_path), "s")
    assert folder.drawn() is None
    assert folder.ratings() == []
    folder.put_study(STUDY)
    assert folder.study() == folder.drawn() == STUDY
    given = [Rating("i1", "a", 1, 3, {"object": True}, 2.0, "x"), Rating("i2", "a", 2, None, {}, None)]
    folder.put_ratings(given)
    assert folder.ratings() == given
    assert folder.picture("i1") == Workspace(tmp_path).studies / "s/pictures/i1.jpg"
    assert StudyFolder(Workspace(tmp_path), "t").drawn() is None


def test_a_study_that_is_not_there_is_said_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no study 'x'; there are: none; begin one with: sam-engine study publish"):
        StudyFolder(Workspace(tmp_path), "x").study()
    StudyFolder(Workspace(tmp_path), "s").put_study(STUDY)
    with pytest.raises(InputError, match="no study 'x'; there are: s;"):
        StudyFolder(Workspace(tmp_path), "x").study()


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "-a"])
def test_names_are_folders(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="use letters, digits"):
        StudyFolder(Workspace(tmp_path), name)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "studies" / "s").mkdir(parents=True)
    (tmp_path / "studies" / "s" / "ratings.json").write_text("[{")
    with pytest.raises(InputError, match=r"ratings.json: damaged .*; restore it from a backup"):
        StudyFolder(Workspace(tmp_path), "s").ratings()
