"""The three gates of a round against a real Label Studio, killed (SIGKILL) at each of their requests in turn.

A process is killed when a request has been sent and before its answer is read. The next one asks the same questions as
one that nothing happened to, each once, and no answer is lost.
"""

import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.labeling.client import LabelStudioClient
from engine.labeling.folder import LabelingFolder
from engine.labeling.server import LabelStudioServer
from engine.labeling.setup import setup_project
from engine.store import Store
from schemas.config import CONFIG_FILE
from schemas.labeling import GATES, Gate
from stages.quality import move_gate
from tests.labelstudio.backend import running_backend
from tests.labelstudio.engine_workspace import client_of
from tests.labelstudio.people import open_tasks
from tests.labelstudio.ticks_to_kill import run_gate
from tests.stages.gates_at_work import STAGE, annotated_round

pytestmark = [pytest.mark.labelstudio, pytest.mark.timeout(1200)]
FEWEST = 3
ASKED = {"verification": 6, "exhaustivity": 2, "audit": 3}
TABLES = (STAGE, "removed", "returned", "questions", "gates", "published", "collected")


@dataclass
class Gates:
    """A workspace with a round that people annotated, and the projects of its gates."""

    template: Path
    workspace: Path
    client: LabelStudioClient
    projects: dict[Gate, int] = field(default_factory=dict)

    def begin(self) -> Store:
        """Nothing is asked."""
        for project in self.projects.values():
            for task in self.client.tasks(project):
                self.client.delete_task(task["id"])
        for path in self.workspace.iterdir():
            if path.name not in ("label_studio", "images", "models"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(self.template, self.workspace, dirs_exist_ok=True)
        return Store(self.workspace)

    def contents(self, gate: Gate) -> dict[str, Any]:
        """All that tables and the project hold, but for numbers of tasks and times."""
        store = Store(self.workspace)
        found: dict[str, Any] = {name: store.read_table(name).to_pylist() for name in TABLES}
        for row in found["published"]:
            row["record"] = {**yaml.safe_load(row["record"]), "task": None}
        for row in found["collected"]:
            task = yaml.safe_load(row.pop("task"))
            row |= {"work": [each["result"] for each in task["annotations"]], "seen_until": ""}
        plain = {name: sorted(map(repr, rows)) for name, rows in found.items()}
        tasks = self.client.tasks(self.projects[gate])
        shown = sorted(
            repr((sorted(task["data"].items()), [each["result"] for each in task["annotations"]])) for task in tasks
        )
        return plain | {"tasks": shown}

    def answer(self, gate: Gate) -> None:
        """The first is bad, or not complete; experts take a mask away."""
        tasks = sorted(open_tasks(self.client, self.projects[gate]), key=lambda task: str(sorted(task["data"].items())))
        for number, task in enumerate(tasks):
            if gate == "audit":
                regions = task["predictions"][0]["result"][number == 0 :]
            else:
                good, bad = ("good", "reject") if gate == "verification" else ("complete", "missing")
                choices = {"choices": [bad if number == 0 else good]}
                regions = [{"id": "c", "type": "choices", "from_name": "verdict", "to_name": "image", "value": choices}]
            self.client.annotate(task["id"], regions, lead_time_s=5.0)


@pytest.fixture(scope="module")
def gates(label_studio: LabelStudioServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gates]:
    template = annotated_round(
        tmp_path_factory.mktemp("template"), verify_frac=0.5, audit_images=3, url=label_studio.url
    ).workspace
    shutil.copytree(template, label_studio.workspace, dirs_exist_ok=True)
    made = Gates(template, label_studio.workspace, client_of(label_studio))
    with running_backend(label_studio.workspace) as url:
        for gate in GATES:
            folder = LabelingFolder(label_studio.workspace)
            made.projects[gate] = setup_project(made.client, folder, gate, name="workspace", backend_url=url).project
        settings = yaml.safe_load((template / CONFIG_FILE).read_text(encoding="utf-8"))
        settings["labeling"]["backend_url"] = url
        (template / CONFIG_FILE).write_text(yaml.safe_dump(settings), encoding="utf-8")
        yield made


@pytest.mark.parametrize("gate", GATES)
def test_a_gate_that_is_killed_anywhere_asks_the_same_once(gates: Gates, gate: Gate) -> None:
    gates.begin()
    assert run_gate(gates.workspace, gate).code == 0
    asked = gates.contents(gate)
    assert len(asked["tasks"]) == ASKED[gate]
    gates.answer(gate)
    assert run_gate(gates.workspace, gate).code == 0
    concluded = gates.contents(gate)

    gates.begin()
    number = 0
    while (run := run_gate(gates.workspace, gate, kill=number)).code == -signal.SIGKILL:
        assert run_gate(gates.workspace, gate).code == 0
        assert _settled(gates, gate, asked) == asked, f"killed at request {number} while it asked"
        gates.begin()
        number += 1
    assert run == (0, number)
    assert number >= FEWEST, "it lists, sends and lists again"

    gates.answer(gate)
    number = 0
    while (run := run_gate(gates.workspace, gate, kill=number)).code == -signal.SIGKILL:
        number += 1
    assert run == (0, number)
    assert number > 0
    assert gates.contents(gate) == concluded
    assert move_gate(Store(gates.workspace), gate).finished


def _settled(gates: Gates, gate: Gate, expected: dict[str, Any]) -> dict[str, Any]:
    """An import that a killed process had sent may arrive behind the next one, whose successor takes doubles away."""
    found = gates.contents(gate)
    if found != expected:
        assert run_gate(gates.workspace, gate).code == 0
        found = gates.contents(gate)
    return found
