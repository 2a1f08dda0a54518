"""Workers of shards: in which order a shard's rows are committed, and what a second run of one does."""

import pickle
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from engine import rle
from engine.annotation import Event, GivenAnnotation, ImageWork
from engine.keys import content_key, work_key
from engine.rle import measured
from engine.store import Store
from engine.workspace import Workspace
from model.registry import ModelCard
from model.storage import save_model
from schemas.config import CONFIG_FILE
from schemas.errors import InputError
from schemas.stages import Stage
from schemas.tables import Round, table_of
from stages import workers
from stages.records import ShardRows, Where, add_annotations, add_given
from stages.shards import ShardOutcome
from stages.workers import Picture, ShardWorker, images_by_shard
from tests.engine.stores import store_of_images
from tests.stages.workspaces import tiny_sam

STAGE, SHARD, IMAGES = "assisted_manual", "000000", (3, 5)


class Stopped(BaseException):
    """The process is killed."""


class Worker(ShardWorker):
    """One mask and one event an image. made: how often it made them."""

    stage: Stage = STAGE
    made: ClassVar[list[str]] = []
    setting = "a"

    def make_rows(self, shard: str, image_ids: Sequence[int]) -> ShardRows:
        rows = ShardRows()
        for image_id in image_ids:
            pixels = np.zeros((40, 60), dtype=bool)
            pixels[:image_id, :image_id] = True
            work = ImageWork([measured(rle.encode(pixels))], [Event("draw", at_s=1.0, seconds=1.0, mask=0)])
            add_annotations(rows, work, Where(image_id, shard, self.stage, self.round, "m"), annotator="hand")
            rows.generation.append(_generation(image_id, shard))
        self.made.append(shard)
        return rows

    def settings(self, shard: str) -> Sequence[object]:
        return (self.setting,)


def _generation(image_id: int, shard: str) -> dict[str, Any]:
    texts = {"model_id": "m", "generator_config": "g", "dropped": "{}", "seconds": "{}", "difference_to_exact": ""}
    place = {"image_id": image_id, "shard": shard, "stage": STAGE, "round": 1}
    return place | texts | {"masks": 1, "coverage_frac": 0.5, "parents": []}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = store_of_images(tmp_path, [*IMAGES, 9])
    (store.workspace / CONFIG_FILE).touch()
    store.put_round(Round(STAGE, 1, IMAGES, model_before="m"))
    Worker.made.clear()
    return store


def _counts(store: Store) -> list[int]:
    return [store.counts()[table] for table in (STAGE, "events", "generation")]


@pytest.mark.parametrize("commits", [0, 1, 2, 3])
def test_a_shard_counts_as_done_only_when_all_its_rows_are_there(
    store: Store, monkeypatch: pytest.MonkeyPatch, commits: int
) -> None:
    worker = Worker(store.workspace, 1)
    left, replace_shard = [commits], Store.replace_shard

    def killed_later(self: Store, *args: Any, **options: Any) -> bool:
        if left[0] == 0:
            raise Stopped
        left[0] -= 1
        return replace_shard(self, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "replace_shard", killed_later)
        with pytest.raises(Stopped):
            worker(SHARD)
    assert store.committed(STAGE, SHARD, round=1) is None
    assert sum(_counts(store)) == 2 * min(commits, 2)
    again = Worker(store.workspace, 1)(SHARD)
    assert not again.skipped
    assert _counts(store) == [2, 2, 2]
    assert store.committed(STAGE, SHARD, round=1) == worker.key(SHARD)


class Tool(Worker):
    """Also keeps what each person gave for an image."""

    given = 1

    def make_rows(self, shard: str, image_ids: Sequence[int]) -> ShardRows:
        rows = super().make_rows(shard, image_ids)
        for image_id in image_ids[: self.given]:
            given = [GivenAnnotation(number, f"tool:{number}", True, False, 2, 0, 4.0, 1e9, 0) for number in (1, 2)]
            add_given(rows, given, Where(image_id, shard, self.stage, self.round, "m"))
        return rows


def test_what_people_gave_is_replaced_with_the_shard(store: Store) -> None:
    Worker(store.workspace, 1)(SHARD)
    assert store.versions()["annotations"] == 0, "a tool that keeps none writes none"
    for setting, given in (("b", 1), ("c", 2), ("d", 0)):
        worker = Tool(store.workspace, 1)
        worker.setting, worker.given = setting, given
        worker(SHARD)
        assert store.committed("annotations", SHARD, stage=STAGE, round=1) == worker.key(SHARD)
        rows = store.read_rows("annotations", shard=SHARD, stage=STAGE, round=1).to_pylist()
        found = sorted((row["image_id"], row["annotator"]) for row in rows)
        assert found == [(image_id, f"tool:{number}") for image_id in IMAGES[:given] for number in (1, 2)]


def test_a_shard_that_is_there_is_not_made_again(store: Store) -> None:
    progress: list[tuple[Any, ...]] = []
    worker = Worker(store.workspace, 1, lambda *done: progress.append(done))
    assert worker(SHARD) == ShardOutcome(SHARD, 2, skipped=False, key=worker.key(SHARD))
    assert progress == [], "its images were not loaded one by one"
    assert worker(SHARD) == ShardOutcome(SHARD, 2, skipped=True, key=worker.key(SHARD))
    assert Worker.made == [SHARD]
    assert progress == [("assisted_manual round 1", 2, 2, "")]


def test_a_shard_from_before_keys_were_json_is_not_made_again(store: Store) -> None:
    """Its key is what `repr` made of the same inputs."""
    before = content_key(1, STAGE, 1, list(IMAGES), "m", 0, "a")
    store.replace_shard(STAGE, SHARD, table_of(STAGE, []), round=1, key=before)
    assert Worker(store.workspace, 1)(SHARD).skipped
    assert Worker.made == []
    assert store.committed(STAGE, SHARD, round=1) == before, "nothing is written"
    changed = Worker(store.workspace, 1)
    changed.setting = "b"
    assert not changed(SHARD).skipped


def test_what_rows_follow_from_is_in_the_key(store: Store) -> None:
    key = Worker(store.workspace, 1).key(SHARD)
    assert Worker(store.workspace, 1).key(SHARD) == key
    assert key == work_key(1, STAGE, 1, list(IMAGES), "m", 0, "a")
    (store.workspace / CONFIG_FILE).write_text("seed: 77\n")
    other_seed = Worker(store.workspace, 1).key(SHARD)
    other_setting = Worker(store.workspace, 1)
    other_setting.setting = "b"
    store.put_round(Round(STAGE, 1, IMAGES, model_before="n"))
    other_model = Worker(store.workspace, 1).key(SHARD)
    store.put_round(Round(STAGE, 1, IMAGES[:1], model_before="n"))
    other_images = Worker(store.workspace, 1).key(SHARD)
    store.put_round(Round(STAGE, 2, IMAGES[:1], model_before="n"))
    other_round = Worker(store.workspace, 2).key(SHARD)
    keys = {key, other_seed, other_setting.key(SHARD), other_model, other_images, other_round}
    assert len(keys) == 6


def test_a_worker_that_was_sent_elsewhere_does_the_same_round(store: Store) -> None:
    sent = pickle.loads(pickle.dumps(Worker(store.workspace, 1)))
    assert (sent.workspace, sent.round) == (Workspace(store.workspace), 1)
    assert not sent(SHARD).skipped


def test_images_by_shard_are_in_order(store: Store) -> None:
    assert images_by_shard(store, [5, 9, 3]) == {SHARD: [3, 5, 9]}
    assert Worker(store.workspace, 1).images_by_shard == {SHARD: [3, 5]}


def test_the_model_works_on_the_device_that_the_settings_name(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    model_id = save_model(tiny_sam(), store.workspace / "models", ModelCard(name="tiny"))
    (store.workspace / CONFIG_FILE).write_text("model: {start: tiny, device: cuda}\n")
    store.put_round(Round(STAGE, 2, IMAGES, model_before=model_id))
    monkeypatch.setattr(workers, "device_of", {"cuda": "meta"}.__getitem__)  # any machine has this one
    assert Worker(store.workspace, 2).sam.device.type == "meta"


def test_a_picture_is_read_while_the_one_before_is_worked_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(store.workspace, 1)
    read: list[int] = []
    begun = {image_id: threading.Event() for image_id in IMAGES}

    def load_image(self: Store, image_id: int) -> np.ndarray:
        begun[image_id].set()
        read.append(image_id)
        if image_id == IMAGES[-1]:
            raise InputError("gone")
        return np.full((1, 1, 3), image_id, np.uint8)

    monkeypatch.setattr(Store, "load_image", load_image)
    pictures = worker.pictures(IMAGES)
    first = next(pictures)
    assert (first.image_id, first.pixels.max()) == (IMAGES[0], IMAGES[0])
    assert begun[IMAGES[1]].wait(30), "the second is read although nobody asked for it"
    assert next(pictures, None) is None, "the second cannot be read and is left out"
    assert read == list(IMAGES)
    assert list(worker.pictures([])) == []


def test_progress_tells_how_quick_it_is_and_how_long_it_waits(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.zeros((2, 2, 3), dtype=np.uint8)
    monkeypatch.setattr(Worker, "_picture", lambda self, image_id: Picture(image_id, picture, 0.0))
    notes: list[str] = []
    worker = Worker(store.workspace, 1, lambda what, done, total, note="": notes.append(note))
    image_ids = worker.images_by_shard[SHARD]
    assert len(list(worker.pictures(image_ids))) == len(notes) == len(image_ids)
    for note in notes:
        found = re.fullmatch(r"([\d.e+]+) img/s  waiting for data (\d+)%", note)
        assert found is not None, note
        assert float(found[1]) > 0
        assert 0 <= int(found[2]) <= 100
