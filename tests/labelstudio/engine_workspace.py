"""A workspace of the engine around a running Label Studio, and a script that annotates in the place of people."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from engine.labeling.client import LabelStudioClient
from engine.labeling.folder import LabelingFolder
from engine.labeling.regions import brush_region, scale_down
from engine.labeling.server import LabelStudioServer
from engine.labeling.setup import setup_project
from engine.store import Store
from schemas.config import CONFIG_FILE
from schemas.labeling import FOREGROUND, IMAGE, POINT
from schemas.rle import Rle
from schemas.tables import GROUND_TRUTH
from tests.labelstudio.backend import running_backend
from tests.stages.workspaces import SETTINGS, make_workspace

SHOWN = 40  # longest side of pictures in the browser; they are 56 x 48 px, so that masks have to be scaled


@contextmanager
def engine_workspace(server: LabelStudioServer, *, images: int = 4) -> Iterator[Store]:
    """One round for each of the stages of people, with projects and a model backend."""
    store = make_workspace(server.workspace.parent, images=images, holdout=0)
    settings = SETTINGS | {
        "annotator": {"kind": "label_studio"},
        "labeling": {"url": server.url, "longest_side_px": SHOWN, "images_per_chunk": 1},
        "assisted_manual": {"rounds": 1, "images_per_round": images // 2},
        "semi_automatic": SETTINGS["semi_automatic"] | {"images_per_round": images // 2},
    }
    config_file = store.workspace / CONFIG_FILE
    config_file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    with running_backend(store.workspace) as backend:
        settings["labeling"]["backend_url"] = backend
        config_file.write_text(yaml.safe_dump(settings), encoding="utf-8")
        for purpose in ("assisted_manual", "semi_automatic"):
            setup_project(
                client_of(server), LabelingFolder(store.workspace), purpose, name="workspace", backend_url=backend
            )
        yield store


def client_of(server: LabelStudioServer) -> LabelStudioClient:
    return LabelStudioClient(LabelingFolder(server.workspace).credentials(server.url))


def click(x: float, y: float, *, prompt_id: str = "click", positive: bool = True) -> dict[str, Any]:
    """A click as the browser sends it; percent of the picture."""
    return {
        "id": prompt_id,
        "type": "keypointlabels",
        "from_name": POINT,
        "to_name": IMAGE,
        "original_width": SHOWN,
        "original_height": 34,
        "image_rotation": 0,
        "is_positive": positive,
        "value": {"x": x, "y": y, "width": 0.5, "labels": [FOREGROUND], "keypointlabels": [FOREGROUND]},
    }


def clicked(client: LabelStudioClient, project: int, task: int, *clicks: dict[str, Any]) -> dict[str, Any]:
    """The region that the model answers through Label Studio."""
    backend = int(client.backends(project)[0]["id"])
    (region,) = client.prompt(backend, task=task, context=list(clicks))["data"]["result"]
    found: dict[str, Any] = region
    return found


def drawn(store: Store, task: dict[str, Any], number: int) -> dict[str, Any]:
    """An object of ground truth as somebody would draw it with the brush."""
    row = store.read_image(GROUND_TRUTH, int(task["data"]["image_id"])).to_pylist()[number]
    return brush_region(scale_down(Rle.of_row(row), (34, SHOWN)), region_id=f"drawn-{number}")
