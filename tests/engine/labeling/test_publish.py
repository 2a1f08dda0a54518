import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.labeling.folder import LabelingFolder, Scope
from engine.labeling.links import PictureLinks
from engine.labeling.publish import ImageToPublish, Publisher, to_publish
from engine.labeling.published import MAX_PREFILLED, PublishedImage, prefilled_of
from engine.labeling.records import RoundRecords
from engine.labeling.regions import region_mask, scale_down
from schemas.errors import InputError, WaitError
from tests.engine.labeling.label_studio import FULL, SHOWN, FakeLabelStudio, generated, published, rectangle
from tests.engine.stores import store_of_images

SCOPE = Scope("semi_automatic", "semi_automatic", 2)
IDS = [11, 2**62 + 5, 13, 14, 15]
FOR_TWO = 15  # people; it is in the last chunk


@pytest.fixture
def server() -> FakeLabelStudio:
    return FakeLabelStudio()


@pytest.fixture
def publisher(server: FakeLabelStudio, tmp_path: Path) -> Publisher:
    store = store_of_images(tmp_path, IDS)
    folder, records = LabelingFolder(store.workspace), RoundRecords(store, SCOPE)
    return Publisher(server, folder, records, SCOPE, project=5)  # type: ignore[arg-type]


def images(ids: list[int]) -> list[ImageToPublish]:
    pixels = np.random.default_rng(0).integers(0, 256, (*FULL, 3), dtype=np.uint8)
    made = [
        published(rectangle(n, n, n + 20, n + 9), rectangle(1, 1, 9, 9), image_id=ids[n], task=0)
        for n in range(len(ids))
    ]
    for_two = [replace(record, people=2 if record.image_id == FOR_TWO else 1) for record in made]
    return [to_publish(pixels, record, longest_side_px=SHOWN[1]) for record in for_two]


def publish_all(publisher: Publisher, *, chunk: int = 2) -> None:
    missing = publisher.missing(IDS)
    publisher.publish([image for image in images(IDS) if image.record.image_id in missing], chunk=chunk)


def assert_all_there_once(server: FakeLabelStudio, publisher: Publisher) -> None:
    assert sorted(task["data"]["image_id"] for task in server.stored.values()) == sorted(map(str, IDS))
    for image_id in IDS:
        record = publisher.records.published()[image_id]
        stored = server.stored[record.task]
        assert stored["data"]["image_id"] == str(image_id)
        assert [region["id"] for region in stored["predictions"][-1]["result"]] == ["prefilled-0", "prefilled-1"]
        assert stored.get("overlap", 1) == (2 if image_id == FOR_TWO else 1)
    assert server.settings["model_version"] == "semi_automatic round 2, model model", "or nobody sees the masks"


def test_images_go_out_with_their_masks(server: FakeLabelStudio, publisher: Publisher) -> None:
    publish_all(publisher)
    assert_all_there_once(server, publisher)
    stored = server.stored[1]
    assert stored["data"]["image"] == "/data/local-files/?d=semi_automatic/semi_automatic-2/11.jpg"
    picture = Image.open(publisher.folder.images / "semi_automatic/semi_automatic-2/11.jpg")
    assert picture.size == (SHOWN[1], SHOWN[0])
    shown = region_mask(stored["predictions"][0]["result"][0], shown_hw=SHOWN)
    assert shown == scale_down(rectangle(0, 0, 20, 9), SHOWN)
    assert server.settings["model_version"] == "semi_automatic round 2, model model"


def test_the_second_time_nothing_is_sent(server: FakeLabelStudio, publisher: Publisher) -> None:
    publish_all(publisher)
    assert publisher.missing(IDS) == []
    publish_all(publisher)
    assert len(server.stored) == len(IDS)


def test_a_project_is_listed_once_however_many_chunks_there_are(
    server: FakeLabelStudio, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have twenty thousand tasks."""
    listed, tasks = [], server.tasks
    monkeypatch.setattr(server, "tasks", lambda *given, **others: (listed.append(given), tasks(*given, **others))[1])
    publish_all(publisher, chunk=1)
    assert len(listed) == 1


def test_a_task_that_tables_do_not_know_is_taken_over(server: FakeLabelStudio, publisher: Publisher) -> None:
    """They were put back from a backup."""
    server.import_tasks(5, [publisher.task_body(images(IDS)[0].record)])
    publish_all(publisher)
    assert_all_there_once(server, publisher)


def test_pictures_that_were_deleted_are_written_again(server: FakeLabelStudio, publisher: Publisher) -> None:
    publish_all(publisher)
    before = publisher.records.published()
    shutil.rmtree(publisher.folder.root)
    assert publisher.missing(IDS) == IDS
    publish_all(publisher)
    assert publisher.missing(IDS) == []
    assert publisher.records.published() == before
    assert_all_there_once(server, publisher)


@pytest.mark.parametrize("lost_answer", [False, True])
@pytest.mark.parametrize("call", range(1, 15))
def test_a_server_that_goes_away_at_any_call(
    server: FakeLabelStudio, publisher: Publisher, call: int, lost_answer: bool
) -> None:
    """Nothing is lost and nothing doubled, also where the import was carried out and only its answer was lost."""
    server.fail_at, server.lost_answer = call, lost_answer
    with pytest.raises(WaitError, match="does not answer"):
        publish_all(publisher)
    publish_all(publisher)
    assert_all_there_once(server, publisher)


def test_prefilled_masks_that_got_lost_are_sent_again(server: FakeLabelStudio, publisher: Publisher) -> None:
    server.forget_predictions = True
    done = publisher.publish(images(IDS), chunk=2)
    assert done.repaired == 2
    assert done.masks == 10
    assert_all_there_once(server, publisher)


@pytest.mark.parametrize("call", range(1, 11))
def test_a_server_that_goes_away_at_any_call_of_the_only_chunk(
    server: FakeLabelStudio, publisher: Publisher, call: int
) -> None:
    """No later chunk makes up for what was left out: that people are shown the masks is said last."""
    server.fail_at = call
    with pytest.raises(WaitError, match="does not answer"):
        publish_all(publisher, chunk=len(IDS))
    publish_all(publisher, chunk=len(IDS))
    assert_all_there_once(server, publisher)


def test_masks_of_an_import_that_was_cut_short_are_sent_again(server: FakeLabelStudio, publisher: Publisher) -> None:
    """Whether all of it arrived is looked at anew where the answer to it never came."""
    server.forget_predictions, server.lost_answer, server.fail_at = True, True, server.calls + 2
    with pytest.raises(WaitError):
        publish_all(publisher)
    assert [len(task["predictions"]) for task in server.stored.values()] == [0, 0]
    publish_all(publisher)
    assert_all_there_once(server, publisher)


def test_links_are_put_into_tasks_and_renewed_before_they_expire(
    server: FakeLabelStudio, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_all(publisher)
    local = {number: task["data"]["image"] for number, task in server.stored.items()}
    kept = [task["data"] | {"image": ""} for task in server.stored.values()]
    publisher.links = PictureLinks("https://pictures.example.org", b"s" * 32, days=10)

    def links() -> dict[int, str]:
        assert publisher.missing(IDS) == []
        assert [task["data"] | {"image": ""} for task in server.stored.values()] == kept
        return {number: task["data"]["image"] for number, task in server.stored.items()}

    first = links()
    assert all(publisher.links.path(link) in local[number] for number, link in first.items())
    assert links() == first
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 6 * 86_400)
    second = links()
    assert all(second[number] != first[number] for number in first)
    publisher.links = PictureLinks()
    assert links() == local


def test_other_rounds_and_foreign_tasks_are_left_alone(server: FakeLabelStudio, publisher: Publisher) -> None:
    server.import_tasks(
        5, [{"data": {"image_id": "11", "stage": "semi_automatic", "round": 1}}, {"data": {"image": "by hand"}}]
    )
    publish_all(publisher)
    assert len(server.stored) == len(IDS) + 2


def test_an_image_that_is_there_twice_loses_the_task_that_nobody_worked_on(
    server: FakeLabelStudio, publisher: Publisher
) -> None:
    publish_all(publisher)
    server.import_tasks(5, [publisher.task_body(images(IDS)[0].record)])
    assert publisher.missing(IDS) == []
    assert_all_there_once(server, publisher)


@pytest.mark.parametrize("skipped", [False, True])
def test_of_two_tasks_of_an_image_the_one_that_people_worked_on_stays(
    server: FakeLabelStudio, publisher: Publisher, skipped: bool
) -> None:
    publish_all(publisher)
    (second,) = server.import_tasks(5, [publisher.task_body(images(IDS)[0].record)])
    server.submit(second, at="2026-01-02T00:00:00Z", was_cancelled=skipped)
    assert publisher.missing(IDS) == []
    assert publisher.records.published()[IDS[0]].task == second
    assert_all_there_once(server, publisher)


def test_a_project_that_was_deleted(server: FakeLabelStudio, publisher: Publisher) -> None:
    server.gone = True
    with pytest.raises(InputError, match="labeling setup"):
        publisher.missing(IDS)


def test_a_picture_that_changed_on_disk() -> None:
    with pytest.raises(InputError, match="60x30 px, and the workspace says 60x40"):
        to_publish(np.zeros((30, 60, 3), dtype=np.uint8), published(), longest_side_px=30)


def test_at_most_forty_masks_most_confident_first() -> None:
    masks = [generated(rectangle(0, 0, 5, 5), predicted_iou=n / 100) for n in range(60)]
    found = prefilled_of(masks, limit=100)
    assert len(found) == MAX_PREFILLED == 40
    assert [one.mask.predicted_iou for one in found[:2]] == [0.59, 0.58]
    assert len(prefilled_of(masks, limit=3)) == 3


def test_a_record_as_json_and_back() -> None:
    record = published(rectangle(1, 2, 20, 30), image_id=2**62 + 5)
    assert PublishedImage.from_json(record.to_json()) == record
