"""A study out to Label Studio and back, over a stand-in for its server that can fail at any call."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine.labeling import tool
from engine.store import Store
from engine.study.folder import Study, StudyFolder
from engine.study.project import StudyProject, StudyState, draw_study
from schemas.errors import InputError, WaitError
from schemas.labeling import STUDY_CONFIG
from stages.progress import silent
from tests.engine.labeling.label_studio import FakeLabelStudio
from tests.engine.study.test_ratings import region
from tests.stages.workspaces import make_workspace, write_pictures

PROJECT = "http://label-studio/projects/7/data"


class Server(FakeLabelStudio):
    """With a project for the study, that shows pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.titles = {"workspace: study-s": 7}
        self.storages: list[str] = []

    def local_storages(self, project: int) -> list[str]:
        return self.storages

    def add_local_storage(self, project: int, *, folder: str) -> None:
        self.storages.append(folder)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setattr(tool, "LabelStudioClient", lambda credentials: made)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "token")
    return made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_workspace(tmp_path, images=3, holdout=0, labeling={"images_per_chunk": 2})


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "in", images=2)


def drawn(store: Store, coco: Path, **options: Any) -> Study:
    files = options.pop("files", {"ours": coco, "theirs": coco})
    options = {"pairs": "objects", "masks": 2, "shortest_px": 5, "people": 1, "seed": 0} | options
    return draw_study(StudyFolder(store.files, "s"), files, images=None, coco=None, progress=lambda *_: None, **options)


def project(store: Store) -> StudyProject:
    folder = StudyFolder(store.files, "s")
    return StudyProject(store, folder, folder.study(), silent)


def rate(server: Server, number: int, rating: int, **fields: Any) -> None:
    given = region("rating", "choices", {"choices": [str(rating)]})
    server.submit(number, given, at=f"2026-03-01T00:00:{number:02d}Z", lead_time=4.0, **fields)


def test_a_draw_is_settled_once_and_its_pictures_show_five_views(store: Store, coco: Path) -> None:
    study = drawn(store, coco)
    assert (len(study.items), study.sources, study.people) == (4, ("ours", "theirs"), 1)
    for item in study.items:
        with Image.open(StudyFolder(store.files, "s").picture(item.item).on_disk()) as picture:
            assert max(picture.size) == 1024
    assert drawn(store, coco) == study
    for options in ({"masks": 3}, {"people": 2}, {"files": {"ours": coco}}, {"seed": 1}):
        with pytest.raises(InputError, match="study 's' is there already, with other masks or people; choose another"):
            drawn(store, coco, **options)
    values = json.loads(coco.read_text())
    coco.write_text(json.dumps(values | {"info": "changed"}))
    with pytest.raises(InputError, match="is there already"):
        drawn(store, coco)


def test_ids_of_other_objects_are_refused_before_the_study_is_there(store: Store, coco: Path) -> None:
    values = json.loads(coco.read_text())
    ids = [one["id"] for one in values["annotations"]]
    for one in values["annotations"]:
        one["id"] = ids[one["id"] // 3 * 3 + (one["id"] + 1) % 3]
    turned = coco.with_name("turned.json")
    turned.write_text(json.dumps(values))
    with pytest.raises(InputError, match="do not touch: ids do not name the same objects"):
        drawn(store, coco, files={"ours": coco, "theirs": turned}, masks=9)
    assert StudyFolder(store.files, "s").drawn() is None


def test_each_mask_goes_out_once_and_no_task_says_whose_it_is(server: Server, store: Store, coco: Path) -> None:
    study = drawn(store, coco)
    state = project(store).publish()
    assert state == StudyState(PROJECT, asked=4, rated=0, skipped=0, published=4)
    assert server.settings["label_config"] == STUDY_CONFIG
    assert [task["data"]["item"] for task in server.stored.values()] == [item.item for item in study.items]
    for task in server.stored.values():
        assert set(task["data"]) == {"image", "study", "item"}
        assert not any(name in json.dumps(task["data"]) for name in study.sources)
        shown = task["data"]["image"].removeprefix("/data/local-files/?d=")
        assert (store.files.labeling.on_disk() / "images" / shown).exists()
    assert project(store).publish().published == 0
    assert len(server.stored) == 4


def test_ratings_come_back_once_and_stay(server: Server, store: Store, coco: Path) -> None:
    study = drawn(store, coco)
    project(store).publish()
    rate(server, 1, 7)
    rate(server, 2, 9, id=2, was_cancelled=True)
    server.stored[3]["annotations"] = [{"id": 9, "result": [region("verdict", "choices", {"choices": ["good"]})]}]
    state = project(store).collect()
    assert (state.rated, state.skipped, state.unreadable, state.strangers) == (1, 1, 1, 0)
    assert "1 of 4 ratings are there, 1 skipped; people rate at " + PROJECT in str(state)
    assert "1 annotation cannot be read" in str(state)
    kept = StudyFolder(store.files, "s").ratings()
    assert {one.item: one.rating for one in kept} == {study.items[0].item: 7, study.items[1].item: None}
    assert project(store).collect() == state
    assert StudyFolder(store.files, "s").ratings() == kept
    server.stored.clear()  # somebody empties the project
    assert project(store).publish().published == 4
    assert StudyFolder(store.files, "s").ratings() == kept


def test_pictures_that_somebody_deleted_come_back(server: Server, store: Store, coco: Path) -> None:
    drawn(store, coco)
    project(store).publish()
    shown = sorted((store.files.labeling.on_disk() / "images").glob("study-s/*.jpg"))
    before = shown[0].read_bytes()
    shown[0].unlink()
    project(store).collect()
    assert shown[0].read_bytes() == before


def test_several_people_rate_each_mask(server: Server, store: Store, coco: Path) -> None:
    drawn(store, coco, people=2)
    assert project(store).publish().asked == 8
    assert [task["overlap"] for task in server.stored.values()] == [2] * 4
    server.stored[1]["overlap"] = 1  # the call that said so got lost
    rate(server, 1, 7)
    rate(server, 1, 3, id=2, completed_by=8)
    assert project(store).collect().rated == 2
    assert server.stored[1]["overlap"] == 2


@pytest.mark.parametrize("lost_answer", [False, True])
def test_wherever_it_is_stopped_each_mask_goes_out_once(
    server: Server, store: Store, coco: Path, lost_answer: bool
) -> None:
    study = drawn(store, coco, people=2)
    server.lost_answer = lost_answer
    for fail_at in range(1, 40):
        server.stored.clear()
        server.calls, server.fail_at = 0, fail_at
        try:
            project(store).publish()
        except WaitError:
            server.fail_at = 0
            project(store).publish()
        else:
            break
        assert sorted(task["data"]["item"] for task in server.stored.values()) == sorted(
            item.item for item in study.items
        )
        assert [task["overlap"] for task in server.stored.values()] == [2] * 4
    else:
        pytest.fail("it never came through")
    assert fail_at > 5


def test_what_is_missing_is_said(server: Server, store: Store, coco: Path) -> None:
    with pytest.raises(InputError, match="no study 's'; there are: none"):
        project(store)
    drawn(store, coco)
    server.titles = {}
    with pytest.raises(WaitError, match=r"no project for the study s; run: sam-engine study publish .* --name s"):
        project(store).collect()
    with pytest.raises(InputError, match=r"gone.json: cannot be read: No such file"):
        drawn(store, coco, files={"ours": coco.with_name("gone.json")})
