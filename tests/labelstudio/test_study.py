"""A human study in a real Label Studio, with a script in the place of people."""

import json
from pathlib import Path

import pytest
import yaml

from engine.labeling.folder import LabelingFolder
from engine.labeling.server import LabelStudioServer
from engine.study.folder import StudyFolder
from schemas.config import CONFIG_FILE
from tests.engine.study.test_ratings import region
from tests.flows.cli_runner import sam_engine
from tests.labelstudio.engine_workspace import client_of
from tests.stages.workspaces import SETTINGS, make_workspace, write_pictures

pytestmark = pytest.mark.labelstudio


def test_masks_go_out_blind_and_ratings_come_back(label_studio: LabelStudioServer, tmp_path: Path) -> None:
    store = make_workspace(label_studio.workspace.parent, images=2, holdout=0)
    settings = SETTINGS | {"labeling": {"url": label_studio.url, "images_per_chunk": 2}}
    (store.workspace / CONFIG_FILE).write_text(yaml.safe_dump(settings), encoding="utf-8")
    ours = write_pictures(tmp_path / "in", images=2)
    theirs = ours.with_name("theirs.json")
    theirs.write_text(ours.read_text())
    draw = ("--masks", "3", "--min-side", "5", "--pairs", "objects", "--json")
    sources = ("--source", f"ours={ours}", "--source", f"theirs={theirs}")
    sent = sam_engine("study", "publish", store.workspace, *sources, *draw)
    assert sent.status == 0, sent.err
    assert (sent.result["published"], sent.result["asked"], sent.result["rated"]) == (6, 6, 0)

    client, project = client_of(label_studio), LabelingFolder(store.workspace).project("study-study")
    assert project is not None
    whose = {item.item: item.source for item in StudyFolder(store.files, "study").study().items}
    tasks = list(client.tasks(project))
    assert client.content(tasks[0]["data"]["image"])[:2] == b"\xff\xd8", "a JPEG file"
    assert not any("ours" in json.dumps(task["data"]) for task in tasks)
    for task in tasks[:5]:
        rating = 9 if whose[task["data"]["item"]] == "ours" else 4
        given = [region("rating", "rating", {"rating": rating}), region("object", "choices", {"choices": ["yes"]})]
        client.annotate(task["id"], given, lead_time_s=20.0)
    client.annotate(tasks[5]["id"], [], skipped=True)

    found = sam_engine("study", "collect", store.workspace, "--json")
    assert (found.result["rated"], found.result["skipped"], found.result["unreadable"]) == (5, 1, 0)
    assert sam_engine("study", "collect", store.workspace, "--json").result == found.result
    assert sam_engine("study", "publish", store.workspace, "--json").result["published"] == 0
    values = sam_engine("study", "analyse", store.workspace, "--json").result
    assert values["sources"]["ours"]["mean"]["value"] == 9
    assert values["differences"][0]["mean"]["value"] == 5
