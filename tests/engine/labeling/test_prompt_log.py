import logging
import os
import shutil
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.labeling.prompt_log import PromptCall, PromptHistory, Seen, append, keep_prompts, log_file, read
from tests.templates import new_store

PERCENT = st.floats(0, 100)
CALLS = st.builds(
    PromptCall,
    at=st.floats(1.7e9, 2e9),
    project=st.just(3),
    task=st.integers(1, 2**40),
    image_id=st.text(max_size=20),
    prompt_ids=st.lists(st.text(max_size=10), max_size=3).map(tuple),
    points=st.lists(st.tuples(PERCENT, PERCENT, st.integers(0, 1)), max_size=3).map(tuple),
    boxes=st.lists(st.tuples(PERCENT, PERCENT, PERCENT, PERCENT), max_size=2).map(tuple),
    region_id=st.text(max_size=10),
    predicted_iou=st.none() | st.floats(0, 1),
    server_ms=st.floats(0, 1e5),
    model_id=st.text(max_size=16),
)


def call(*prompt_ids: str, at: float = 1.8e9, task: int = 1, image_id: str = "") -> PromptCall:
    return PromptCall(at, 3, task, image_id, prompt_ids, ((1.0, 2.0, 1),), (), "r", 0.5, 12.5, "model")


@given(st.lists(CALLS, max_size=5))
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, calls: list[PromptCall]) -> None:
    workspace = tmp_path_factory.mktemp("workspace")
    for each in calls:
        append(workspace, each)
    assert read(workspace, 3) == calls
    assert read(workspace, 4) == []


def test_one_line_a_call(tmp_path: Path) -> None:
    append(tmp_path, call("a\nb", image_id="\ud800"))
    append(tmp_path, call("c"))
    assert log_file(tmp_path, 3) == tmp_path / "labeling" / "prompts" / "3.jsonl"
    assert log_file(tmp_path, 3).read_bytes().count(b"\n") == 2


@given(cut=st.integers(1, 400), more=st.booleans())
def test_a_torn_last_line_loses_itself_alone(tmp_path_factory: pytest.TempPathFactory, cut: int, more: bool) -> None:
    workspace = tmp_path_factory.mktemp("workspace")
    append(workspace, call("first"))
    whole = log_file(workspace, 3).stat().st_size
    append(workspace, call("torn"))
    os.truncate(log_file(workspace, 3), max(whole + 1, log_file(workspace, 3).stat().st_size - cut))
    without_newline = cut == 1
    if more:
        append(workspace, call("later"))
    found = [each.prompt_ids[0] for each in read(workspace, 3)]
    assert found == ["first", *(["torn"] if without_newline else []), *(["later"] if more else [])]


@pytest.mark.parametrize("line", [b"null", b"{}", b"\xff\xfe", b'{"at": 1}', b"[1, 2]", b"1e999"])
def test_damaged_lines_are_skipped_and_told(tmp_path: Path, line: bytes, caplog: pytest.LogCaptureFixture) -> None:
    append(tmp_path, call("a"))
    with log_file(tmp_path, 3).open("ab") as file:
        file.write(line + b"\n")
    append(tmp_path, call("b"))
    with caplog.at_level(logging.WARNING):
        assert [each.prompt_ids for each in read(tmp_path, 3)] == [("a",), ("b",)]
    assert "1 lines" in caplog.text


def test_threads_write_whole_lines(tmp_path: Path) -> None:
    def write(number: int) -> None:
        for each in range(50):
            append(tmp_path, call(f"{number}-{each}", image_id="x" * 500))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [each.prompt_ids[0] for each in read(tmp_path, 3)]
    assert sorted(found) == sorted(f"{number}-{each}" for number in range(4) for each in range(50))
    for number in range(4):
        assert [name for name in found if name.startswith(f"{number}-")] == [f"{number}-{each}" for each in range(50)]


def test_an_object_keeps_its_first_time(tmp_path: Path) -> None:
    history = PromptHistory(tmp_path)

    def note(*ids: str, at: float, task: int = 1) -> Seen:
        return history.note(project=3, task=task, prompt_ids=ids, at=at)

    assert note("a", at=10) == (10, 1)
    assert note("a", "b", at=12) == (10, 2)
    assert note("b", at=15) == (10, 3)  # the first point was taken back; it is still the same object
    assert note("c", at=20) == (20, 1)
    assert note("a", at=21, task=2) == (21, 1)


def test_the_first_time_is_known_after_a_restart(tmp_path: Path) -> None:
    append(tmp_path, call("a", at=10))
    append(tmp_path, call("a", "b", at=12))
    append(tmp_path, call("a", at=3, task=2))
    seen = PromptHistory(tmp_path).note(project=3, task=1, prompt_ids=("a", "b", "c"), at=15)
    assert seen == (10, 3)
    assert PromptHistory(tmp_path).note(project=None, task=None, prompt_ids=("a",), at=1) == (1, 1)


def test_of_a_long_log_the_end_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(tmp_path, call("old", at=1))
    for number in range(20):
        append(tmp_path, call(f"new {number}", at=100 + number))
    one_line = log_file(tmp_path, 3).stat().st_size // 21
    monkeypatch.setattr("engine.labeling.prompt_log._RECENT_BYTES", 5 * one_line)
    history = PromptHistory(tmp_path)
    assert history.note(project=3, task=1, prompt_ids=("new 19",), at=200) == (119, 2)
    assert history.note(project=3, task=1, prompt_ids=("old",), at=200) == (200, 1)


@given(calls=st.lists(CALLS, min_size=1, max_size=6), parts=st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_the_table_has_each_call_once(
    tmp_path_factory: pytest.TempPathFactory, calls: list[PromptCall], parts: int
) -> None:
    store = new_store(tmp_path_factory.mktemp("prompts") / "workspace")
    for number, each in enumerate(calls):
        append(store.workspace, each)
        if number % parts == 0:
            keep_prompts(store)
    keep_prompts(store)
    assert keep_prompts(store) == 0
    rows = store.read_rows("prompts", project=3).to_pylist()
    assert sorted((row["at"], row["task"], row["region"]) for row in rows) == sorted(
        (each.at, each.task, each.region_id) for each in calls
    )
    assert sorted(len(row["points"]) for row in rows) == sorted(len(each.points) for each in calls)
    assert sorted(len(row["boxes"]) for row in rows) == sorted(4 * len(each.boxes) for each in calls)


def test_a_line_that_is_being_written_is_kept_once_it_is_whole(tmp_path: Path) -> None:
    store = new_store(tmp_path / "workspace")
    append(store.workspace, call("a"))
    with log_file(store.workspace, 3).open("ab") as file:
        file.write(b'{"at": 1800000')
    assert keep_prompts(store) == 1
    append(store.workspace, call("b"))  # what was cut off is a line of its own, which cannot be read
    assert keep_prompts(store) == 1
    assert store.counts()["prompts"] == 2


def test_a_log_that_was_deleted_begins_anew(tmp_path: Path) -> None:
    store = new_store(tmp_path / "workspace")
    append(store.workspace, call("a", at=10))
    append(store.workspace, call("a", "b", at=12))
    keep_prompts(store)
    shutil.rmtree(store.workspace / "labeling")
    seen = PromptHistory(store.workspace).note(project=3, task=1, prompt_ids=("a",), at=15)
    assert seen == (10, 3), "the table knows it still"
    append(store.workspace, call("c", at=20))
    assert keep_prompts(store) == 1
    assert store.counts()["prompts"] == 3
