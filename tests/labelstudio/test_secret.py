"""The secret between Label Studio and the model backend, from a project that was set up before there was one."""

import os
from collections.abc import Iterator

import httpx
import pytest
import yaml

from engine.labeling.folder import LabelingFolder
from engine.labeling.registered import TITLE, backend_problem, renew_login
from engine.labeling.secret import BackendLogin, backend_login
from engine.labeling.server import LabelStudioServer
from engine.labeling.setup import setup_project
from engine.labeling.tool import LabelStudioTool
from engine.store import Store
from schemas.config import CONFIG_FILE
from stages.rounds import tick
from tests.labelstudio.backend import running_backend
from tests.labelstudio.browser.echo_backend import running_echo_backend
from tests.labelstudio.engine_workspace import click, clicked, client_of
from tests.labelstudio.ports import free_port
from tests.stages.workspaces import SETTINGS, make_workspace

pytestmark = pytest.mark.labelstudio


@pytest.fixture(scope="module")
def store(label_studio: LabelStudioServer) -> Iterator[Store]:
    """A workspace with a round open, whose project asks the backend without a secret, as older versions set it up."""
    store, url = make_workspace(label_studio.workspace.parent, images=2, holdout=0), f"http://127.0.0.1:{free_port()}"
    settings = SETTINGS | {
        "annotator": {"kind": "label_studio"},
        "assisted_manual": {"rounds": 1, "images_per_round": 2},
        "labeling": {"url": label_studio.url, "backend_url": url},
    }
    (store.workspace / CONFIG_FILE).write_text(yaml.safe_dump(settings), encoding="utf-8")
    client, port = client_of(label_studio), int(url.rpartition(":")[2])
    with running_echo_backend(port):  # it asks for no secret
        made = setup_project(
            client, LabelingFolder(store.workspace), "assisted_manual", name="workspace", backend_url=url
        )
        client.remove_backend(int(client.backends(made.project)[0]["id"]))
        client.add_backend(made.project, url=url, title=TITLE)
        for hook in client.webhooks(made.project):
            client.put_headers(int(hook["id"]), url=hook["url"], headers={})
    with running_backend(store.workspace, port=port):
        yield store


def test_an_old_project_is_given_the_secret_by_the_next_tick(label_studio: LabelStudioServer, store: Store) -> None:
    client, folder = client_of(label_studio), LabelingFolder(store.workspace)
    tool, login = LabelStudioTool(store, store.files.settings()), backend_login(folder)
    project, url = tool.project("assisted_manual"), store.files.settings().labeling.backend_url
    assert "does not have the secret" in backend_problem(client, project, url, login=login)
    assert tick(store, "assisted_manual").action == "open"
    before = client.backends(project)[0]["id"]
    waiting = tick(store, "assisted_manual")
    assert waiting.state == "waiting"
    assert "to be looked at" not in waiting.message
    assert backend_problem(client, project, url, login=login) == ""
    assert client.backends(project)[0]["id"] == before, "pages that are open go on"
    assert setup_project(client, folder, "assisted_manual", name="workspace", backend_url=url).changed == ()
    assert [check.remedy for check in tool.doctor("assisted_manual")] == [""] * 9


def test_clicks_and_webhooks_bring_the_secret(label_studio: LabelStudioServer, store: Store) -> None:
    client, folder = client_of(label_studio), LabelingFolder(store.workspace)
    project = LabelStudioTool(store, store.files.settings()).project("assisted_manual")
    task = next(client.tasks(project))["id"]
    region = clicked(client, project, task, click(30, 30))
    folder.wake_file.write_bytes(b"")
    os.utime(folder.wake_file, (1, 1))
    client.annotate(task, [region])
    assert folder.wake_file.stat().st_mtime > 1, "the webhook came through"


def test_others_are_refused(store: Store) -> None:
    url, login = store.files.settings().labeling.backend_url, backend_login(LabelingFolder(store.workspace))
    for route in ("setup", "predict", "webhook"):
        answer = httpx.post(f"{url}/{route}", json={}, trust_env=False)
        assert answer.status_code == 401
        assert len(answer.text.splitlines()) == 1
    assert httpx.post(f"{url}/predict", json={}, auth=(login.user, login.password), trust_env=False).status_code == 200


def test_a_backend_of_another_workspace_is_told(label_studio: LabelStudioServer, store: Store) -> None:
    client, url = client_of(label_studio), store.files.settings().labeling.backend_url
    project = LabelStudioTool(store, store.files.settings()).project("assisted_manual")
    other = BackendLogin("sam-engine-other", "b" * 64)
    assert "does not have the secret" in backend_problem(client, project, url, login=other)
    renew_login(client, project, url, other)
    assert "does not have the secret" in backend_problem(client, project, url, login=other), "the backend refuses it"
    own = backend_login(LabelingFolder(store.workspace))
    assert backend_problem(client, project, url, login=own) == "", "and the project keeps what it has"
