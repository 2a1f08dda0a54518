import json
from pathlib import Path
from typing import Any

import pytest

from engine.labeling import collect as collect_module
from engine.labeling.collect import CollectedRound, fetch, read_round
from engine.labeling.folder import Scope
from engine.labeling.records import RoundRecords
from schemas.errors import WaitError
from tests.engine.labeling.label_studio import FakeLabelStudio, published, rectangle, region
from tests.engine.stores import store_of_images

SCOPE = Scope("assisted_manual", "assisted_manual", 1)
IDS = [1, 2, 3, 4]
MASK = rectangle(4, 4, 20, 20)


@pytest.fixture
def server() -> FakeLabelStudio:
    made = FakeLabelStudio()
    made.import_tasks(5, [{"data": {"image_id": str(image_id), **SCOPE.data}} for image_id in IDS])
    made.import_tasks(
        5, [{"data": {"image_id": "1", "stage": "assisted_manual", "round": 2}}, {"data": {"text": "foreign"}}]
    )
    return made


@pytest.fixture
def records(tmp_path: Path) -> RoundRecords:
    made = RoundRecords(store_of_images(tmp_path, IDS), SCOPE)
    made.put_published([published(image_id=image_id, task=image_id) for image_id in IDS])
    return made


def collect(server: FakeLabelStudio, records: RoundRecords, *, everything: bool = False) -> CollectedRound:
    fetch(server, records, SCOPE, project=5, everything=everything)  # type: ignore[arg-type]
    return read_round(records.published(), records.collected(), IDS)


def test_who_waits_is_told_how_many_tasks_are_looked_at(
    server: FakeLabelStudio, records: RoundRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect_module, "_TOLD_EVERY", 2)
    for everything, looked_at in ((False, [2, 4]), (True, [2, 4])):
        told: list[int] = []
        fetch(server, records, SCOPE, project=5, everything=everything, tell=told.append)  # type: ignore[arg-type]
        assert told == looked_at


def test_only_what_changed_is_kept_anew(server: FakeLabelStudio, records: RoundRecords) -> None:
    assert fetch(server, records, SCOPE, project=5) == 4  # type: ignore[arg-type]
    assert fetch(server, records, SCOPE, project=5) == 0  # type: ignore[arg-type]
    server.submit(2, region(MASK, "a"), at="2026-01-02T00:00:00Z")
    assert fetch(server, records, SCOPE, project=5) == 1  # type: ignore[arg-type]
    found = read_round(records.published(), records.collected(), IDS)
    assert [image.done for image in found.images] == [False, True, False, False]
    assert found.done == 1


def test_delivered_twice_or_out_of_order_changes_nothing(server: FakeLabelStudio, records: RoundRecords) -> None:
    server.submit(2, region(MASK, "a"), at="2026-01-02T00:00:00Z")
    old = server.task(2)
    collect(server, records)
    server.submit(2, region(rectangle(0, 0, 8, 8), "a"), at="2026-01-03T00:00:00Z")
    newest = collect(server, records)
    server.stored[2] = old  # an answer that was on its way for long
    assert collect(server, records, everything=True) == newest


@pytest.mark.parametrize("lost_answer", [False, True])
def test_a_server_that_goes_away_in_the_middle(
    server: FakeLabelStudio, records: RoundRecords, lost_answer: bool
) -> None:
    for number in IDS:
        server.submit(number, region(MASK, "a"), at=f"2026-01-02T00:00:0{number}Z")
    server.fail_at, server.lost_answer = server.calls + 1, lost_answer
    with pytest.raises(WaitError):
        collect(server, records)
    assert collect(server, records).done == 4


def test_a_deleted_annotation_is_seen_by_the_last_look(server: FakeLabelStudio, records: RoundRecords) -> None:
    server.submit(2, region(MASK, "a"), at="2026-01-02T00:00:00Z")
    assert collect(server, records).done == 1
    server.stored[2] |= {"annotations": [], "total_annotations": 0}
    assert collect(server, records, everything=True).done == 0


def test_a_second_task_of_an_image_does_not_take_the_work_away(server: FakeLabelStudio, records: RoundRecords) -> None:
    server.submit(2, region(MASK, "a"), at="2026-01-02T00:00:00Z")
    collect(server, records)
    server.import_tasks(5, [{"data": {"image_id": "2", **SCOPE.data}}])
    server.stored[7]["updated_at"] = "2026-01-05T00:00:00Z"
    assert collect(server, records).done == 1
    server.submit(7, region(MASK, "b"), at="2026-01-06T00:00:00Z")
    assert collect(server, records).images[1].masks[0].mask.rle == MASK


def test_a_task_of_an_image_that_is_gone_stops_nobody(server: FakeLabelStudio, records: RoundRecords) -> None:
    server.import_tasks(5, [{"data": {"image_id": "99", **SCOPE.data}}])
    server.submit(7, region(MASK, "a"), at="2026-01-02T00:00:00Z")
    server.submit(2, region(MASK, "a"), at="2026-01-02T00:00:01Z")
    problems: list[str] = []
    assert fetch(server, records, SCOPE, project=5, problem=problems.append) == 4  # type: ignore[arg-type]
    (line,) = problems
    assert "task 7 is of image 99" in line
    assert "its 1 annotation stays in Label Studio" in line
    assert read_round(records.published(), records.collected(), IDS).done == 1


def test_work_from_before_a_clock_was_set_back_and_after_it_is_kept(
    server: FakeLabelStudio, records: RoundRecords
) -> None:
    """The server's clock was a century ahead, and is right now."""
    server.submit(2, region(MASK, "a"), at="2126-01-02T00:00:00Z")
    assert collect(server, records).done == 1
    server.submit(3, region(MASK, "b"), at="2026-01-03T00:00:00Z")
    assert collect(server, records).done == 2, "not only when all is looked at before the round is closed"
    server.submit(2, region(rectangle(0, 0, 8, 8), "c"), at="2026-01-04T00:00:00Z", id=2, completed_by=4)
    (image,) = (image for image in collect(server, records).images if image.image_id == 2)
    assert len(image.others) == 1


def test_a_stroke_that_was_never_finished_is_a_problem_and_no_crash(
    server: FakeLabelStudio, records: RoundRecords
) -> None:
    """As a page that was reloaded during a stroke may leave it: what was painted, and no mask."""
    stroke = region(MASK, "a")
    stroke["value"] = {"format": "rle", "touches": [{"type": "add", "points": [1.0, 2.0]}], "brushlabels": ["object"]}
    server.submit(3, stroke, region(MASK, "b"), at="2026-01-02T00:00:00Z")
    found = collect(server, records)
    assert found.done == 0
    assert len(found.images[2].masks) == 1
    assert "region a" in found.problems[0]
    assert "\n" not in found.problems[0]


def test_problems_are_told(server: FakeLabelStudio, records: RoundRecords) -> None:
    server.submit(3, region(MASK, "a") | {"original_width": 9}, at="2026-01-02T00:00:00Z")
    found = collect(server, records)
    assert found.done == 0
    assert len(found.problems) == 1


def test_what_is_kept_names_nobody(server: FakeLabelStudio, records: RoundRecords) -> None:
    who = {"id": 3, "email": "ann@example.org", "first_name": "Ann"}
    server.submit(2, region(MASK, "a"), at="2026-01-02T00:00:00Z", completed_by=who, created_username="Ann, 3")
    server.stored[2] |= {"annotators": [who], "updated_by": [{"user_id": 3}]}
    assert collect(server, records).images[1].annotator == "label_studio:3"
    assert "Ann" not in json.dumps(records.collected())
    assert "example.org" not in json.dumps(records.collected())


def test_many_tasks_are_kept_in_parts_and_none_is_passed_over(
    server: FakeLabelStudio, records: RoundRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tasks come in no order of time: only the last part says that all until then is kept."""
    monkeypatch.setattr(collect_module, "_KEPT_TOGETHER", 2)
    for number, second in ((1, 9), (2, 1), (3, 2), (4, 3)):
        server.submit(number, region(MASK, "a"), at=f"2026-01-02T00:00:0{second}Z")
    kept = records.put_collected

    def put_collected(tasks: dict[int, Any], *, seen_until: str) -> None:
        kept(tasks, seen_until=seen_until)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(records, "put_collected", put_collected)
        with pytest.raises(KeyboardInterrupt):
            collect(server, records)
    assert len(records.collected()) == 2
    assert records.seen_until() == ""
    assert collect(server, records).done == 4
    assert records.seen_until() == "2026-01-02T00:00:09Z"
