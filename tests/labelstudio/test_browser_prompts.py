"""Prompts in a real browser: they reach the model through masks, at the price of one action each, and never join
another object; keys do what the instructions say. The page is that of a server that `labeling server` starts."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from schemas.labeling import FOREGROUND, OBJECT
from tests.labelstudio.browser.echo_backend import EchoBackend
from tests.labelstudio.browser.page import LabelingPage
from tests.labelstudio.test_browser_smoke import Project, echo_backend, places, project

pytestmark = [pytest.mark.labelstudio, pytest.mark.browser]

__all__ = ["echo_backend", "project"]  # fixtures
AUTOSAVE_MS = 6500  # after five seconds a draft is kept, prompts without a mask with it


@pytest.fixture
def page(labeling_page: LabelingPage, project: Project) -> Iterator[LabelingPage]:
    """A task with a prefilled mask from (.65, .6) to (.95, .9), ready for clicks."""
    open_for_clicks(labeling_page, project)
    yield labeling_page
    assert labeling_page.errors == []


def open_for_clicks(page: LabelingPage, project: Project) -> None:
    page.open_task(project.id, project.task)
    prepare_for_clicks(page)


def prepare_for_clicks(page: LabelingPage) -> None:
    page.set_auto_annotation()
    page.set_auto_accept(False)
    page.pick_smart_tool("point")


def test_ten_of_ten_clicks_on_masks_reach_the_model(page: LabelingPage, echo_backend: EchoBackend) -> None:
    at = [(0.67 + 0.06 * number, y) for y in (0.65, 0.85) for number in range(5)]
    for x, y in at:
        page.click(x, y)  # waits for the model's answer
        page.accept_by_key()
    assert [places(prompts) for prompts in echo_backend.prompts] == [
        [(round(100 * x), round(100 * y), True)] for x, y in at
    ]


def test_boxes_are_drawn_over_masks(page: LabelingPage, echo_backend: EchoBackend) -> None:
    page.pick_smart_tool("box")
    for _ in range(2):
        page.drag_box(0.7, 0.65, 0.9, 0.85)
        page.accept_by_key()
    assert [len(prompts) for prompts in echo_backend.prompts] == [1, 1]


def test_one_click_is_two_actions_and_three_clicks_are_four(page: LabelingPage, echo_backend: EchoBackend) -> None:
    page.click(0.25, 0.25)
    page.accept_by_key()
    page.click(0.7, 0.2)
    page.click(0.8, 0.3)
    page.click(0.6, 0.1, negative=True)
    page.accept_by_key()
    assert [len(prompts) for prompts in echo_backend.prompts] == [1, 1, 2, 3]
    assert places(echo_backend.prompts[-1]) == [(70, 20, True), (80, 30, True), (60, 10, False)]
    assert page.regions() == 3


def test_a_prompt_of_before_a_reload_joins_no_later_object(
    page: LabelingPage, project: Project, echo_backend: EchoBackend
) -> None:
    page.click(0.3, 0.3)
    page.page.wait_for_timeout(AUTOSAVE_MS)
    open_for_clicks(page, project)
    for x, y in ((0.8, 0.2), (0.6, 0.2)):
        page.click(x, y)
        page.accept_by_key()
    assert [places(prompts) for prompts in echo_backend.prompts[1:]] == [[(80, 20, True)], [(60, 20, True)]]
    kinds = [region["type"] for region in page.submit()["result"]]
    assert kinds == ["brushlabels"] * 3


def test_a_prompt_that_comes_back_by_undo_joins_no_later_object(page: LabelingPage, echo_backend: EchoBackend) -> None:
    page.click(0.3, 0.3)
    page.accept_by_key()
    page.press("Control+z")
    page.click(0.8, 0.2)
    assert places(echo_backend.prompts[-1]) == [(80, 20, True)]


def test_negative_points_wait_for_their_object(page: LabelingPage, echo_backend: EchoBackend) -> None:
    page.click(0.3, 0.3, negative=True)
    page.click(0.4, 0.3)
    assert places(echo_backend.prompts[-1]) == [(30, 30, False), (40, 30, True)]


def test_keys_are_those_of_the_instructions(page: LabelingPage, echo_backend: EchoBackend) -> None:
    page.pick_smart_tool("box")
    for tool in ("KeyPointTool-dynamic", "RectangleTool-dynamic", "KeyPointTool-dynamic"):
        page.press("m")
        assert page.selected_tool() == tool
    page.press("2")
    assert FOREGROUND in (page.page.locator(".lsf-label_selected").inner_text())
    page.click(0.3, 0.3)
    assert len(echo_backend.prompts) == 1


def test_a_model_that_does_not_answer_is_told(page: LabelingPage, project: Project, echo_backend: EchoBackend) -> None:
    echo_backend.fail = True
    assert page.click(0.3, 0.3)["errors"]
    assert page.note() == (
        "The model gave no mask: it does not answer; tell whoever runs it: sam-engine labeling doctor says why"
    )
    page.screenshot("told")
    echo_backend.fail = False
    page.click(0.8, 0.2)
    assert places(echo_backend.prompts[-1]) == [(80, 20, True)]


def test_a_click_does_not_write_down_the_masks_that_are_there(page: LabelingPage, echo_backend: EchoBackend) -> None:
    """Each would be drawn anew at full size, only to be left out of what is asked."""
    page.click(0.25, 0.25)
    page.accept_by_key()
    written = "Htx.annotationStore.selected.serializeAnnotation().map(region => region.type)"
    note = f"Htx.$treenode.environment.events.on('regionFinishedDrawing', () => {{ window.written = {written}; }})"
    page.page.evaluate(note)
    page.click(0.75, 0.25)
    assert page.page.evaluate("window.written") == ["keypointlabels"]
    assert len(places(echo_backend.prompts[-1])) == 1
    assert sorted(page.page.evaluate(written)) == ["brushlabels", "brushlabels", "keypointlabels"]


def test_work_is_not_lost_by_a_reload_before_it_was_saved(page: LabelingPage, project: Project) -> None:
    def drafts() -> list[Any]:
        found: list[Any] = project.api.get(f"/api/tasks/{project.task}").raise_for_status().json()["drafts"]
        return found

    def wait_for_draft() -> None:
        while not drafts():
            time.sleep(0.1)

    page.pick_brush(OBJECT)
    page.stroke(0.1, 0.1, 0.3, 0.1)
    drawn = page.masks()
    assert len(drawn) == 2, "with the prefilled one"
    page.before_leaving = wait_for_draft
    open_for_clicks(page, project)
    assert page.asked_to_stay == 1
    assert sorted(page.masks()) == sorted(drawn)
    page.page.wait_for_timeout(AUTOSAVE_MS)
    open_for_clicks(page, project)
    assert page.asked_to_stay == 1, "there was nothing to save"


def test_a_reload_in_the_middle_of_a_stroke_loses_the_stroke_alone(
    page: LabelingPage, project: Project, echo_backend: EchoBackend
) -> None:
    page.click(0.25, 0.25)
    page.accept_by_key()
    page.pick_brush(OBJECT)
    page.stroke(0.1, 0.1, 0.3, 0.1)
    made = page.masks()
    assert len(made) == 3, "with the prefilled one"
    page.page.evaluate("Htx.annotationStore.selected.unselectAll()")
    page.choose_label(OBJECT)
    page.begin_stroke(0.1, 0.6, 0.3, 0.8)

    def wait_for_draft() -> None:
        deadline = time.monotonic() + 30
        while not project.api.get(f"/api/tasks/{project.task}").json()["drafts"] and time.monotonic() < deadline:
            time.sleep(0.1)

    page.before_leaving = wait_for_draft
    page.open_task(project.id, project.task)
    page.page.mouse.up()
    assert page.asked_to_stay == 1
    assert sorted(page.masks()) == sorted(made), "nothing but the stroke that was never ended"
    prepare_for_clicks(page)
    page.click(0.75, 0.25)
    page.accept_by_key()
    kinds = [region["type"] for region in page.submit()["result"]]
    assert kinds == ["brushlabels"] * 4
