"""An object that is clicked on before and after the model backend was ended and started anew."""

import time

import pytest
import yaml

from engine.labeling.annotations import read_task
from engine.labeling.folder import LabelingFolder, Scope
from engine.labeling.records import RoundRecords
from engine.labeling.server import LabelStudioServer
from engine.labeling.setup import setup_project
from schemas.config import CONFIG_FILE
from stages.rounds import tick
from tests.labelstudio.backend import running_backend
from tests.labelstudio.engine_workspace import SHOWN, click, clicked, client_of
from tests.labelstudio.ports import free_port
from tests.stages.workspaces import SETTINGS, make_workspace

pytestmark = pytest.mark.labelstudio
STAGE = "assisted_manual"


def test_seconds_of_a_mask_are_told_across_a_restart(label_studio: LabelStudioServer) -> None:
    """As a server without our page tells them: from the first prompt to the last."""
    store, port = make_workspace(label_studio.workspace.parent, images=1, holdout=0), free_port()
    settings = SETTINGS | {
        "annotator": {"kind": "label_studio"},
        "assisted_manual": {"rounds": 1, "images_per_round": 1},
        "labeling": {"url": label_studio.url, "backend_url": f"http://127.0.0.1:{port}", "longest_side_px": SHOWN},
    }
    (store.workspace / CONFIG_FILE).write_text(yaml.safe_dump(settings), encoding="utf-8")
    client, folder = client_of(label_studio), LabelingFolder(store.workspace)
    first, second = click(30, 30, prompt_id="first"), click(60, 60, prompt_id="second")
    with running_backend(store.workspace, port=port) as url:
        project = setup_project(client, folder, STAGE, name="workspace", backend_url=url).project
        tick(store, STAGE)
        assert tick(store, STAGE).state == "waiting"
        (task,) = client.tasks(project)
        clicked(client, project, task["id"], click(10, 10, prompt_id="warm"))
        began = time.time()
        before = clicked(client, project, task["id"], first)
    with running_backend(store.workspace, port=port):
        last = time.time()
        region = clicked(client, project, task["id"], first, second)
    assert before["id"] != region["id"]
    client.annotate(task["id"], [region], lead_time_s=last - began + 10)
    (shown,) = RoundRecords(store, Scope(STAGE, STAGE, 1)).published().values()
    (mask,) = read_task(client.task(task["id"]), shown).masks
    assert (mask.timed, mask.mask.clicks) == ("prompts", 2)
    assert mask.mask.seconds == pytest.approx(last - began, abs=1)
    assert last - began > 2, "a backend does not start at once"
