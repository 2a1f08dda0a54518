"""The gates of quality and the audit as projects of a real Label Studio, with a script in the place of people."""

from collections.abc import Iterator

import pytest

from engine.labeling.folder import LabelingFolder
from engine.labeling.server import LabelStudioServer
from engine.labeling.setup import setup_project
from engine.store import Store
from schemas.labeling import GATES
from stages.quality import move_gate
from stages.rounds import tick
from tests.labelstudio.engine_workspace import client_of, engine_workspace
from tests.labelstudio.test_rounds import annotate_first_round

pytestmark = pytest.mark.labelstudio
STAGE = "assisted_manual"


@pytest.fixture(scope="module")
def store(label_studio: LabelStudioServer) -> Iterator[Store]:
    """A workspace whose first round is annotated: two masks on one picture, the other was skipped."""
    with engine_workspace(label_studio) as made:
        tick(made, STAGE)
        tick(made, STAGE)
        annotate_first_round(label_studio, made)
        assert tick(made, STAGE).state == "advanced"
        url = made.files.settings().labeling.backend_url
        for gate in GATES:
            setup_project(
                client_of(label_studio), LabelingFolder(made.workspace), gate, name="workspace", backend_url=url
            )
        yield made


def choose(server: LabelStudioServer, task: int, choice: str) -> None:
    region = {"id": "c", "type": "choices", "from_name": "verdict", "to_name": "image", "value": {"choices": [choice]}}
    client_of(server).annotate(task, [region], lead_time_s=5.0)


def test_the_audit(label_studio: LabelStudioServer, store: Store) -> None:
    """First: the gates take masks away."""
    assert "0 of 1 image is corrected" in move_gate(store, "audit").message
    project = LabelingFolder(store.workspace).project("audit")
    assert project is not None
    client = client_of(label_studio)
    (task,) = client.tasks(project)
    first, _ = task["predictions"][0]["result"]
    client.annotate(task["id"], [first], lead_time_s=9.0)
    found = move_gate(store, "audit")
    assert found.finished
    assert found.found is not None
    assert (found.found["masks"], found.found["deleted"], found.found["pairs"]) == (2, 1, 1)


def test_exhaustivity_shows_pictures_and_reads_answers(label_studio: LabelStudioServer, store: Store) -> None:
    assert not move_gate(store, "exhaustivity").finished
    project = LabelingFolder(store.workspace).project("exhaustivity")
    assert project is not None
    client = client_of(label_studio)
    tasks = list(client.tasks(project))
    for task in tasks:
        assert client.content(task["data"]["image"])[:2] == b"\xff\xd8", "a JPEG file"
        choose(label_studio, task["id"], "complete")
    done = move_gate(store, "exhaustivity")
    assert done.finished
    assert "0 images go back" in done.message


def test_a_rejected_mask_is_taken_away(label_studio: LabelStudioServer, store: Store) -> None:
    before = store.counts()[STAGE]
    move_gate(store, "verification")
    project = LabelingFolder(store.workspace).project("verification")
    assert project is not None
    (task,) = client_of(label_studio).tasks(project)
    choose(label_studio, task["id"], "reject")
    assert move_gate(store, "verification").finished
    left = {str(row["mask_id"]) for row in store.read_table(STAGE).to_pylist()}
    assert len(left) == before - 1
    assert task["data"]["mask_id"] not in left
