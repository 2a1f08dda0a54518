"""The gates of quality and the audit of a round that people annotated, over a stand-in for Label Studio."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.labeling import tool
from engine.store import Store
from schemas.config import CONFIG_FILE
from schemas.errors import WaitError
from schemas.labeling import Gate
from schemas.stages import Stage
from stages.planning import gates_of, next_step
from stages.quality import move_gate
from stages.rounds import tick
from tests.engine.labeling.label_studio import FakeLabelStudio
from tests.stages.test_people import annotate, workspace

STAGE: Stage = "assisted_manual"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeLabelStudio:
    made = FakeLabelStudio()
    made.titles = {"workspace: assisted manual": 5, "workspace: semi automatic": 6}
    made.titles |= {f"workspace: {gate}": 7 for gate in ("verification", "exhaustivity", "audit")}
    monkeypatch.setattr(tool, "LabelStudioClient", lambda credentials: made)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "token")
    return made


@pytest.fixture
def store(server: FakeLabelStudio, tmp_path: Path) -> Store:
    """A first round of two images, annotated."""
    made = workspace(
        tmp_path,
        assisted_manual={"rounds": 2, "images_per_round": 2},
        labeling={"verify_frac": 1.0, "audit_images": 5},
        retraining={"steps": 1, "masks_per_image": 1},
    )
    tick(made, STAGE)
    tick(made, STAGE)
    for number in (1, 2):
        annotate(server, made, number, at=f"2026-01-02T00:00:0{number}Z")
    assert tick(made, STAGE).state == "advanced"
    server.stored.clear()
    return made


def answer(server: FakeLabelStudio, number: int, choice: str) -> None:
    region = {"id": "c", "type": "choices", "from_name": "verdict", "to_name": "image", "value": {"choices": [choice]}}
    server.submit(number, region, at=f"2026-03-01T00:00:{number:02d}Z", lead_time=4.0)


def rows(store: Store) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = store.read_table(STAGE).sort_by("mask_id").to_pylist()
    return found


def test_verdicts_have_consequences(server: FakeLabelStudio, store: Store) -> None:
    before = rows(store)
    first = move_gate(store, "verification")
    assert not first.finished
    assert len(server.stored) == len(before)
    assert (store.workspace / "labeling" / "images" / "verification" / "assisted_manual-1").is_dir()
    assert move_gate(store, "verification") == first, "nothing is published twice"
    by_image = sorted({row["image_id"] for row in before})
    bad = next(row for row in before if row["image_id"] == by_image[0])
    rejected = next(row for row in before if row["image_id"] == by_image[1])
    for number, task in server.stored.items():
        mask_id = int(task["data"]["mask_id"])
        answer(server, number, {bad["mask_id"]: "bad", rejected["mask_id"]: "reject"}.get(mask_id, "good"))
    done = move_gate(store, "verification")
    assert done.finished
    assert "1 mask taken away, 1 image goes back" in done.message
    left = {row["mask_id"] for row in rows(store)}
    expected = {row["mask_id"] for row in before if row["image_id"] == by_image[1]} - {rejected["mask_id"]}
    assert left == expected, "the image with the bad mask goes back with all its masks"
    assert move_gate(store, "verification").message == done.message, "drawn once"
    assert {row["mask_id"] for row in rows(store)} == expected
    assert "verification" in (store.workspace / "reports" / "quality-verification-assisted_manual-1.md").read_text()
    assert store.rounds(STAGE)[0].metrics.quality["verification"]["answers"] == len(before)

    assert tick(store, STAGE).action == "retrain"
    step = next_step(store, STAGE)
    assert step.image_ids[0] == by_image[0], "what came back comes first"
    server.stored.clear()
    tick(store, STAGE)
    tick(store, STAGE)
    back = next(task for task in server.stored.values() if task["data"]["image_id"] == str(by_image[0]))
    shown = back["predictions"][0]["result"]
    assert {region["id"] for region in shown} == {
        f"mask-{row['mask_id']}" for row in before if row["image_id"] == by_image[0]
    }
    for number, task in server.stored.items():
        regions = task["predictions"][0]["result"][1:] if task["predictions"] else []
        server.submit(number, *regions, at=f"2026-04-01T00:00:0{number}Z")
    assert tick(store, STAGE).state == "advanced"
    again = [row for row in rows(store) if row["image_id"] == by_image[0]]
    assert len(again) == len(shown) - 1
    assert {row["origin"] for row in again} == {"manual"}, "a person made them; nobody touched them since"
    assert {row["round"] for row in again} == {2}


@pytest.mark.parametrize("gate", ["verification", "exhaustivity"])
def test_a_question_that_a_person_skipped_is_not_waited_for(server: FakeLabelStudio, store: Store, gate: Gate) -> None:
    before = [row["mask_id"] for row in rows(store)]
    move_gate(store, gate)
    server.submit(1, at="2026-03-01T00:00:01Z", was_cancelled=True)
    for number in list(server.stored)[1:]:
        answer(server, number, "good" if gate == "verification" else "complete")
    assert move_gate(store, gate).finished
    server.stored.clear()
    assert move_gate(store, gate).finished, "what was answered stays so when its task is gone"
    assert [row["mask_id"] for row in rows(store)] == before


@pytest.mark.parametrize(("asked", "count"), [("sample", 1), ("all", 2)])
def test_a_gate_asks_about_a_share_of_the_images_or_about_all(
    server: FakeLabelStudio, store: Store, asked: str, count: int
) -> None:
    settings = yaml.safe_load((store.workspace / CONFIG_FILE).read_text())
    settings["labeling"]["verify_frac"] = 0.5
    settings["gates"] = {"exhaustivity": asked}
    (store.workspace / CONFIG_FILE).write_text(yaml.safe_dump(settings))
    move_gate(store, "exhaustivity")
    assert len(server.stored) == count


def test_incomplete_images_go_back(server: FakeLabelStudio, store: Store) -> None:
    move_gate(store, "exhaustivity")
    assert len(server.stored) == 2
    answer(server, 1, "missing")
    assert not move_gate(store, "exhaustivity").finished
    answer(server, 2, "complete")
    found = move_gate(store, "exhaustivity")
    assert found.finished
    assert found.found is not None
    assert found.found["shares"]["missing"]["count"] == 1
    gone = int(server.stored[1]["data"]["image_id"])
    assert gone not in {row["image_id"] for row in rows(store)}


def test_nothing_is_lost_with_the_labeling_folder(server: FakeLabelStudio, store: Store) -> None:
    """It holds what can be had again; in the middle of a gate and of a round."""
    before = rows(store)
    move_gate(store, "exhaustivity")
    answer(server, 1, "missing")
    move_gate(store, "exhaustivity")
    shutil.rmtree(store.workspace / "labeling")
    answer(server, 2, "complete")
    assert move_gate(store, "exhaustivity").finished
    gone = int(server.stored[1]["data"]["image_id"])
    server.stored.clear()
    tick(store, STAGE)
    assert next_step(store, STAGE).image_ids[0] == gone, "what came back comes first"
    tick(store, STAGE)
    tick(store, STAGE)
    shutil.rmtree(store.workspace / "labeling")
    tasks = {number: int(task["data"]["image_id"]) for number, task in server.stored.items()}
    for number in tasks:
        server.submit(number, *task_regions(server, number), at=f"2026-04-01T00:00:0{number}Z")
    assert tick(store, STAGE).state == "advanced"
    assert {number: int(task["data"]["image_id"]) for number, task in server.stored.items()} == tasks, "asked once"
    again = [row["rle"] for row in rows(store) if row["image_id"] == gone]
    assert sorted(again) == sorted(row["rle"] for row in before if row["image_id"] == gone)


def test_pictures_of_open_questions_are_served_again(server: FakeLabelStudio, store: Store) -> None:
    """Also those of questions that are answered already: people may look at them again."""
    move_gate(store, "verification")
    pictures = store.workspace / "labeling" / "images"
    addresses = [task["data"]["image"].removeprefix("/data/local-files/?d=") for task in server.stored.values()]
    before = {address: (pictures / address).read_bytes() for address in addresses}
    answer(server, 1, "good")
    shutil.rmtree(store.workspace / "labeling")
    assert not move_gate(store, "verification").finished
    assert {address: (pictures / address).read_bytes() for address in addresses} == before


@pytest.mark.parametrize("answered", [1, 3])
def test_a_question_that_arrived_twice_is_asked_once(server: FakeLabelStudio, store: Store, answered: int) -> None:
    """A killed process had sent it, and it arrived only after the next one had looked."""
    move_gate(store, "exhaustivity")
    (late,) = server.import_tasks(7, [{"data": server.stored[1]["data"]}])
    answer(server, answered, "missing")
    assert "1 of 2 are answered" in move_gate(store, "exhaustivity").message
    assert sorted(server.stored) == sorted({2, answered}), late


def task_regions(server: FakeLabelStudio, number: int) -> list[dict[str, Any]]:
    """What an annotator who changes nothing submits."""
    return [region for prediction in server.stored[number]["predictions"] for region in prediction["result"]]


def test_a_round_is_learned_from_once_its_gates_are_passed(server: FakeLabelStudio, store: Store) -> None:
    settings = yaml.safe_load((store.workspace / CONFIG_FILE).read_text())
    settings["gates"] = {"verification": "all", "exhaustivity": "sample"}
    (store.workspace / CONFIG_FILE).write_text(yaml.safe_dump(settings))
    step = next_step(store, STAGE)
    assert (step.action, step.message) == ("verify", "people answer at the gates: verification, exhaustivity")
    waiting = tick(store, STAGE)
    assert waiting.state == "waiting"
    assert "0 of 6 are answered" in waiting.message
    assert tick(store, STAGE).state == "waiting"
    assert len(server.stored) == 6, "the second gate asks once the first is through"
    assert store.rounds(STAGE)[0].state == "annotated"
    bad = server.stored[1]["data"]
    for number in range(1, 7):
        answer(server, number, "bad" if number == 1 else "good")
    assert tick(store, STAGE).state == "waiting"
    (question,) = (task["data"] for task in server.stored.values() if task["data"]["gate"] == "exhaustivity")
    assert question["image_id"] != bad["image_id"], "an image that goes back is not asked about"
    answer(server, 7, "complete")
    passed = tick(store, STAGE)
    assert (passed.action, passed.state) == ("verify", "advanced")
    assert store.rounds(STAGE)[0].state == "verified"
    assert int(bad["mask_id"]) not in {row["mask_id"] for row in rows(store)}
    assert tick(store, STAGE).action == "retrain"


def test_a_simulated_round_has_no_gates(tmp_path: Path) -> None:
    made = workspace(tmp_path, annotator={"kind": "simulated", "max_clicks": 1}, gates={"verification": "all"})
    assert gates_of(made.files.settings(), STAGE) == ()


def test_the_audit_measures_and_changes_nothing(server: FakeLabelStudio, store: Store) -> None:
    before, version = rows(store), store.versions()[STAGE]
    waiting = move_gate(store, "audit")
    assert "0 of 2 images are corrected" in waiting.message
    assert waiting.found is None
    for number, task in server.stored.items():
        regions = task["predictions"][0]["result"]
        server.submit(number, *(regions[1:] if number == 1 else regions), at=f"2026-03-01T00:00:0{number}Z")
    found = move_gate(store, "audit")
    assert found.finished
    assert found.found is not None
    assert found.found["masks"] == len(before)
    assert found.found["deleted"] == 1
    assert found.found["over_high"]["value"] == 1.0, "what nobody touched is the same mask"
    assert store.versions()[STAGE] == version


def test_nothing_to_look_at_yet(server: FakeLabelStudio, tmp_path: Path) -> None:
    with pytest.raises(WaitError, match="no such round is annotated yet"):
        move_gate(workspace(tmp_path), "audit")


def test_a_gate_without_a_project(server: FakeLabelStudio, store: Store) -> None:
    del server.titles["workspace: verification"]
    with pytest.raises(WaitError, match="--gates"):
        move_gate(store, "verification")
