from pathlib import Path

import pytest

from engine.labeling.collect import CollectedRound, fetch, read_round
from engine.labeling.folder import LabelingFolder, RoundFolder, Scope
from schemas.errors import WaitError
from tests.engine.labeling.label_studio import FakeLabelStudio, published, rectangle, region

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
def state(tmp_path: Path) -> RoundFolder:
    folder = LabelingFolder(tmp_path).round(SCOPE)
    for image_id in IDS:
        folder.put_published(image_id, published(image_id=image_id, task=image_id).to_json())
    return folder


def collect(server: FakeLabelStudio, state: RoundFolder, *, everything: bool = False) -> CollectedRound:
    fetch(server, state, SCOPE, project=5, everything=everything)  # type: ignore[arg-type]
    return read_round(state, IDS)


def test_only_what_changed_is_kept_anew(server: FakeLabelStudio, state: RoundFolder) -> None:
    assert fetch(server, state, SCOPE, project=5) == 4  # type: ignore[arg-type]
    assert fetch(server, state, SCOPE, project=5) == 0  # type: ignore[arg-type]
    server.submit(2, region(MASK, "a"), at="2026-01-02T00:00:00Z")
    assert fetch(server, state, SCOPE, project=5) == 1  # type: ignore[arg-type]
    found = read_round(state, IDS)
    assert [image.done for image in found.images] == [False, True, False, False]
    assert found.done == 1


def test_delivered_twice_or_out_of_order_changes_nothing(server: FakeLabelStudio, state: RoundFolder) -> None:
    server.submit(2, region(MASK, "a"), at="2026-01-02T00:00:00Z")
    old = server.task(2)
    collect(server, state)
    server.submit(2, region(rectangle(0, 0, 8, 8), "a"), at="2026-01-03T00:00:00Z")
    newest = collect(server, state)
    server.stored[2] = old  # an answer that was on its way for long
    assert collect(server, state, everything=True) == newest


@pytest.mark.parametrize("lost_answer", [False, True])
def test_a_server_that_goes_away_in_the_middle(server: FakeLabelStudio, state: RoundFolder, lost_answer: bool) -> None:
    for number in IDS:
        server.submit(number, region(MASK, "a"), at=f"2026-01-02T00:00:0{number}Z")
    server.fail_at, server.lost_answer = server.calls + 1, lost_answer
    with pytest.raises(WaitError):
        collect(server, state)
    assert collect(server, state).done == 4


def test_a_deleted_annotation_is_seen_by_the_last_look(server: FakeLabelStudio, state: RoundFolder) -> None:
    server.submit(2, region(MASK, "a"), at="2026-01-02T00:00:00Z")
    assert collect(server, state).done == 1
    server.stored[2] |= {"annotations": [], "total_annotations": 0}
    assert collect(server, state, everything=True).done == 0


def test_a_second_task_of_an_image_does_not_take_the_work_away(server: FakeLabelStudio, state: RoundFolder) -> None:
    server.submit(2, region(MASK, "a"), at="2026-01-02T00:00:00Z")
    collect(server, state)
    server.import_tasks(5, [{"data": {"image_id": "2", **SCOPE.data}}])
    server.stored[7]["updated_at"] = "2026-01-05T00:00:00Z"
    assert collect(server, state).done == 1
    server.submit(7, region(MASK, "b"), at="2026-01-06T00:00:00Z")
    assert collect(server, state).images[1].masks[0].mask.rle == MASK


def test_problems_are_told(server: FakeLabelStudio, state: RoundFolder) -> None:
    server.submit(3, region(MASK, "a") | {"original_width": 9}, at="2026-01-02T00:00:00Z")
    found = collect(server, state)
    assert found.done == 0
    assert len(found.problems) == 1
