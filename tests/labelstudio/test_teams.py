"""Several people at once against a real Label Studio."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from engine.annotation import Link
from engine.labeling.folder import LabelingFolder
from engine.labeling.server import LabelStudioServer
from engine.labeling.setup import setup_project
from schemas.errors import InputError
from tests.labelstudio.engine_workspace import client_of
from tests.labelstudio.team import ALL_TASKS, ANSWER, BY_LINK, Person, person, project_with_tasks

pytestmark = pytest.mark.labelstudio


@pytest.fixture(scope="module")
def people(label_studio: LabelStudioServer) -> Iterator[list[Person]]:
    with ExitStack() as stack:
        yield [stack.enter_context(person(label_studio, name)) for name in ("ann", "ben", "eve")]


def work(someone: Person, project: int, asked: dict[str, Any], *, at_most: int = 100) -> list[int]:
    """Tasks that somebody was handed and has submitted."""
    done: list[int] = []
    while len(done) < at_most and (task := someone.next_task(project, asked)):
        done.append(int(task["id"]))
        someone.submit(task["id"], ANSWER)
    return done


@pytest.mark.parametrize("asked", [ALL_TASKS, BY_LINK], ids=["label all tasks", "by a link"])
def test_no_task_is_handed_to_two_people(
    label_studio: LabelStudioServer, people: list[Person], asked: dict[str, Any]
) -> None:
    project = project_with_tasks(label_studio, 60)
    first = [someone.next_task(project, asked) for someone in people]
    assert len({task["id"] for task in first if task}) == 3, "while nobody has submitted"
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda someone: work(someone, project, asked), people))
    handed_out = Counter(task for of_one in done for task in of_one)
    assert len(handed_out) == 60
    assert set(handed_out.values()) == {1}


def test_a_task_for_two_goes_to_two_people(label_studio: LabelStudioServer, people: list[Person]) -> None:
    project = project_with_tasks(label_studio, 10)
    client = client_of(label_studio)
    tasks = [task["id"] for task in client.tasks(project)]
    for task in tasks[:4]:
        client.want_people(task, 2)
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda someone: work(someone, project, ALL_TASKS), people))
    handed_out = Counter(task for of_one in done for task in of_one)
    assert handed_out == Counter(tasks) + Counter(tasks[:4])
    assert all(len(of_one) == len(set(of_one)) for of_one in done)


def test_a_skipped_task_is_not_handed_to_the_next(label_studio: LabelStudioServer, people: list[Person]) -> None:
    project = project_with_tasks(label_studio, 2)
    for someone in people[:2]:
        task = someone.next_task(project, ALL_TASKS)
        assert task
        someone.submit(task["id"], skipped=True)
    assert [someone.next_task(project, ALL_TASKS) for someone in people] == [None] * 3


def test_a_project_that_hands_tasks_out_otherwise_is_put_right(label_studio: LabelStudioServer) -> None:
    client, folder = client_of(label_studio), LabelingFolder(label_studio.workspace)

    def set_up() -> Link:
        return setup_project(client, folder, "verification", name="handed-out", backend_url="")

    project = set_up().project
    client.update_project(project, skip_queue="REQUEUE_FOR_OTHERS", maximum_annotations=3)
    assert set_up().changed == ("how tasks are handed out",)
    assert client.project(project)["skip_queue"] == "IGNORE_SKIPPED"
    assert client.project(project)["maximum_annotations"] == 1
    assert set_up().changed == ()


def test_pictures_that_the_server_does_not_serve(label_studio: LabelStudioServer, tmp_path: Path) -> None:
    client, folder = client_of(label_studio), LabelingFolder(tmp_path)
    before = client.projects()
    with pytest.raises(InputError, match="LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT") as caught:
        setup_project(client, folder, "verification", name="elsewhere", backend_url="")
    assert str(folder.images) in str(caught.value)
    assert client.projects() == before, "no empty project is left behind"
