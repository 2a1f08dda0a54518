import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from engine.annotation import Link
from engine.labeling.client import HANDED_OUT
from engine.labeling.folder import LabelingFolder
from engine.labeling.setup import setup_project
from schemas.errors import InputError


class SlowServer:
    """As much of Label Studio's client as is asked to set up a gate; between a look and what it leads to time goes by.

    refuses: it cannot show pictures.
    """

    url = "http://label-studio.example"

    def __init__(self, *, refuses: bool = False) -> None:
        self.made: dict[int, dict[str, Any]] = {}
        self.storages: list[str] = []
        self._refuses, self._looked = refuses, threading.Barrier(2)

    def projects(self) -> dict[str, int]:
        found = {str(project["title"]): number for number, project in self.made.items()}
        with suppress(threading.BrokenBarrierError):
            self._looked.wait(0.2)  # until the other has looked too, if it may
        return found

    def create_project(self, *, title: str, config: str, instructions: str) -> int:
        number = len(self.made) + 1
        self.made[number] = {"title": title, "label_config": config, "expert_instruction": instructions, **HANDED_OUT}
        return number

    def project(self, number: int) -> dict[str, Any]:
        return self.made[number]

    def delete_project(self, number: int) -> None:
        del self.made[number]

    def local_storages(self, number: int) -> list[str]:
        return self.storages

    def add_local_storage(self, number: int, *, folder: str) -> None:
        if self._refuses:
            raise InputError("no such folder")
        time.sleep(0.05)
        self.storages.append(folder)


def set_up(server: SlowServer, workspace: Path) -> Link:
    client: Any = server
    folder = LabelingFolder(workspace)
    return setup_project(client, folder, "verification", name="mine", backend_url="http://backend.example")


def test_two_at_once_make_one_project(tmp_path: Path) -> None:
    server = SlowServer()
    with ThreadPoolExecutor(2) as threads:
        links = list(threads.map(lambda _: set_up(server, tmp_path), range(2)))
    assert [project["title"] for project in server.made.values()] == ["mine: verification"]
    assert {link.url for link in links} == {"http://label-studio.example/projects/1/data"}
    assert sorted(link.changed for link in links) == [(), ("project", "pictures")]
    assert len(server.storages) == 1
    assert LabelingFolder(tmp_path).project("verification") == 1


def test_a_project_whose_pictures_cannot_be_shown_does_not_stay(tmp_path: Path) -> None:
    server = SlowServer(refuses=True)
    with pytest.raises(InputError, match=r"cannot show pictures .* LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true"):
        set_up(server, tmp_path)
    assert server.made == {}
    assert LabelingFolder(tmp_path).project("verification") is None
