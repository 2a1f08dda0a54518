"""Both stages of people against a real Label Studio, with a script in the annotators' place that posts by the API."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from engine.labeling.collect import read_round
from engine.labeling.doctor import Doctor
from engine.labeling.folder import LabelingFolder, Scope
from engine.labeling.publish import Publisher
from engine.labeling.records import RoundRecords
from engine.labeling.registered import backend_problem
from engine.labeling.secret import backend_login
from engine.labeling.server import LabelStudioServer
from engine.labeling.setup import setup_project
from engine.store import Store
from schemas.errors import InputError, WaitError
from schemas.stages import Stage
from stages.rounds import TickResult, tick
from tests.labelstudio.engine_workspace import click, clicked, client_of, drawn, engine_workspace

pytestmark = pytest.mark.labelstudio


@pytest.fixture(scope="module")
def store(label_studio: LabelStudioServer) -> Iterator[Store]:
    with engine_workspace(label_studio) as made:
        yield made


def project_of(store: Store, stage: Stage) -> int:
    found = LabelingFolder(store.workspace).project(stage)
    assert found is not None
    return found


def annotate_first_round(server: LabelStudioServer, store: Store) -> None:
    """Of two pictures: on one a clicked and a drawn mask and a prompt that nobody accepted, the other is skipped."""
    client, project = client_of(server), project_of(store, "assisted_manual")
    first, second = client.tasks(project)
    region = clicked(client, project, first["id"], click(30, 30), click(80, 80, prompt_id="second", positive=False))
    client.annotate(first["id"], [region, drawn(store, first, 1), click(1, 1, prompt_id="left")], lead_time_s=50.0)
    client.annotate(second["id"], [], lead_time_s=3.0, skipped=True)


def annotate_second_round(server: LabelStudioServer, store: Store) -> None:
    """On each picture: the first prefilled mask is deleted, the second replaced by ground truth, the rest kept."""
    client, project = client_of(server), project_of(store, "semi_automatic")
    for task in client.tasks(project):
        _, second, *others = task["predictions"][0]["result"]
        edited = drawn(store, task, 0) | {"id": second["id"]}
        client.annotate(task["id"], [edited, *others, drawn(store, task, 2)], lead_time_s=20.0)


def run_both_stages(server: LabelStudioServer, store: Store) -> list[TickResult]:
    results = []
    for stage, annotate in (("assisted_manual", annotate_first_round), ("semi_automatic", annotate_second_round)):
        assert tick(store, stage).action == "open"
        waiting = tick(store, stage)
        assert waiting.state == "waiting", waiting.message
        assert "to be looked at" not in waiting.message, "the model backend answers with the model of the round"
        assert tick(store, stage) == waiting, "nothing is published twice"
        annotate(server, store)
        while (result := tick(store, stage)).state != "done":
            results.append(result)
    return results


def assert_as_annotated(store: Store) -> None:
    manual = store.read_table("assisted_manual").to_pylist()
    assert len(manual) == 2
    by_click = next(row for row in manual if row["clicks"])
    assert [point["label"] for point in by_click["points"]] == [1, 0]
    assert by_click["points"][0]["x"] == pytest.approx(0.3 * by_click["width"])
    assert by_click["model_id"] == store.rounds("assisted_manual")[0].model_before
    assert sum(row["seconds"] for row in manual) == pytest.approx(50.0, abs=0.01)
    assert {row["origin"] for row in manual} == {"manual"}
    kinds = [event["kind"] for event in store.read_table("events").to_pylist() if event["stage"] == "assisted_manual"]
    assert sorted(kinds) == ["accept", "draw", "skip"]
    metrics = store.rounds("semi_automatic")[0].metrics
    assert metrics.prefilled_deleted_frac > 0
    assert metrics.prefilled_edited_frac > 0
    assert len(store.read_table("semi_automatic")) > 0
    assert store.rounds("semi_automatic")[0].model_after


def test_setting_up_twice_changes_nothing(label_studio: LabelStudioServer, store: Store) -> None:
    url = store.files.settings().labeling.backend_url
    for purpose in ("assisted_manual", "semi_automatic"):
        link = setup_project(
            client_of(label_studio), LabelingFolder(store.workspace), purpose, name="workspace", backend_url=url
        )
        assert link.changed == ()


def test_two_that_set_up_at_once_make_one_project_of_each_purpose(
    label_studio: LabelStudioServer, store: Store
) -> None:
    command = [sys.executable, "-m", "flows.cli", "labeling", "setup", str(store.workspace), "--gates", "--json"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (json.loads(process.communicate(timeout=300)[0]) for process in running)
    assert [process.returncode for process in running] == [0, 0]
    assert {name: made["project"] for name, made in first.items()} == {
        name: made["project"] for name, made in second.items()
    }
    found = client_of(label_studio).get("/api/projects", params={"page_size": 100})["results"]
    titles = [project["title"] for project in found]
    assert len(titles) == len(set(titles))
    assert len(first) == len({made["project"] for made in first.values()})


def test_the_doctor_finds_nothing_wrong(label_studio: LabelStudioServer, store: Store) -> None:
    url = store.files.settings().labeling.backend_url
    checks = list(
        Doctor(
            client_of(label_studio),
            LabelingFolder(store.workspace),
            "assisted_manual",
            name="workspace",
            backend_url=url,
        ).checks()
    )
    assert [check.remedy for check in checks] == [""] * 9
    assert checks[-1].name == "round trip"


def test_both_stages_run_a_round(label_studio: LabelStudioServer, store: Store) -> None:
    run_both_stages(label_studio, store)
    assert_as_annotated(store)
    records = RoundRecords(store, Scope("assisted_manual", "assisted_manual", 1))
    found = read_round(records.published(), records.collected(), list(records.published()))
    assert sorted(image.unaccepted_prompts for image in found.images) == [0, 1]


def test_the_backend_answers_with_the_model_of_the_last_retraining(
    label_studio: LabelStudioServer, store: Store
) -> None:
    """It was started once, before the first round."""
    (backend,) = client_of(label_studio).backends(project_of(store, "semi_automatic"))
    first, last = store.rounds("assisted_manual")[0], store.rounds("semi_automatic")[0]
    assert backend["model_version"] == last.model_after
    assert len({first.model_before, first.model_after, last.model_after}) == 3


def test_a_backend_with_another_model_is_told(label_studio: LabelStudioServer, store: Store) -> None:
    client, project = client_of(label_studio), project_of(store, "semi_automatic")
    url = store.files.settings().labeling.backend_url
    login, last = backend_login(LabelingFolder(store.workspace)), store.rounds("semi_automatic")[0]
    assert backend_problem(client, project, url, login=login, model_id=last.model_after) == ""
    wrong = backend_problem(client, project, url, login=login, model_id=last.model_before)
    assert f"answers with model {last.model_after}, and the open round works with {last.model_before}" in wrong
    assert wrong.endswith("without --model")
    assert "\n" not in wrong


def test_every_prefilled_mask_arrived(label_studio: LabelStudioServer, store: Store) -> None:
    client = client_of(label_studio)
    for record in RoundRecords(store, Scope("semi_automatic", "semi_automatic", 1)).published().values():
        sent = {one.region_id for one in record.prefilled}
        assert sent
        assert {region["id"] for region in client.task(record.task)["predictions"][0]["result"]} == sent


def test_a_project_that_somebody_deleted(label_studio: LabelStudioServer, store: Store) -> None:
    client, folder = client_of(label_studio), LabelingFolder(store.workspace)
    url = store.files.settings().labeling.backend_url
    gone = setup_project(client, folder, "audit", name="workspace", backend_url=url)
    client.delete_project(gone.project)
    scope = Scope("audit", "assisted_manual", 1)
    publisher = Publisher(client, folder, RoundRecords(store, scope), scope, project=gone.project)
    with pytest.raises(InputError, match="sam-engine labeling setup"):
        publisher.missing([1])
    again = setup_project(client, folder, "audit", name="workspace", backend_url=url)
    assert "project" in again.changed


def test_a_wrong_token(label_studio: LabelStudioServer, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "0" * 40)
    with pytest.raises(InputError, match="refuses the API token") as caught:
        client_of(label_studio).who_am_i()
    assert "0000" not in str(caught.value)


def test_a_server_that_is_not_there(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.labeling.client import LabelStudioClient
    from engine.labeling.folder import Credentials

    with pytest.raises(WaitError, match="does not answer"):
        LabelStudioClient(Credentials("http://127.0.0.1:9", "0" * 40)).who_am_i()


def test_on_postgresql(label_studio_on_postgres: LabelStudioServer) -> None:
    with engine_workspace(label_studio_on_postgres) as store:
        run_both_stages(label_studio_on_postgres, store)
        assert_as_annotated(store)
