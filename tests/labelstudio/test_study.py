"""A human study in a real Label Studio, with a script in the place of people."""

import json
from pathlib import Path

import pytest
import yaml

from engine.labeling.folder import LabelingFolder
from engine.labeling.server import LabelStudioServer
from engine.store import Store
from engine.study.folder import StudyFolder
from schemas.config import CONFIG_FILE
from tests.engine.study.test_ratings import region
from tests.flows.cli_runner import sam_engine
from tests.labelstudio.browser.page import LabelingPage
from tests.labelstudio.engine_workspace import client_of
from tests.stages.workspaces import SETTINGS, make_workspace, write_pictures

pytestmark = pytest.mark.labelstudio


@pytest.fixture(scope="module")
def store(label_studio: LabelStudioServer) -> Store:
    made = make_workspace(label_studio.workspace.parent, images=2, holdout=0)
    settings = SETTINGS | {"labeling": {"url": label_studio.url, "images_per_chunk": 2}}
    (made.workspace / CONFIG_FILE).write_text(yaml.safe_dump(settings), encoding="utf-8")
    return made


@pytest.fixture
def sources(tmp_path: Path) -> list[str]:
    """Two with the same masks."""
    ours = write_pictures(tmp_path / "in", images=2)
    theirs = ours.with_name("theirs.json")
    theirs.write_text(ours.read_text())
    return ["--source", f"ours={ours}", "--source", f"theirs={theirs}", "--min-side", "5", "--pairs", "objects"]


def project_of(store: Store, purpose: str) -> int:
    found = LabelingFolder(store.workspace).project(purpose)
    assert found is not None
    return found


def test_masks_go_out_blind_and_ratings_come_back(
    label_studio: LabelStudioServer, store: Store, sources: list[str]
) -> None:
    sent = sam_engine("study", "publish", store.workspace, *sources, "--masks", "3", "--json")
    assert sent.status == 0, sent.err
    assert (sent.result["published"], sent.result["asked"], sent.result["rated"]) == (6, 6, 0)

    client = client_of(label_studio)
    whose = {item.item: item.source for item in StudyFolder(store.files, "study").study().items}
    tasks = list(client.tasks(project_of(store, "study-study")))
    assert client.content(tasks[0]["data"]["image"])[:2] == b"\xff\xd8", "a JPEG file"
    assert not any("ours" in json.dumps(task["data"]) for task in tasks)
    for task in tasks[:5]:
        rating = "9" if whose[task["data"]["item"]] == "ours" else "4"
        given = [region("rating", "choices", {"choices": [rating]}), region("object", "choices", {"choices": ["yes"]})]
        client.annotate(task["id"], given, lead_time_s=20.0)
    client.annotate(tasks[5]["id"], [], skipped=True)

    found = sam_engine("study", "collect", store.workspace, "--json")
    assert (found.result["rated"], found.result["skipped"], found.result["unreadable"]) == (5, 1, 0)
    assert sam_engine("study", "collect", store.workspace, "--json").result == found.result
    assert sam_engine("study", "publish", store.workspace, "--json").result["published"] == 0
    values = sam_engine("study", "analyse", store.workspace, "--json").result
    assert values["sources"]["ours"]["mean"]["value"] == 9
    assert values["differences"][0]["mean"]["value"] == 5


@pytest.mark.browser
def test_a_person_rates_in_the_browser(labeling_page: LabelingPage, store: Store, sources: list[str]) -> None:
    sent = sam_engine("study", "publish", store.workspace, *sources, "--masks", "1", "--name", "seen", "--json")
    assert sent.status == 0, sent.err
    labeling_page.open_next_task(project_of(store, "study-seen"))
    labeling_page.close_instructions()
    page = labeling_page.page
    questions = page.get_by_text("How good is the mask")
    labeling_page.screenshot("asked")
    assert questions.bounding_box()["y"] < page.locator(".lsf-image").bounding_box()["y"]  # type: ignore[index]
    for key in ("0", "q", "s"):
        page.keyboard.press(key)
    labeling_page.screenshot("rated")
    labeling_page.submit()
    found = sam_engine("study", "collect", store.workspace, "--name", "seen", "--json")
    assert (found.result["rated"], found.result["unreadable"]) == (1, 0)
    (rating,) = StudyFolder(store.files, "seen").ratings()
    assert (rating.rating, rating.answers) == (10, {"object": True, "boundary": False})
    assert labeling_page.errors == []
