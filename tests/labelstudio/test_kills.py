"""Rounds of people against a real Label Studio whose ticks are killed (SIGKILL), or whose `labeling/` is deleted.

In the end all is as it is when nothing happens: no mask, question or answer is lost or doubled. So many seeds as
$SAM_ENGINE_KILL_SEEDS says are tried, 4 where it is not set; each kills once between any two turns of people.
"""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from engine.labeling.client import LabelStudioClient
from engine.labeling.folder import LabelingFolder
from engine.labeling.server import LabelStudioServer
from engine.labeling.setup import setup_project
from engine.store import Store
from schemas.config import CONFIG_FILE
from schemas.labeling import Purpose
from schemas.stages import STAGES
from tests.labelstudio.backend import running_backend
from tests.labelstudio.engine_workspace import SHOWN, click, clicked, client_of
from tests.labelstudio.people import annotate_all, answer_all, open_tasks
from tests.labelstudio.ports import free_port
from tests.labelstudio.ticks_to_kill import STAGE, Call, Moment, run_ticks
from tests.stages.workspaces import SETTINGS, make_workspace

pytestmark = [pytest.mark.labelstudio, pytest.mark.timeout(1200)]

SEEDS = range(int(os.environ.get("SAM_ENGINE_KILL_SEEDS", "4")))
PURPOSES: tuple[Purpose, ...] = (STAGE, "verification", "exhaustivity")
LONGEST_DELAY_S = 0.15
NOT_TO_KILL = ("open_round", "retrain_round")  # tests/e2e kills a retraining
PLAIN_TABLES = (*STAGES, "removed", "returned", "questions", "gates")


@dataclass
class Rounds:
    """A workspace with two rounds, whose first has two gates, and the people who work in it."""

    store: Store
    client: LabelStudioClient
    backend_url: str
    projects: dict[Purpose, int] = field(default_factory=dict)

    def begin(self, template: Path) -> None:
        """Forget all that was done, also in Label Studio."""
        for project in self.projects.values():
            self.client.delete_project(project)
        for path in self.store.workspace.iterdir():
            if path.is_dir() and path.name != "label_studio":
                shutil.rmtree(path)
        shutil.copytree(template, self.store.workspace, dirs_exist_ok=True)
        self.store = Store(self.store.workspace)
        folder = LabelingFolder(self.store.workspace)
        self.projects = {
            purpose: setup_project(self.client, folder, purpose, name="workspace", backend_url=self.backend_url).project
            for purpose in PURPOSES
        }

    def people_work(self) -> None:
        """Everybody does what is there to do: of three images one has a bad mask, one a mask of nothing, one lacks
        some."""
        annotate_all(self.client, self.projects[STAGE], self.store)
        first = self.store.read_rows(STAGE, round=1).to_pylist()
        removed = self.store.read_rows("removed", round=1).to_pylist()
        by_image: dict[int, list[int]] = {}
        for row in sorted((*first, *removed), key=lambda row: int(row["mask_id"])):
            by_image.setdefault(row["image_id"], []).append(row["mask_id"])
        bad, rejected, incomplete = ([*sorted(by_image), 0, 0, 0])[:3]
        verdicts = {mask_id: "good" for mask_ids in by_image.values() for mask_id in mask_ids}
        verdicts |= {
            by_image[image_id][0]: answer for image_id, answer in ((bad, "bad"), (rejected, "reject")) if image_id
        }
        answer_all(self.client, self.projects["verification"], verdicts, key="mask_id")
        complete = dict.fromkeys(by_image, "complete") | {incomplete: "missing"}
        answer_all(self.client, self.projects["exhaustivity"], complete, key="image_id")

    def tasks(self, purpose: Purpose) -> list[dict[str, Any]]:
        return list(self.client.tasks(self.projects[purpose]))

    def unfinished(self, purpose: Purpose) -> list[dict[str, Any]]:
        return open_tasks(self.client, self.projects[purpose])

    def contents(self) -> dict[str, Any]:
        """All that tables and Label Studio hold, but for numbers of tasks and times."""
        found: dict[str, Any] = {
            name: sorted(map(repr, self.store.read_table(name).to_pylist())) for name in PLAIN_TABLES
        }
        events = self.store.read_table("events").drop_columns(["event_id", "at_s"]).to_pylist()
        found["events"] = sorted(map(repr, events))
        found["rounds"] = [
            (each.round, each.state, each.image_ids, each.model_before, each.model_after, each.metrics.quality)
            for each in self.store.rounds(STAGE)
        ]
        published = [
            json.loads(row["record"]) | {"task": None} for row in self.store.read_table("published").to_pylist()
        ]
        found["published"] = sorted(map(repr, published))
        collected = [json.loads(row["task"]) for row in self.store.read_table("collected").to_pylist()]
        found["collected"] = sorted(work(task) for task in collected)
        for purpose, project in self.projects.items():
            found[f"tasks of {purpose}"] = sorted(work(task) for task in self.tasks(purpose))
            found[f"shown of {purpose}"] = self.client.project(project)["model_version"]
        return found


def work(task: dict[str, Any]) -> str:
    """What a task shows and what people answered."""
    shown = [prediction["result"] for prediction in task.get("predictions", ())]
    answers = [(each["result"], each["was_cancelled"], each["lead_time"]) for each in task["annotations"]]
    return repr((sorted(task["data"].items()), shown, answers))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace before its first round, but for the addresses of its servers."""
    return make_workspace(tmp_path_factory.mktemp("template"), images=7, holdout=0).workspace


@pytest.fixture(scope="module")
def rounds(label_studio: LabelStudioServer, template: Path) -> Iterator[Rounds]:
    backend = free_port()
    settings = SETTINGS | {
        "annotator": {"kind": "label_studio"},
        "labeling": {
            "url": label_studio.url,
            "backend_url": f"http://127.0.0.1:{backend}",
            "longest_side_px": SHOWN,
            "images_per_chunk": 2,
        },
        "gates": {"verification": "all", "exhaustivity": "all"},
        "assisted_manual": {"rounds": 2, "images_per_round": 3},
        "semi_automatic": SETTINGS["semi_automatic"] | {"images_per_round": 1},
        "retraining": {"steps": 1, "masks_per_image": 1},
    }
    (template / CONFIG_FILE).write_text(yaml.safe_dump(settings), encoding="utf-8")
    shutil.copytree(template, label_studio.workspace, dirs_exist_ok=True)
    with running_backend(label_studio.workspace, port=backend) as url:
        yield Rounds(Store(label_studio.workspace), client_of(label_studio), url)


@dataclass(frozen=True)
class Undisturbed:
    """calls: of each process."""

    calls: list[list[Call]]
    contents: dict[str, Any]


@pytest.fixture(scope="module")
def undisturbed(rounds: Rounds, template: Path) -> Undisturbed:
    """What is there in the middle of the second round, at its first gate."""
    rounds.begin(template)
    calls = []
    while not in_second_gate(rounds.store):
        rounds.people_work()
        code, done = run_ticks(rounds.store.workspace)
        assert code == 0
        calls.append(done)
    contents = rounds.contents()
    assert len(contents["returned"]) == 2
    assert len(contents["removed"]) == 5
    return Undisturbed(calls, contents)


def in_second_gate(store: Store) -> bool:
    return len(store.read_rows("gates", round=2)) > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_rounds_lose_and_double_nothing(
    rounds: Rounds, template: Path, undisturbed: Undisturbed, seed: int, test_output: Path
) -> None:
    rng = np.random.default_rng(seed)
    rounds.begin(template)
    killed_in: list[Call] = []
    for calls in undisturbed.calls:
        rounds.people_work()
        to_kill = [number for number, call in enumerate(calls) if call.step not in NOT_TO_KILL]
        delay_s = float(rng.choice([0.0, rng.uniform(0, LONGEST_DELAY_S)]))
        code, done = run_ticks(rounds.store.workspace, kill=Moment(int(rng.choice(to_kill)), delay_s))
        assert code == -signal.SIGKILL
        killed_in.append(done[-1])
        code, _ = run_ticks(rounds.store.workspace)
        assert code == 0
    lines = [f"seed {seed}: {call.step}: {call.name}\n" for call in killed_in]
    (test_output / "killed.txt").write_text("".join(lines), encoding="utf-8")
    assert rounds.contents() == undisturbed.contents


def test_nothing_is_lost_with_the_labeling_folder(rounds: Rounds, template: Path, undisturbed: Undisturbed) -> None:
    """It is deleted before and after people worked, each time that they are asked for something."""
    rounds.begin(template)
    folder = LabelingFolder(rounds.store.workspace)
    assert run_ticks(rounds.store.workspace)[0] == 0
    for _ in undisturbed.calls[1:]:
        addresses = [task["data"]["image"] for purpose in PURPOSES for task in rounds.unfinished(purpose)]
        pictures = {address: rounds.client.content(address) for address in addresses}
        assert pictures
        shutil.rmtree(folder.root)
        assert run_ticks(rounds.store.workspace)[0] == 0
        assert {address: rounds.client.content(address) for address in addresses} == pictures
        for task in rounds.unfinished(STAGE):
            assert clicked(rounds.client, rounds.projects[STAGE], task["id"], click(30, 30)), "the model answers"
        rounds.people_work()
        shutil.rmtree(folder.root)
        assert run_ticks(rounds.store.workspace)[0] == 0
    assert rounds.contents() == undisturbed.contents
