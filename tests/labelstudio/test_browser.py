"""A person's way through a task in a real browser, with the real model backend, and what `collect` makes of it."""

from collections.abc import Iterator

import pytest

from engine.labeling.folder import LabelingFolder
from engine.labeling.regions import region_mask
from engine.labeling.server import LabelStudioServer
from engine.store import Store
from schemas.labeling import FOREGROUND, PROMPT
from stages.rounds import tick
from tests.labelstudio.browser.page import LabelingPage
from tests.labelstudio.engine_workspace import client_of, engine_workspace
from tests.labelstudio.test_rounds import annotate_first_round

pytestmark = [pytest.mark.labelstudio, pytest.mark.browser]


@pytest.fixture(scope="module")
def store(label_studio: LabelStudioServer) -> Iterator[Store]:
    """A workspace whose second stage waits for people."""
    with engine_workspace(label_studio) as made:
        tick(made, "assisted_manual")
        tick(made, "assisted_manual")
        annotate_first_round(label_studio, made)
        while tick(made, "assisted_manual").state != "done":
            pass
        tick(made, "semi_automatic")
        assert tick(made, "semi_automatic").state == "waiting"
        yield made


def test_what_a_person_submits_is_what_is_collected(
    labeling_page: LabelingPage, label_studio: LabelStudioServer, store: Store
) -> None:
    page, client = labeling_page, client_of(label_studio)
    project = LabelingFolder(store.workspace).project("semi_automatic")
    assert project is not None
    first, second = client.tasks(project)
    prefilled = {region["id"] for region in first["predictions"][0]["result"]}
    page.open_task(project, first["id"])
    assert page.regions() == len(prefilled)
    page.set_auto_annotation()
    page.set_auto_accept(False)
    page.screenshot("1_prefilled")

    page.pick_smart_tool("point")
    page.choose_label(FOREGROUND)
    page.click(0.3, 0.3)
    page.screenshot("2_point")
    page.choose_label(FOREGROUND)
    refined = page.click(0.7, 0.7, negative=True)["data"]["result"][0]
    page.screenshot("3_refined")
    page.accept()

    page.pick_smart_tool("box")
    page.choose_label(PROMPT)
    boxed = page.drag_box(0.55, 0.1, 0.9, 0.6)["data"]["result"][0]
    page.screenshot("4_box")
    page.accept()
    page.submit()
    page.screenshot("5_submitted")
    assert page.errors == []
    page.open_next_task(project)
    page.screenshot("6_instructions")
    page.close_instructions()
    page.skip()

    result = tick(store, "semi_automatic")
    assert result.state == "advanced", result.message
    image_id = int(first["data"]["image_id"])
    masks = store.read_image("semi_automatic", image_id).to_pylist()
    new = [mask for mask in masks if mask["origin"] == "manual"]
    kept = [mask for mask in masks if mask["origin"] == "automatic"]
    assert len(kept) == len(prefilled)
    assert all(mask["clicks"] == 0 and mask["seconds"] == 0 for mask in kept)
    by_points = next(mask for mask in new if mask["points"])
    by_box = next(mask for mask in new if mask["box"])
    assert [point["label"] for point in by_points["points"]] == [1, 0]
    assert by_points["seconds"] > 0
    assert by_points["clicks"] == 2
    assert by_box["clicks"] == 1
    shown = client.task(first["id"])["annotations"][0]["result"]
    submitted = {region["id"]: region for region in shown}
    assert set(submitted) == prefilled | {refined["id"], boxed["id"]}
    hw = (refined["original_height"], refined["original_width"])
    for region in (refined, boxed):
        assert region_mask(submitted[region["id"]], shown_hw=hw) == region_mask(region, shown_hw=hw)
    skipped = [event for event in store.read_table("events").to_pylist() if event["kind"] == "skip"]
    assert int(second["data"]["image_id"]) in {event["image_id"] for event in skipped}
