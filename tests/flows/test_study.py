"""`sam-engine study`; with a real Label Studio it is tried in tests/labelstudio."""

import json
from pathlib import Path

import pytest

from engine.study.folder import StudyFolder
from engine.workspace import Workspace
from tests.engine.study.studies import ratings, study
from tests.engine.study.test_project import Server
from tests.engine.study.test_project import coco as coco
from tests.engine.study.test_project import server as server
from tests.engine.study.test_project import store as store
from tests.flows.cli_runner import sam_engine


@pytest.fixture
def rated(tmp_path: Path, store: object) -> Path:
    folder = StudyFolder(Workspace(tmp_path / "workspace"), "s")
    folder.put_study(study())
    folder.put_ratings(ratings({"ours": [8, 9, 10, 6], "theirs": [5, 7, 10, 1]}))
    return tmp_path / "workspace"


def test_out_and_back(server: Server, tmp_path: Path, store: object, coco: Path) -> None:
    work = tmp_path / "workspace"
    draw = ("--name", "s", "--masks", "2", "--min-side", "5", "--pairs", "objects")
    done = sam_engine("study", "publish", work, "--source", f"a={coco}", "--source", f"b={coco}", *draw, "--json")
    assert done.status == 0, done.err
    assert (done.result["published"], done.result["asked"]) == (4, 4)
    again = sam_engine("study", "publish", work, "--name", "s")
    assert again.out.startswith("0 masks published; 0 of 4 ratings are there, 0 skipped; people rate at http://")
    assert sam_engine("study", "collect", work, "--name", "s").out.startswith("0 of 4 ratings are there")
    nothing = sam_engine("study", "analyse", work, "--name", "s")
    assert nothing.status == 1
    assert "nothing is rated yet" in nothing.err


def test_the_analysis_is_written(rated: Path) -> None:
    done = sam_engine("study", "analyse", rated, "--name", "s", "--json")
    assert done.status == 0, done.err
    reports = rated / "reports"
    assert json.loads((reports / "study-s.json").read_text()) == done.result
    assert (reports / "study-s.png").read_bytes().startswith(b"\x89PNG")
    shown = sam_engine("study", "analyse", rated, "--name", "s").out
    assert (reports / "study-s.md").read_text() in shown
    assert shown.endswith(f"Written to {reports / 'study-s.md'}\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["publish"], "no study 'study'; there are: none"),
        (["publish", "--source", "nano.json"], "--source nano.json: give it as NAME=FILE"),
        (["publish", "--source", "a=none.json"], "none.json: cannot be read: No such file"),
        (["publish", "--source", "a=x", "--source", "a=y"], "--source a: given twice; give each a name of its own"),
        (["publish", "--name", "a/b"], "study 'a/b': use letters, digits"),
        (["collect", "--name", "t"], "no study 't'"),
        (["analyse", "--name", "t"], "no study 't'"),
    ],
)
def test_bad_input_is_one_line_and_status_2(tmp_path: Path, store: object, arguments: list[str], says: str) -> None:
    command, *options = arguments
    done = sam_engine("study", command, tmp_path / "workspace", *options)
    assert done.status == 2
    (line,) = (line for line in done.err.splitlines() if line.startswith("error: "))
    assert says in line
