"""What workspaces in object stores have in common, whoever keeps the objects."""

import threading
from pathlib import Path
from typing import Any

import yaml

from engine.mirrors import models_to_write
from engine.store import Store
from engine.workspace import Workspace
from model.registry import ModelCard
from model.storage import save_model
from schemas.tables import table_of
from tests.flows.cli_runner import sam_engine
from tests.stages.workspaces import SETTINGS, tiny_sam, write_pictures


def cli(*arguments: object) -> tuple[int, dict[str, Any], str]:
    """Exit status, the JSON object on standard output, and standard error of a command."""
    done = sam_engine(*arguments, "--json")
    return done.status, done.result, done.err


def with_tiny_model(url: str) -> Workspace:
    workspace = Workspace(url)
    workspace.config.write(yaml.safe_dump(SETTINGS).encode())
    with models_to_write(workspace.models) as models:
        save_model(tiny_sam(), models, ModelCard(name="tiny"))
    return workspace


def from_nothing_to_a_verified_release(url: str, folder: Path) -> None:
    """url: of a workspace that is still to be made. folder: empty but for a folder `home`, and the working folder."""
    status, made, _ = cli("init", url)
    assert (status, made["config"]) == (0, f"{url}/engine.yaml")
    workspace = with_tiny_model(url)
    pictures = write_pictures(folder / "pictures", images=4, holdout=1)
    status, taken, _ = cli("ingest", url, pictures)
    assert (status, taken["added"], taken["masks"], taken["rejected"]) == (0, 4, 12, [])
    assert cli("ingest", url, pictures)[1]["added"] == 0

    messages = []
    for _ in range(3):
        status, ticked, _ = cli("run", "assisted_manual", url)
        assert status == 0
        messages.append(ticked["action"])
    found = cli("status", url)[1]
    assert found["rows"]["assisted_manual"] > 0, messages
    assert [done["state"] for done in found["rounds"]][:1] == ["retrained"], found["rounds"]
    assert found["workspace"] == url
    names = [model["name"] for model in found["models"]]
    assert len(names) > 1

    status, models, _ = cli("models", "list", "--workspace", url)
    assert {"tiny", *names} <= {model["name"] for model in models["models"]}
    status, built, _ = cli("release", "build", url, "--stage", "assisted_manual", "--name", "one")
    assert (status, built["path"], built["created"]) == (0, f"{url}/releases/one", True)
    assert cli("release", "build", url, "--stage", "assisted_manual", "--name", "one")[1]["created"] is False
    assert cli("release", "verify", built["path"])[:2] == (0, {"path": built["path"], "problems": []})
    status, exported, _ = cli("release", "export", built["path"], "--output", folder / "coco")
    assert (status, exported["masks"]) == (0, built["masks"])

    assert workspace.checkpoints.find("*") == []
    assert {path.name for path in folder.iterdir()} == {"pictures", "home", "coco"}


def two_writers_lose_no_row(url: str) -> None:
    """Two that write one table at the same time."""
    Store.create(url)
    failed: list[BaseException] = []

    def write(first: int) -> None:
        try:
            store = Store(url)
            for number in range(first, first + 5):
                row = {"stage": "assisted_manual", "round": 1, "image_id": number, "shard": "000000", "gate": "audit"}
                store.put_rows("returned", table_of("returned", [row]), by=("stage", "round", "image_id"))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(first,)) for first in (0, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    ids = sorted(Store(url).read_table("returned")["image_id"].to_pylist())
    assert ids == [*range(5), *range(100, 105)]
