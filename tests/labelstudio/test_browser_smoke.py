"""The helpers that drive the browser do what they say, against a real Label Studio and a backend that only echoes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import httpx
import numpy as np
import numpy.typing as npt
import pytest

from engine import rle
from engine.labeling.brush import decode_brush
from engine.labeling.regions import brush_region
from engine.labeling.server import LabelStudioServer
from schemas.labeling import FOREGROUND, MASKS_CONFIG, PROMPT
from tests.labelstudio.browser.echo_backend import (
    MODEL_VERSION,
    EchoBackend,
    rectangle_mask,
    running_echo_backend,
)
from tests.labelstudio.browser.page import LabelingPage

pytestmark = [pytest.mark.labelstudio, pytest.mark.browser]

HEIGHT, WIDTH = 360, 480
PREFILLED = rectangle_mask(HEIGHT, WIDTH, 0.65, 0.6, 0.95, 0.9)


@dataclass
class Project:
    """A project in Label Studio with one picture and one prefilled mask, and its API."""

    id: int
    task: int
    api: httpx.Client


@pytest.fixture
def echo_backend() -> Iterator[EchoBackend]:
    with running_echo_backend() as backend:
        yield backend


@pytest.fixture
def project(label_studio: LabelStudioServer, echo_backend: EchoBackend) -> Iterator[Project]:
    folder = label_studio.document_root / "smoke"
    folder.mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "picture.png"), picture())
    headers = {"Authorization": f"Token {label_studio.token}"}
    with httpx.Client(base_url=label_studio.url, headers=headers, timeout=60, trust_env=False) as api:
        project = post(api, "/api/projects", title="smoke", label_config=MASKS_CONFIG)["id"]
        post(api, "/api/storages/localfiles", project=project, title="images", path=str(folder), use_blob_urls=True)
        region = brush_region(rle.encode(PREFILLED), region_id="prefilled", score=0.8)
        task = {
            "data": {"image": "/data/local-files/?d=smoke/picture.png"},
            "predictions": [{"result": [region], "score": 0.8, "model_version": MODEL_VERSION}],
        }
        answer = api.post(f"/api/projects/{project}/import", params={"return_task_ids": True}, json=[task])
        answer.raise_for_status()
        post(api, "/api/ml", project=project, url=echo_backend.url, title="echo", is_interactive=True)
        api.patch(f"/api/projects/{project}", json={"model_version": MODEL_VERSION}).raise_for_status()
        yield Project(project, answer.json()["task_ids"][0], api)


def post(api: httpx.Client, path: str, /, **body: Any) -> Any:
    answer = api.post(path, json=body)
    assert answer.is_success, answer.text
    return answer.json()


def picture() -> npt.NDArray[np.uint8]:
    """Grey, with a red square at the upper left, a green one at the upper right and a blue one at the lower right."""
    image = np.full((HEIGHT, WIDTH, 3), 200, dtype=np.uint8)
    for colour, sides in {
        (0, 0, 220): (0.15, 0.15, 0.35, 0.35),
        (0, 180, 0): (0.65, 0.1, 0.9, 0.4),
        (220, 0, 0): (0.65, 0.6, 0.95, 0.9),
    }.items():
        image[rectangle_mask(HEIGHT, WIDTH, *sides)] = colour
    return image


def test_prompts_become_masks_and_reach_the_server(
    labeling_page: LabelingPage, project: Project, echo_backend: EchoBackend
) -> None:
    page = labeling_page
    page.open_task(project.id, project.task)
    assert page.regions() == 1, "the prefilled mask is there"
    page.set_auto_annotation()
    page.set_auto_accept(False)
    page.screenshot("1_prefilled")

    page.pick_smart_tool("point")
    page.choose_label(FOREGROUND)
    answer = page.click(0.25, 0.25)
    assert answer["data"]["result"][0]["id"] == next(iter(echo_backend.masks))
    page.screenshot("2_point")
    page.choose_label(FOREGROUND)
    page.click(0.45, 0.5, negative=True)
    page.screenshot("3_negative_point")
    page.accept()
    assert page.regions() == 2
    page.screenshot("4_accepted")

    page.pick_smart_tool("box")
    page.choose_label(PROMPT)
    page.drag_box(0.65, 0.1, 0.9, 0.4)
    page.screenshot("5_box")
    page.accept()
    assert page.regions() == 3
    stored = page.submit()
    page.screenshot("6_submitted")
    assert page.errors == []
    assert page.foreign == set()

    first, second, third = echo_backend.prompts
    assert places(first) == [(25, 25, True)]
    assert places(second) == [(25, 25, True), (45, 50, False)]
    assert third[0]["value"]["rectanglelabels"] == [PROMPT]
    assert [third[0]["value"][side] for side in ("x", "y", "width", "height")] == pytest.approx([65, 10, 25, 30], abs=1)
    _, by_points, by_box = echo_backend.masks.items()
    task = project.api.get(f"/api/tasks/{project.task}").raise_for_status().json()
    assert [annotation["id"] for annotation in task["annotations"]] == [stored["id"]]
    found = {region["id"]: region for region in task["annotations"][0]["result"]}
    assert {id: region["origin"] for id, region in found.items()} == {
        "prefilled": "prediction",
        by_points[0]: "manual",
        by_box[0]: "manual",
    }
    for region_id, mask in [("prefilled", PREFILLED), by_points, by_box]:
        values = found[region_id]["value"]["rle"]
        np.testing.assert_array_equal(decode_brush(values, height=HEIGHT, width=WIDTH), mask)


def places(prompts: list[dict[str, Any]]) -> list[tuple[int, int, bool]]:
    """(x, y, positive) of point prompts, in whole percent."""
    return [(round(p["value"]["x"]), round(p["value"]["y"]), p["is_positive"]) for p in prompts]


def test_a_rejected_suggestion_leaves_nothing_and_a_task_can_be_skipped(
    labeling_page: LabelingPage, project: Project
) -> None:
    page = labeling_page
    assert page.open_next_task(project.id) == project.task
    page.set_auto_annotation()
    page.set_auto_accept(False)
    page.pick_smart_tool("point")
    page.choose_label(FOREGROUND)
    page.click(0.25, 0.25)
    page.reject()
    assert page.regions() == 1
    stored = page.skip()
    assert stored["was_cancelled"]


def test_with_auto_accept_a_click_is_a_region_at_once_and_an_annotation_can_be_updated(
    labeling_page: LabelingPage, project: Project
) -> None:
    page = labeling_page
    page.open_task(project.id, project.task)
    page.set_auto_annotation()
    page.set_auto_accept(True)
    page.pick_smart_tool("point")
    page.choose_label(FOREGROUND)
    page.click(0.25, 0.25)
    assert page.regions() == 2
    sent = page.submit()
    page.open_task(project.id, project.task)
    page.set_auto_annotation()
    page.set_auto_accept(True)
    page.pick_smart_tool("point")
    page.choose_label(FOREGROUND)
    page.click(0.8, 0.25)
    updated = page.update()
    assert updated["id"] == sent["id"]
    assert len(updated["result"]) == 3
