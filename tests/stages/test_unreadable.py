"""Pictures that were deleted, cut off or changed after they came in: a stage goes on without them and says which."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine.analysis.report import as_markdown
from engine.analysis.rounds import round_reports
from engine.store import Store
from model.registry import find_model
from schemas.errors import InputError
from schemas.round_metrics import RoundMetrics
from schemas.stages import Stage
from schemas.tables import Round
from stages import steps
from stages.assisted_manual import AssistedManualWorker
from stages.planning import Step, next_step
from stages.progress import silent
from stages.rounds import tick
from stages.shards import serial
from stages.unreadable import check_unreadable, lost_images, told_unreadable
from tests.engine.labeling.label_studio import FakeLabelStudio
from tests.stages.people_at_work import annotate, stand_in
from tests.stages.workspaces import make_workspace, shapes

MANUAL, SEMI, AUTOMATIC = "assisted_manual", "semi_automatic", "fully_automatic"
ROUNDS = {"rounds": 1, "images_per_round": 6}
SETTINGS: dict[str, Any] = {
    MANUAL: ROUNDS,
    "retraining": {"steps": 2, "masks_per_image": 2, "max_bad_frac": 0.5},
}
Damage = Callable[[Path], object]


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def exchange(path: Path) -> None:
    """Another picture of the same size."""
    Image.fromarray(shapes(99)[0]).save(path)


DAMAGES: tuple[Damage, ...] = (Path.unlink, cut_off, exchange)


def paths(store: Store) -> dict[int, Path]:
    return {row["image_id"]: store.workspace / row["path"] for row in store.images().to_pylist()}


def damage(store: Store, image_ids: Sequence[int]) -> None:
    for which, image_id in enumerate(image_ids):
        DAMAGES[which % 3](paths(store)[image_id])


def put_back(store: Store, intact: Store, image_ids: Sequence[int]) -> None:
    for image_id in image_ids:
        shutil.copy(paths(intact)[image_id], paths(store)[image_id])


def rows(store: Store, stage: Stage, *, without: Sequence[int] = ()) -> list[str]:
    """What the first round wrote of images, but for clocks."""
    found = store.read_rows(stage, round=1).to_pylist()
    events = [row | {"at_s": 0} for row in store.read_rows("events", stage=stage, round=1).to_pylist()]
    generation = [
        {name: row[name] for name in ("image_id", "masks", "dropped", "generator_config")}
        for row in store.read_rows("generation", stage=stage, round=1).to_pylist()
    ]
    return sorted(repr(row) for row in (*found, *events, *generation) if row["image_id"] not in without)


@pytest.mark.parametrize("stage", [MANUAL, SEMI, AUTOMATIC])
def test_a_stage_goes_on_without_pictures_that_cannot_be_read(tmp_path: Path, stage: Stage) -> None:
    intact, damaged = (make_workspace(tmp_path / name, images=6, holdout=0) for name in ("intact", "damaged"))
    model = find_model("tiny", intact.files.model_roots()).model_id
    ids = sorted(paths(intact))
    gone = ids[1:4]
    damage(damaged, gone)
    for store in (intact, damaged):
        store.put_round(Round(stage, 1, ids, model_before=model))
    steps.annotate(intact, Step(stage, "annotate", 1, ""), serial, silent)
    said = steps.annotate(damaged, Step(stage, "annotate", 1, ""), serial, silent)
    metrics = damaged.rounds(stage)[0].metrics
    assert metrics.images_unreadable == tuple(gone)
    assert (metrics.images, intact.rounds(stage)[0].metrics.images) == (3, 6)
    assert len(metrics.why_unreadable) == 3
    for image_id in gone:
        assert any(f"{image_id}.png: " in why for why in metrics.why_unreadable)
    assert "; left out, since they cannot be read: 3 pictures, the first: " in said
    assert f"| 3 | cannot be read, the first: {metrics.why_unreadable[0]}" in as_markdown(round_reports(damaged))
    assert rows(damaged, stage) == rows(intact, stage, without=gone)
    assert rows(damaged, stage) != rows(intact, stage)


def test_one_that_is_put_back_comes_in_the_next_round(tmp_path: Path) -> None:
    settings = SETTINGS | {MANUAL: {"rounds": 2, "images_per_round": 4}}
    store, intact = (make_workspace(tmp_path / name, images=13, holdout=0, **settings) for name in ("a", "b"))
    tick(store, MANUAL)
    first = list(store.rounds(MANUAL)[0].image_ids)
    damage(store, first[:2])
    tick(store, MANUAL)
    put_back(store, intact, first[1:2])
    while next_step(store, MANUAL).action != "open":
        tick(store, MANUAL)
    second = list(next_step(store, MANUAL).image_ids)
    assert first[1] in second
    assert not {*second} & {first[0], *first[2:]}
    tick(store, MANUAL)
    tick(store, MANUAL)
    assert set(store.read_rows(MANUAL, round=2)["image_id"].to_pylist()) == set(second)


def test_a_stage_without_people_takes_it_up_when_it_is_put_back(tmp_path: Path) -> None:
    store, intact = (make_workspace(tmp_path / name, images=3) for name in ("a", "b"))
    ids = sorted(paths(store))
    damage(store, ids[:1])
    store.put_round(Round(AUTOMATIC, 1, ids, "retrained", metrics=RoundMetrics(images_unreadable=(ids[0],))))
    step = next_step(store, AUTOMATIC)
    assert step.action == "none"
    assert "; 1 were left out, since their pictures cannot be read: put the originals back" in step.message
    put_back(store, intact, ids[:1])
    assert (next_step(store, AUTOMATIC).action, list(next_step(store, AUTOMATIC).image_ids)) == ("open", ids[:1])


def test_more_than_half_end_the_round_until_they_are_put_back(tmp_path: Path) -> None:
    """Shards that were done without some pictures are done again once one of these is there."""
    store, intact = (make_workspace(tmp_path / name, images=13, **SETTINGS) for name in ("a", "b"))
    tick(store, MANUAL)
    ids = list(store.rounds(MANUAL)[0].image_ids)
    damage(store, ids[:1] + ids[3:])
    for _ in range(2):
        with pytest.raises(
            InputError, match=r"^more than half of the pictures of assisted_manual round 1 cannot be read: "
        ):
            tick(store, MANUAL)
    put_back(store, intact, ids[:1] + ids[3:5])
    result = tick(store, MANUAL)
    tick(intact, MANUAL)
    tick(intact, MANUAL)
    assert store.rounds(MANUAL)[0].metrics.images_unreadable == tuple(ids[5:])
    assert "were there already" not in result.message
    assert rows(store, MANUAL) == rows(intact, MANUAL, without=ids[5:])


def test_a_shard_that_was_done_without_a_picture_is_done(tmp_path: Path) -> None:
    store = make_workspace(tmp_path, images=13, **SETTINGS)
    tick(store, MANUAL)
    (record,) = store.rounds(MANUAL)
    gone = record.image_ids[0]
    damage(store, [gone])
    shard = store.shard_of(gone)
    done = AssistedManualWorker(store.files, 1)(shard)
    worker = AssistedManualWorker(store.files, 1)
    assert (done.skipped, done.key) == (False, worker.key(shard, [gone]))
    assert worker(shard).skipped
    assert worker(shard).key == done.key != worker.key(shard)


def test_people_are_not_asked_about_them_until_they_can_be_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server: FakeLabelStudio = stand_in(monkeypatch)
    settings = {"annotator": {"kind": "label_studio"}, MANUAL: {"rounds": 1, "images_per_round": 4}}
    store, intact = (make_workspace(tmp_path / name, images=9, **settings) for name in ("a", "b"))
    tick(store, MANUAL)
    ids = list(store.rounds(MANUAL)[0].image_ids)
    damage(store, ids[:2])
    waiting = tick(store, MANUAL)
    assert waiting.state == "waiting"
    assert "left out, since they cannot be read: 2 pictures, the first: " in waiting.message
    assert store.rounds(MANUAL)[0].metrics.images_unreadable == tuple(sorted(ids[:2]))
    assert len(server.stored) == 2
    put_back(store, intact, ids[:1])
    assert f"cannot be read: {paths(store)[ids[1]]}: " in tick(store, MANUAL).message
    assert len(server.stored) == 3
    for number in server.stored:
        annotate(server, store, number, at=f"2026-01-02T00:00:0{number}Z")
    closed = tick(store, MANUAL)
    assert closed.state == "advanced"
    assert f"; left out, since they cannot be read: {paths(store)[ids[1]]}: " in closed.message
    metrics = store.rounds(MANUAL)[0].metrics
    assert (metrics.images, metrics.images_unreadable) == (3, (ids[1],))
    assert set(store.read_table(MANUAL)["image_id"].to_pylist()) == {ids[0], *ids[2:]}


def test_half_are_borne_and_more_are_not() -> None:
    check_unreadable("it", ["a", "b"], of=4)
    with pytest.raises(InputError, match=r"^more than half of the pictures of it cannot be read: a$"):
        check_unreadable("it", ["a", "b", "c"], of=5)
    check_unreadable("nothing", [], of=0)


def test_they_are_told_by_the_first() -> None:
    assert told_unreadable(1, ["a: gone"]) == "a: gone"
    assert told_unreadable(3, ["a: gone", "b: gone"]) == "3 pictures, the first: a: gone"


def test_those_are_lost_that_are_not_there_as_they_were(tmp_path: Path) -> None:
    store = make_workspace(tmp_path, images=3, holdout=0)
    ids = sorted(paths(store))
    damage(store, ids[:2])
    rounds = [Round(MANUAL, 1, ids, metrics=RoundMetrics(images_unreadable=(ids[1], ids[2])))]
    assert lost_images(store, rounds) == [ids[1]]
    assert lost_images(store, [Round(MANUAL, 1, ids)]) == []
    assert rounds[0].worked_on == ids[:1]
    assert json.loads(rounds[0].metrics.to_json()) == {"images_unreadable": ids[1:]}
