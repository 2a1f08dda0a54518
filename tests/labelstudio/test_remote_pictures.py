"""Pictures by signed links from the model backend, for a Label Studio that does not see the workspace's folder."""

from collections.abc import Iterator

import pytest
import yaml

from engine.labeling.links import picture_links
from engine.labeling.server import LabelStudioServer
from engine.labeling.tool import LabelStudioTool
from engine.store import Store
from schemas.config import CONFIG_FILE
from stages.rounds import tick
from tests.labelstudio.backend import running_backend
from tests.labelstudio.browser.page import LabelingPage
from tests.labelstudio.engine_workspace import click, clicked, client_of
from tests.stages.workspaces import SETTINGS, make_workspace

pytestmark = [pytest.mark.labelstudio, pytest.mark.browser]


@pytest.fixture(scope="module")
def store(label_studio: LabelStudioServer) -> Iterator[Store]:
    """A workspace elsewhere than the one whose pictures the server may read, with one round open."""
    store = make_workspace(label_studio.workspace.parent / "elsewhere", images=2, holdout=0)
    settings = SETTINGS | {
        "annotator": {"kind": "label_studio"},
        "assisted_manual": {"rounds": 1, "images_per_round": 2},
    }

    def write(**labeling: str) -> None:
        text = yaml.safe_dump(settings | {"labeling": {"url": label_studio.url, **labeling}})
        (store.workspace / CONFIG_FILE).write_text(text, encoding="utf-8")

    write(pictures_url="http://127.0.0.1:1")  # the backend hands out pictures; at which port is not known yet
    with running_backend(store.workspace) as backend, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABEL_STUDIO_API_KEY", label_studio.token)
        write(backend_url=backend, pictures_url=backend)
        LabelStudioTool(store, store.files.settings()).setup("assisted_manual")
        assert tick(store, "assisted_manual").action == "open"
        assert tick(store, "assisted_manual").state == "waiting"
        yield store


def test_the_doctor_finds_nothing_wrong(store: Store) -> None:
    checks = list(LabelStudioTool(store, store.files.settings()).doctor("assisted_manual"))
    assert [check.remedy for check in checks] == [""] * 9


def test_a_click_reaches_the_model(label_studio: LabelStudioServer, store: Store) -> None:
    client, tool = client_of(label_studio), LabelStudioTool(store, store.files.settings())
    project = tool.project("assisted_manual")
    task = next(client.tasks(project))
    assert task["data"]["image"].startswith(picture_links(tool.folder, store.files.settings().labeling).base)
    assert clicked(client, project, task["id"], click(50, 50))["type"] == "brushlabels"


def test_annotators_see_the_picture(label_studio: LabelStudioServer, store: Store, labeling_page: LabelingPage) -> None:
    project = LabelStudioTool(store, store.files.settings()).project("assisted_manual")
    task = next(client_of(label_studio).tasks(project))
    labeling_page.open_task(project, task["id"])
    assert labeling_page.errors == []
