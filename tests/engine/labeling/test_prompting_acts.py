"""What people did on a picture, as answers tell it: clicks, boxes, what they took back, what they accepted."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.labeling import prompt_log
from engine.labeling.prompting import Prompter
from tests.engine.labeling.bodies import (
    box,
    click_body,
    point,
    task_body,
)
from tests.engine.labeling.prompters import PICTURE, Clock, ask, meta_of


def accepted(*regions: dict[str, Any]) -> dict[str, Any]:
    """A task whose draft has these regions already."""
    return task_body(PICTURE) | {"drafts": [{"id": 1, "result": list(regions)}]}


def ask_on(prompter: Prompter, task: dict[str, Any], *regions: dict[str, Any]) -> dict[str, Any]:
    body = click_body(task, *regions)
    body["tasks"] = [task]
    (result,) = prompter.predict(json.loads(json.dumps(body)))["results"]
    (region,) = result["result"]
    found: dict[str, Any] = region
    return found


def draft_of(region: dict[str, Any]) -> dict[str, Any]:
    """A prompt as the editor sends it after a reload: it says no more whether it is positive."""
    return {key: value for key, value in region.items() if key != "is_positive"}


def told(region: dict[str, Any]) -> tuple[float, float, list[float]]:
    """First and last act in seconds of the session, and x of the points."""
    meta = meta_of(region)
    began = Clock().now
    return round(meta["t_first"] - began, 3), round(meta["t_last"] - began, 3), [x for x, _, _ in meta["points"]]


def test_a_session_of_many_kinds_of_acts_is_told_as_it_was(
    start: Callable[[], Prompter], clock: Clock, workspace: Path
) -> None:
    """Clicks, a reload, a click that another mask follows, an undone accept, a box, and a restart of the backend."""
    prompter, began = start(), clock.now
    one, two, three, four, five, six = (point(x, 50, id=f"p{x}") for x in (10, 20, 30, 40, 50, 60))

    def at(second: float) -> None:
        clock.now = began + second

    at(1)
    ask(prompter, one)
    at(4)
    first = ask(prompter, one, two)
    assert told(first) == (1.0, 4.0, [10.0, 20.0])
    at(100)  # reloaded before it was accepted: the draft's prompts are sent along
    second = ask(prompter, draft_of(one), draft_of(two), three)
    assert told(second) == (100.0, 100.0, [30.0])
    at(110)  # `three` was accepted; what the draft had stays
    third = ask(prompter, draft_of(one), draft_of(two), four)
    assert told(third) == (110.0, 110.0, [40.0])
    at(120)  # the draft has the mask of `four`; its accept was undone, so that its point is there again
    fourth = ask_on(prompter, accepted(third), four, five)
    assert told(fourth) == (120.0, 120.0, [50.0])
    at(130)
    boxed = ask(prompter, box(10, 10, 50, 50, id="b"))
    assert told(boxed) == (130.0, 130.0, [])
    at(133)
    prompter = start()
    again = ask(prompter, box(10, 10, 50, 50, id="b"), box(10, 10, 60, 60, id="c"))
    assert told(again) == (130.0, 133.0, [])
    at(200)
    later = ask(prompter, box(10, 10, 60, 60, id="c"), box(20, 20, 40, 40, id="d"))
    assert told(later) == (200.0, 200.0, [])
    at(210)
    assert told(ask(prompter, six)) == (210.0, 210.0, [60.0])
    kept = [call.prompt_ids for call in prompt_log.read(workspace, 1)]
    assert kept == [("p10",), ("p10", "p20"), ("p30",), ("p40",), ("p50",), ("b",), ("b", "c"), ("d",), ("p60",)]


def test_what_an_accept_leaves_behind_is_another_objects(prompter: Prompter) -> None:
    """A point that stayed although one that was sent with it went."""
    one, two, three = (point(x, 50, id=f"p{x}") for x in (10, 20, 30))
    ask(prompter, one)
    ask(prompter, one, two)
    assert told(ask(prompter, one, three))[2] == [30.0]


def test_points_and_boxes_of_one_object_may_alternate(prompter: Prompter) -> None:
    one, two, drawn = point(10, 50, id="p"), point(20, 50, id="q"), box(10, 10, 50, 50, id="b")
    ask(prompter, one)
    ask(prompter, drawn)
    assert told(ask(prompter, one, two))[2] == [10.0, 20.0]


def test_a_point_that_is_taken_back_leaves_the_others(prompter: Prompter) -> None:
    one, two, three = (point(x, 50, id=f"p{x}") for x in (10, 20, 30))
    ask(prompter, one, two)
    assert told(ask(prompter, one))[2] == [10.0]
    assert told(ask(prompter, one, three))[2] == [10.0, 30.0]
