"""The audit of a round: which images and masks experts see, and what their corrections come to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from engine import rle as rle_codec
from engine.keys import content_key
from engine.labeling.regions import brush_region
from engine.quality.sampling import sample_images
from engine.store import Store
from schemas.rle import Rle
from schemas.tables import table_of
from stages import audits
from stages.audits import AuditRound, AuditState
from tests.engine.labeling.label_studio import FakeLabelStudio
from tests.stages.gates_at_work import PROJECT_URL, STAGE, annotated_round, label_studio, subjects


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeLabelStudio:
    return label_studio(monkeypatch)


def audit(store: Store, told: list[Any] | None = None) -> AuditState:
    def progress(what: str, done: int, total: int, note: str = "") -> None:
        if told is not None:
            told.append((what, done, total))

    return AuditRound(store, store.files.settings(), store.rounds()[0], progress).audit()


def submit(
    server: FakeLabelStudio, number: int, change: Callable[[list[Any]], list[Any]] = lambda regions: regions
) -> None:
    """An expert leaves the masks of a picture as they are, or changes them."""
    regions = change(list(server.stored[number]["predictions"][0]["result"]))
    server.submit(number, *regions, at=f"2026-03-01T00:00:{number:02d}Z")


def test_a_seeded_choice_of_images_is_audited(server: FakeLabelStudio, tmp_path: Path) -> None:
    store = annotated_round(tmp_path, audit_images=3, images_per_chunk=1)
    ids = store.rounds()[0].image_ids
    told: list[Any] = []
    state = audit(store, told)
    assert state == AuditState(False, PROJECT_URL, asked=3, answered=0, report=None, problems=())
    assert subjects(server) == sample_images(ids, count=3, gate="audit", seed=0, stage=STAGE, round=1)
    assert told == [("audit: publish", done, 3) for done in (1, 2, 3)]
    assert audit(store) == state
    assert len(server.stored) == 3
    for task in server.stored.values():
        image_id = int(task["data"]["image_id"])
        rows = store.read_rows(STAGE, image_id=image_id).sort_by("mask_id").to_pylist()
        assert [region["id"] for region in task["predictions"][0]["result"]] == [str(row["mask_id"]) for row in rows]


def once(import_tasks: Callable[..., list[int]]) -> Callable[..., list[int]]:
    """Fails from the second call on."""
    calls = iter([import_tasks])

    def called(*arguments: Any) -> list[int]:
        function = next(calls, None)
        if function is None:
            raise ConnectionError("killed")
        return function(*arguments)

    return called


def test_the_choice_stays_while_a_gate_takes_masks_away(
    server: FakeLabelStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = annotated_round(tmp_path, audit_images=2, images_per_chunk=1)
    ids = store.rounds()[0].image_ids
    chosen = sample_images(ids, count=2, gate="audit", seed=0, stage=STAGE, round=1)
    with monkeypatch.context() as patched:
        patched.setattr(server, "import_tasks", once(server.import_tasks))
        with pytest.raises(ConnectionError):
            audit(store)
    assert subjects(server) == chosen[:1]
    for shard in store.shards():
        rows = store.read_shard(STAGE, shard, round=1)
        left = rows.filter(pc.is_in(rows["image_id"], value_set=pa.array(sorted(set(ids) - set(chosen)))))
        store.replace_shard(STAGE, shard, left, round=1, key="0" * 16)
    assert audit(store).asked == 2
    assert subjects(server) == chosen


def test_images_that_went_out_before_a_choice_was_kept_are_audited_too(server: FakeLabelStudio, tmp_path: Path) -> None:
    store = annotated_round(tmp_path, audit_images=4)
    audit(store)
    store.replace_rows("gates", table_of("gates", []), gate="audit", stage=STAGE, round=1)
    file = store.workspace / "engine.yaml"
    file.write_text(file.read_text().replace("audit_images: 4", "audit_images: 1"))
    assert audit(store).asked == 4


def test_images_are_published_in_chunks(server: FakeLabelStudio, tmp_path: Path) -> None:
    store = annotated_round(tmp_path, audit_images=4, images_per_chunk=2)
    chunks: list[int] = []
    sent = server.import_tasks
    server.import_tasks = lambda project, tasks: (chunks.append(len(tasks)), sent(project, tasks))[1]  # type: ignore[method-assign]
    audit(store)
    assert chunks == [2, 2]


def test_pictures_are_shown_as_large_as_the_settings_say(server: FakeLabelStudio, tmp_path: Path) -> None:
    store = annotated_round(tmp_path, audit_images=1, longest_side_px=28)
    audit(store)
    (task,) = server.stored.values()
    (region, *_) = task["predictions"][0]["result"]
    assert (region["original_height"], region["original_width"]) == (24, 28), "half of 48 x 56"


def test_of_many_masks_a_seeded_part_is_shown(
    server: FakeLabelStudio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audits, "MAX_PREFILLED", 2)
    store = annotated_round(tmp_path, audit_images=4)
    audit(store)
    for task in server.stored.values():
        image_id = int(task["data"]["image_id"])
        ids = sorted(row["mask_id"] for row in store.read_rows(STAGE, image_id=image_id).to_pylist())
        rng = np.random.default_rng(int(content_key("audit", 0, image_id), 16))
        chosen = sorted(rng.permutation(3)[:2].tolist())
        assert [region["id"] for region in task["predictions"][0]["result"]] == [str(ids[place]) for place in chosen]


def test_what_experts_corrected_deleted_and_added_is_reported(server: FakeLabelStudio, tmp_path: Path) -> None:
    store = annotated_round(tmp_path, audit_images=4)
    audit(store)
    height, width = 48, 56

    def corner(regions: list[Any]) -> list[Any]:
        """A new mask in the corner, and the first one gone."""
        mask = np.zeros((height, width), dtype=bool)
        mask[-4:, -4:] = True
        return [*regions[1:], brush_region(rle_codec.encode(mask), region_id="new")]

    submit(server, 1)
    first = audit(store)
    assert (first.finished, first.answered) == (False, 1)
    assert first.report is not None
    assert (first.report.images, first.report.masks, first.report.skipped) == (1, 3, 0)
    submit(server, 2, corner)
    server.submit(3, at="2026-03-01T00:00:03Z", was_cancelled=True)
    submit(server, 4, lambda regions: [])
    done = audit(store)
    assert (done.finished, done.asked, done.answered) == (True, 4, 4)
    report = done.report
    assert report is not None
    assert (report.images, report.masks, report.skipped) == (3, 9, 1)
    assert (report.deleted, report.added) == (1 + 3, 1)
    assert report.mean_iou.value == pytest.approx(1.0)


def test_what_cannot_be_read_is_a_problem_that_is_told(server: FakeLabelStudio, tmp_path: Path) -> None:
    store = annotated_round(tmp_path, audit_images=1)
    audit(store)
    submit(server, 1, lambda regions: [regions[0] | {"value": {"format": "rle", "rle": [1, 2, 3]}}, *regions[1:]])
    state = audit(store)
    assert len(state.problems) == 1
    assert isinstance(state.problems, tuple)


def test_an_annotation_that_was_deleted_counts_no_more(server: FakeLabelStudio, tmp_path: Path) -> None:
    """The server does not say when that was: all tasks are looked at each time."""
    store = annotated_round(tmp_path, audit_images=2)
    audit(store)
    submit(server, 2)
    assert audit(store).answered == 1
    server.stored[2] |= {"annotations": [], "total_annotations": 0, "updated_at": server.stored[2]["updated_at"]}
    server.stored[1]["updated_at"] = "2026-05-01T00:00:00Z"
    assert audit(store).answered == 0
    before = [Rle.of_row(row) for row in store.read_rows(STAGE).to_pylist()]
    assert len(before) == 12, "the audit changes no mask"


def test_images_whose_picture_cannot_be_read_any_more_are_left_out(server: FakeLabelStudio, tmp_path: Path) -> None:
    store = annotated_round(tmp_path, audit_images=4)
    row = store.images().to_pylist()[0]
    path = store.workspace / row["path"]
    path.write_bytes(path.read_bytes()[:60])
    for _ in range(2):
        state = audit(store)
        assert state.asked == 3
        assert sorted(subjects(server)) == sorted(set(store.rounds()[0].image_ids) - {row["image_id"]})
    for number in server.stored:
        submit(server, number)
    assert audit(store).finished
