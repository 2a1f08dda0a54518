"""What annotators see in the page of a server that `labeling server` starts."""

import pytest

from tests.labelstudio.browser.echo_backend import EchoBackend
from tests.labelstudio.browser.page import LabelingPage
from tests.labelstudio.test_browser_prompts import open_for_clicks
from tests.labelstudio.test_browser_smoke import HEIGHT, WIDTH, Project, echo_backend, project

pytestmark = [pytest.mark.labelstudio, pytest.mark.browser]

__all__ = ["echo_backend", "project"]  # fixtures
FIT = """() => {
    const [image, window] =
        [".lsf-image img", ".lsf-image"].map(n => document.querySelector(n)?.getBoundingClientRect());
    return image?.width > 1 && Math.min(window.width - image.width, window.height - image.height) < 3
}"""
FILTERS = """[...Htx.annotationStore.selected.regions].filter(region => region.type === "brushregion")
    .map(region => region.layerRef.canvas._canvas.style.filter)"""
ON_TOP = """[...Htx.annotationStore.selected.regions].filter(region => region.type === "keypointregion")
    .every(region => region.shapeRef.getLayer().canvas._canvas.style.zIndex === "1")"""
FILLS = """[...Htx.annotationStore.selected.regions].filter(region => region.type === "keypointregion")
    .map(region => [region.negative, region.shapeRef.fill()])"""


def test_a_small_picture_fills_the_window(labeling_page: LabelingPage, project: Project) -> None:
    page = labeling_page.page
    page.goto(f"{labeling_page.url}/projects/{project.id}/data?task={project.task}")
    page.wait_for_function(FIT)
    page.wait_for_timeout(500)
    box = page.locator(".lsf-image img").bounding_box()
    assert box is not None
    assert box["width"] > 1.2 * WIDTH
    assert box["width"] / box["height"] == pytest.approx(WIDTH / HEIGHT, abs=0.02)
    labeling_page.screenshot("fitted")
    assert labeling_page.errors == []


def test_masks_have_colours_of_their_own_and_points_say_what_they_are(
    labeling_page: LabelingPage, project: Project, echo_backend: EchoBackend
) -> None:
    page = labeling_page
    open_for_clicks(page, project)
    for x in (0.1, 0.25, 0.4, 0.55):
        page.click(x, 0.3)
        page.accept_by_key()
    page.click(0.2, 0.7)
    page.click(0.25, 0.75, negative=True)
    page.page.wait_for_timeout(500)
    page.screenshot("colours")
    filters = page.page.evaluate(FILTERS)
    assert len(set(filters)) == len(filters) == 5
    assert all(each.startswith("hue-rotate(") for each in filters)
    assert page.page.evaluate(ON_TOP), "a mask does not hide them"
    assert sorted(page.page.evaluate(FILLS)) == [[False, "#2e9e44"], [True, "#d3302f"]]
    page.accept_by_key()
    assert page.errors == []
