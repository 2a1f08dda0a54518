import json
import pickle
import random
import shutil
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pyarrow.compute as pc
import pytest

from engine import rle as rle_codec
from engine.delta import ShardedTable
from engine.ingest import ingest
from engine.store import Store
from model.registry import find_model, list_models, model_roots
from schemas.errors import InputError, WaitError
from schemas.rle import Rle
from schemas.stages import STAGES
from schemas.tables import TABLES
from stages.assisted_manual import AssistedManualWorker
from stages.planning import next_step, parse_stage
from stages.rounds import TickResult, tick
from stages.shards import serial
from tests.e2e.test_killed_flow import contents
from tests.stages.workspaces import make_workspace, write_pictures

Finished = tuple[Store, list[TickResult]]


def test_each_tick_does_one_step(finished: Finished) -> None:
    _, results = finished
    round_of_people = ["open", "annotate", "retrain"]
    assert [result.action for result in results if result.stage == "assisted_manual"] == [*round_of_people * 2, "none"]
    assert [result.action for result in results if result.stage == "semi_automatic"] == [*round_of_people, "none"]
    automatic = [result.action for result in results if result.stage == "fully_automatic"]
    assert automatic == ["open", "generate", "retrain", "none"]
    assert [result.state for result in results if result.action == "none"] == ["done"] * 3


def test_what_a_tick_did_is_told_in_plain_values() -> None:
    result = TickResult("assisted_manual", "open", 2, "round 2 is open", "advanced")
    assert result.to_dict() == {
        "stage": "assisted_manual",
        "action": "open",
        "round": 2,
        "message": "round 2 is open",
        "state": "advanced",
    }


def test_the_last_retraining_says_what_its_model_is_for(finished: Finished) -> None:
    """Model and folder of the last round; no other message speaks of it, and no round has it."""
    store, results = finished
    last = find_model(store.rounds()[-1].model_after, model_roots(store.workspace))
    says = f"made none of the masks here: it is for sam-engine generate -m {last.folder}, and for model.start of"
    assert [result.action for result in results if says in result.message] == ["retrain", "none"]
    assert says in next_step(store, "fully_automatic").message
    assert last.model_id not in {record.model_before for record in store.rounds()}


def test_people_get_every_training_image_once_and_the_generator_gets_all(finished: Finished) -> None:
    store, _ = finished
    images = store.images()
    train = images.filter(pc.equal(images["split"], "train"))["image_id"].to_pylist()
    people = [
        image_id for record in store.rounds() if record.stage != "fully_automatic" for image_id in record.image_ids
    ]
    assert sorted(people) == sorted(train)
    (automatic,) = store.rounds("fully_automatic")
    assert sorted(automatic.image_ids) == sorted(images["image_id"].to_pylist())


def test_every_mask_row_says_where_it_came_from(finished: Finished) -> None:
    store, _ = finished
    models = {record.round: record.model_before for record in store.rounds("assisted_manual")}
    rows = store.read_table("assisted_manual").to_pylist()
    assert rows
    for row in rows:
        assert row["annotator"] == "simulated"
        assert row["origin"] == "manual"
        assert row["seconds"] > 0
        assert row["model_id"] in (models[row["round"]], "")
        assert bool(row["points"]) == bool(row["model_id"]), "a mask drawn by hand has no prompt and no model"
        assert row["area"] == rle_codec.area(Rle.of_row(row)) > 0
    (automatic,) = store.rounds("fully_automatic")
    for row in store.read_table("fully_automatic").to_pylist():
        assert (row["annotator"], row["origin"]) == ("generator", "automatic")
        assert row["model_id"] == automatic.model_before
        assert row["generator_config"]
        assert len(row["points"]) == 1


def test_events_name_masks_that_exist_and_their_seconds_add_up(finished: Finished) -> None:
    store, _ = finished
    masks = {row["mask_id"]: row for stage in STAGES[:2] for row in store.read_table(stage).to_pylist()}
    spent = dict.fromkeys(masks, 0.0)
    for event in store.read_table("events").to_pylist():
        json.loads(event["detail"])
        if event["mask_id"]:
            spent[event["mask_id"]] += event["seconds"]
    assert spent == pytest.approx({mask_id: row["seconds"] for mask_id, row in masks.items()})


def test_models_form_a_chain_that_names_what_each_was_trained_on(finished: Finished) -> None:
    store, _ = finished
    rounds = store.rounds()
    start = find_model("tiny", model_roots(store.workspace)).model_id
    before = [record.model_before for record in rounds]
    after = [record.model_after for record in rounds]
    assert before == [start, *after[:-1]]
    models = {model.model_id: model.card for model in list_models([store.workspace / "models"])}
    for record in rounds:
        card = models[record.model_after]
        assert (card.parent, card.stage, card.round) == (record.model_before, record.stage, record.round)
        assert card.trained_on["selection"] == "accumulated"
        assert card.metrics["miou_after"] == record.metrics.score("miou").after
        versions = card.trained_on["versions"]
        masks = sum(len(store.read_table(stage, version=versions[stage])) for stage in STAGES)
        holdout = [row["image_id"] for row in store.images().to_pylist() if row["split"] == "holdout"]
        held_back = sum(
            pc.sum(pc.is_in(table["image_id"], value_set=pc.cast(holdout, "int64"))).as_py() or 0
            for table in (store.read_table(stage, version=versions[stage]) for stage in STAGES)
        )
        assert card.trained_on["masks"] == masks - held_back > 0


def test_a_round_is_measured_before_and_after_on_the_held_out_images(finished: Finished) -> None:
    store, _ = finished
    rounds = store.rounds()
    for record in rounds:
        assert record.metrics.measured_images == 1
        assert record.metrics.measured_masks == 3
    for earlier, later in pairwise(rounds):
        assert later.metrics.score("miou").before == pytest.approx(earlier.metrics.score("miou").after)
    assert (store.workspace / "reports" / "rounds.md").is_file()
    assert (store.workspace / "reports" / "rounds.png").is_file()


def test_a_tick_on_a_finished_stage_writes_nothing(finished: Finished) -> None:
    store, _ = finished
    versions = store.versions()
    for stage in STAGES:
        assert tick(store, stage).state == "done"
    assert store.versions() == versions


@pytest.mark.parametrize(
    ("stage", "needs"), [("semi_automatic", "assisted_manual"), ("fully_automatic", "assisted_manual")]
)
def test_a_stage_refuses_to_start_before_the_retraining_it_needs(workspace: Store, stage: str, needs: str) -> None:
    with pytest.raises(
        WaitError, match=f"{stage} needs the model .*{needs}.*0 of 2 rounds; run: sam-engine run {needs}"
    ):
        tick(workspace, parse_stage(stage))
    assert workspace.rounds() == []


def test_a_stage_refuses_while_the_last_round_before_it_is_not_retrained(finished: Finished, tmp_path: Path) -> None:
    store = copy_of(finished, tmp_path)
    drop_rounds(store, "fully_automatic", "semi_automatic")
    last = store.rounds("assisted_manual")[-1]
    store.put_round(replace(last, state="annotated", model_after=""))
    with pytest.raises(WaitError, match="finished 1 of 2 rounds"):
        tick(store, "semi_automatic")


def test_a_stage_refuses_where_the_retrained_model_is_gone(finished: Finished, tmp_path: Path) -> None:
    store = copy_of(finished, tmp_path)
    drop_rounds(store, "fully_automatic")
    model = find_model(store.rounds("semi_automatic")[-1].model_after, [store.workspace / "models"])
    shutil.rmtree(model.folder)
    with pytest.raises(WaitError, match=f"needs model {model.model_id}.*put its folder back"):
        tick(store, "fully_automatic")


def test_a_stage_that_runs_out_of_images_ends_early_and_says_so(tmp_path: Path) -> None:
    store = make_workspace(tmp_path, images=3, holdout=1, assisted_manual={"rounds": 3})
    results = [tick(store, "assisted_manual")]
    while results[-1].state != "done":
        results.append(tick(store, "assisted_manual"))
    assert "ended early after 1 of 3 rounds" in results[-1].message
    assert next_step(store, "semi_automatic").action == "open", "one image was left for the next stage"
    assert "no image is held out" not in results[-2].message


def test_without_held_out_images_a_round_says_that_it_was_not_measured(tmp_path: Path) -> None:
    store = make_workspace(tmp_path, images=3, holdout=0)
    results = [tick(store, "assisted_manual") for _ in range(3)]
    assert "no image is held out" in results[-1].message
    assert store.rounds()[0].metrics.scores == {}


def test_without_ground_truth_the_simulated_annotator_says_what_it_needs(tmp_path: Path) -> None:
    store = make_workspace(tmp_path, images=0, holdout=0)
    with pytest.raises(WaitError, match=r"has no images; run: sam-engine ingest"):
        tick(store, "assisted_manual")
    write_pictures(tmp_path / "plain", images=2)
    ingest(store, [tmp_path / "plain" / "0.png", tmp_path / "plain" / "1.png"])
    with pytest.raises(WaitError, match=r"none of the 2 images .* has ground truth"):
        tick(store, "assisted_manual")


def test_new_images_get_automatic_masks_in_a_round_of_their_own(finished: Finished, tmp_path: Path) -> None:
    store = copy_of(finished, tmp_path)
    before = store.read_table("fully_automatic").num_rows
    write_pictures(tmp_path / "more", images=1, first_seed=50)
    ingest(store, [tmp_path / "more" / "0.png"])
    assert tick(store, "fully_automatic").action == "open"
    assert len(store.rounds("fully_automatic")[-1].image_ids) == 1
    tick(store, "fully_automatic")
    assert store.read_table("fully_automatic").num_rows > before
    assert store.rounds("fully_automatic")[-1].model_before == store.rounds("fully_automatic")[0].model_before


def test_committed_shards_are_not_done_again(workspace: Store) -> None:
    tick(workspace, "assisted_manual")
    done: list[str] = []

    def stop_after_one(function, shards):  # type: ignore[no-untyped-def]
        serial(function, shards[:1])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tick(workspace, "assisted_manual", map_shards=stop_after_one)
    (record,) = workspace.rounds()
    assert record.state == "open"
    versions = workspace.versions()

    def look(function, shards):  # type: ignore[no-untyped-def]
        outcomes = serial(function, shards)
        done.extend(outcome.shard for outcome in outcomes if outcome.skipped)
        return outcomes

    tick(workspace, "assisted_manual", map_shards=look)
    assert done == ["000000"]
    assert workspace.versions()["assisted_manual"] - versions["assisted_manual"] == len(
        {workspace.shard_of(image_id) for image_id in record.image_ids} - {"000000"}
    )


def test_changed_settings_never_reuse_the_rows_of_the_old_ones(workspace: Store) -> None:
    tick(workspace, "assisted_manual")
    (record,) = workspace.rounds()
    shard = workspace.shard_of(record.image_ids[0])
    assert AssistedManualWorker(workspace.workspace, 1)(shard).skipped is False
    assert AssistedManualWorker(workspace.workspace, 1)(shard).skipped is True
    config = workspace.workspace / "engine.yaml"
    config.write_text(config.read_text().replace("max_clicks: 1", "max_clicks: 2"))
    assert AssistedManualWorker(workspace.workspace, 1)(shard).skipped is False


def test_a_workspace_that_is_done_is_left_as_it_is_to_the_byte(finished: Finished, tmp_path: Path) -> None:
    store = copy_of(finished, tmp_path)

    def files() -> dict[str, tuple[int, int]]:
        found = ((path, path.stat()) for path in store.workspace.rglob("*") if path.is_file())
        return {str(path): (stat.st_mtime_ns, stat.st_size) for path, stat in found}

    before = files()
    again = Store(store.workspace)
    assert [tick(again, stage).action for stage in STAGES] == ["none"] * 3
    assert files() == before


@pytest.mark.slow
def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By up to a day, back and forth, each time that somebody looks at it."""
    settings = {"images": 4, "assisted_manual": {"rounds": 1}}
    expected = make_workspace(tmp_path / "steady", through=("assisted_manual",), **settings)
    store = make_workspace(tmp_path / "jumping", **settings)
    draw, now = random.Random(1), time.time
    monkeypatch.setattr(time, "time", lambda: now() + draw.uniform(-86_400, 86_400))
    monkeypatch.setattr(time, "time_ns", lambda: int(time.time() * 1e9))
    while tick(store, "assisted_manual").state != "done":
        pass
    monkeypatch.undo()
    assert contents(store) == contents(expected)


def test_a_worker_travels_to_another_process(workspace: Store) -> None:
    tick(workspace, "assisted_manual")
    worker = AssistedManualWorker(workspace.workspace, 1)
    assert worker.predictor is not None
    copy = pickle.loads(pickle.dumps(worker))
    assert "predictor" not in vars(copy), "the model is loaded where the work is done"
    assert copy.key("000000") == worker.key("000000")


def test_stage_names() -> None:
    assert parse_stage("semi-automatic") == "semi_automatic"
    with pytest.raises(InputError, match="unknown stage 'manual'; choose one of assisted_manual"):
        parse_stage("manual")


def copy_of(finished: Finished, folder: Path) -> Store:
    shutil.copytree(finished[0].workspace, folder / "copy")
    return Store(folder / "copy")


def drop_rounds(store: Store, *stages: str) -> None:
    """Take back all rounds of these stages, as if they had not begun."""
    table = ShardedTable(store.workspace / "tables" / "rounds", TABLES["rounds"])
    for stage in stages:
        table.replace(f"stage = '{stage}'", TABLES["rounds"].empty_table(), app_id=f"test/{stage}", number=1)
    assert not [record for record in store.rounds() if record.stage in stages]
