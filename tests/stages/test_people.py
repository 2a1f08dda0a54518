"""Rounds in the hands of people; that a real Label Studio does what the stand-in does is shown in tests/labelstudio."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.labeling.folder import LabelingFolder
from engine.labeling.secret import backend_login
from engine.store import Store
from schemas.errors import WaitError
from schemas.mask import Mask
from stages.assisted_manual import AssistedManualWorker
from stages.planning import next_step
from stages.rounds import tick
from tests.engine.labeling.label_studio import FakeLabelStudio
from tests.stages.people_at_work import annotate, ground_truth, stand_in
from tests.stages.workspaces import ALL_MASKS, make_workspace

STAGE = "assisted_manual"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeLabelStudio:
    return stand_in(monkeypatch)


def workspace(folder: Path, **settings: Any) -> Store:
    annotator = {"annotator": {"kind": "label_studio"}, "assisted_manual": {"rounds": 1, "images_per_round": 3}}
    return make_workspace(folder, **annotator | settings)


def to_the_open_round(store: Store) -> None:
    assert tick(store, STAGE).action == "open"


def test_a_round_waits_for_people_and_goes_on_when_they_are_done(server: FakeLabelStudio, tmp_path: Path) -> None:
    store = workspace(tmp_path)
    to_the_open_round(store)
    first = tick(store, STAGE)
    assert first.state == "waiting"
    assert "0 of 3 images are annotated or skipped" in first.message
    assert "http://label-studio/projects/5/data" in first.message
    assert len(server.stored) == 3
    annotate(server, store, 1, at="2026-01-02T00:00:01Z")
    annotate(server, store, 2, at="2026-01-02T00:00:02Z")
    assert "2 of 3" in tick(store, STAGE).message
    assert store.counts()[STAGE] == 0, "nothing is committed before the round is done"
    server.submit(3, at="2026-01-02T00:00:03Z", was_cancelled=True, lead_time=5.0)
    done = tick(store, STAGE)
    assert done.state == "advanced"
    assert "simulated" not in done.message
    masks = store.read_table(STAGE).to_pylist()
    assert len(masks) == sum(len(ground_truth(store, int(server.stored[n]["data"]["image_id"]))) for n in (1, 2))
    assert {mask["origin"] for mask in masks} == {"manual"}
    assert {mask["annotator"] for mask in masks} == {"label_studio:3"}
    clicked = [mask for mask in masks if mask["clicks"]]
    assert [mask["seconds"] for mask in clicked] == [7.0, 7.0]
    assert {mask["model_id"] for mask in clicked} == {store.rounds(STAGE)[0].model_before}
    assert {mask["seconds"] for mask in masks if not mask["clicks"]} == {20.0}, "47 s less 7 s, for two masks"
    events = store.read_table("events").to_pylist()
    assert [event["seconds"] for event in events if event["kind"] == "skip"] == [5.0]
    assert json.loads(next(event for event in events if event["kind"] == "accept")["detail"])["clicks"] == 2
    assert tick(store, STAGE).action == "retrain"
    report = (store.workspace / "reports" / "rounds.md").read_text()
    assert "label_studio:3" in report
    assert "simulated" not in report


def test_a_backend_with_another_model_than_the_round_s_is_told(server: FakeLabelStudio, tmp_path: Path) -> None:
    store = workspace(tmp_path)
    to_the_open_round(store)
    assert "project 5 has no model backend at http://127.0.0.1:9090" in tick(store, STAGE).message
    user = backend_login(LabelingFolder(store.workspace)).user
    backend = {"url": "http://127.0.0.1:9090", "state": "CO", "basic_auth_user": user, "basic_auth_pass_is_set": True}
    server.connected = [backend | {"model_version": "other"}]
    model = store.rounds(STAGE)[0].model_before
    assert f"answers with model other, and the open round works with {model}" in tick(store, STAGE).message
    server.connected = [backend | {"model_version": model}]
    assert "to be looked at" not in tick(store, STAGE).message
    server.connected = [backend | {"state": "DI"}]
    assert "does not answer; start it with: sam-engine labeling serve" in tick(store, STAGE).message
    server.connected = [backend | {"state": "ER", "error_message": "401 Client Error: Unauthorized"}]
    assert "refuses this workspace's secret" in tick(store, STAGE).message


def test_the_work_of_a_second_person_is_kept_and_in_the_report(server: FakeLabelStudio, tmp_path: Path) -> None:
    store = workspace(tmp_path, labeling={"overlap_frac": 0.3})
    to_the_open_round(store)
    tick(store, STAGE)
    (planned,) = (number for number, task in server.stored.items() if task.get("overlap") == 2)
    for number in server.stored:
        annotate(server, store, number, at=f"2026-01-02T00:00:0{number}Z")
    message = tick(store, STAGE).message
    assert "2 of 3 images" in message
    assert "1 wait for a second person" in message
    annotate(server, store, planned, at="2026-01-03T00:00:00Z")
    server.stored[planned]["annotations"][-1] |= {"completed_by": 4, "id": 2}
    assert tick(store, STAGE).state == "advanced"
    objects = len(ground_truth(store, int(server.stored[planned]["data"]["image_id"])))
    kept = store.read_table("annotations").to_pylist()
    assert len(kept) == 4
    (second,) = (row for row in kept if not row["valid"])
    assert (second["annotator"], second["mask_count"], second["seconds"]) == ("label_studio:3", objects, 47.0)
    assert len([Mask.from_json(mask) for mask in json.loads(second["masks"])]) == objects
    of_image = store.read_image(STAGE, second["image_id"]).to_pylist()
    assert {row["annotator"] for row in of_image} == {"label_studio:4"}
    metrics = store.rounds(STAGE)[0].metrics
    assert metrics.agreement is not None
    assert (metrics.agreement.planned, metrics.agreement.pairs, metrics.agreement.mean_iou) == (1, objects, 1.0)
    assert metrics.people is not None
    assert metrics.people["label_studio:3"].superseded_s == 47.0
    tick(store, STAGE)
    assert "# Agreement" in (store.workspace / "reports" / "rounds.md").read_text()


def test_the_same_tick_twice_changes_nothing(server: FakeLabelStudio, tmp_path: Path) -> None:
    store = workspace(tmp_path)
    to_the_open_round(store)
    assert tick(store, STAGE) == tick(store, STAGE)
    assert len(server.stored) == 3


def test_most_useful_images_first(server: FakeLabelStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = workspace(tmp_path)
    to_the_open_round(store)
    scores = dict(zip(sorted(store.rounds(STAGE)[0].image_ids), (0.2, 0.9, 0.5), strict=True))
    monkeypatch.setattr(AssistedManualWorker, "_usefulness", lambda self, image_id: scores[image_id])
    tick(store, STAGE)
    sent = [int(task["data"]["image_id"]) for task in server.stored.values()]
    assert [scores[image_id] for image_id in sent] == [0.9, 0.5, 0.2]


def test_confident_masks_are_there_in_the_second_stage(server: FakeLabelStudio, tmp_path: Path) -> None:
    store = workspace(
        tmp_path,
        semi_automatic={
            "rounds": 1,
            "images_per_round": 2,
            "prefill": "generator",
            "max_prefilled_masks": 3,
            "generator": ALL_MASKS,
        },
    )
    to_the_open_round(store)
    tick(store, STAGE)
    for number in (1, 2, 3):
        annotate(server, store, number, at=f"2026-01-02T00:00:0{number}Z")
    while tick(store, STAGE).state != "done":
        pass
    server.stored.clear()
    tick(store, "semi_automatic")
    assert tick(store, "semi_automatic").state == "waiting"
    for number, task in list(server.stored.items()):
        regions = task["predictions"][0]["result"]
        assert 1 <= len(regions) <= 3
        server.submit(number, *regions[1:], at=f"2026-02-02T00:00:0{number}Z")
    assert tick(store, "semi_automatic").state == "advanced"
    metrics = store.rounds("semi_automatic")[0].metrics
    assert metrics.prefilled_deleted_frac > 0
    assert metrics.prefilled_kept_frac + metrics.prefilled_deleted_frac == pytest.approx(1)
    masks = store.read_table("semi_automatic").to_pylist()
    assert {mask["origin"] for mask in masks} <= {"automatic"}
    assert store.counts()["generation"] == 2


def test_enough_is_enough(server: FakeLabelStudio, tmp_path: Path) -> None:
    store = workspace(tmp_path, labeling={"done_frac": 0.5})
    to_the_open_round(store)
    tick(store, STAGE)
    for number in (1, 2):
        annotate(server, store, number, at=f"2026-01-02T00:00:0{number}Z")
    assert tick(store, STAGE).state == "advanced"


def test_no_project_yet(server: FakeLabelStudio, tmp_path: Path) -> None:
    server.titles = {}
    store = workspace(tmp_path)
    to_the_open_round(store)
    with pytest.raises(WaitError, match="sam-engine labeling setup"):
        tick(store, STAGE)


def test_people_need_no_ground_truth(server: FakeLabelStudio, tmp_path: Path) -> None:
    """Every image that is not held out can be annotated."""
    store = workspace(tmp_path, assisted_manual={"rounds": 1})
    assert len(next_step(store, STAGE).image_ids) == 3, "half of six, less the held-out one, for the next stage"
