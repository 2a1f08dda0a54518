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
# Of each mask: whether its own canvas is seen, and how opaque the shared one is in the middle of it (0 to 255).
SEEN = """() => {
    const regions = [...Htx.annotationStore.selected.regions].filter(region => region.type === "brushregion");
    const canvases = [...document.querySelectorAll(".konvajs-content canvas")];
    const own = new Set([...Htx.annotationStore.selected.objects][0].stageRef.children.map(l => l.canvas._canvas));
    const [shared] = canvases.filter(canvas => !own.has(canvas));
    const isShown = canvas => canvas?.checkVisibility({visibilityProperty: true}) ?? false;
    return regions.map(region => {
        const {left, right, top, bottom} = region.bboxCoordsCanvas;
        const [x, y] = [(left + right) / 2, (top + bottom) / 2];
        const at = isShown(shared) ? shared.getContext("2d").getImageData(x, y, 1, 1).data[3] : 0;
        return [isShown(region.layerRef.canvas._canvas), at];
    });
}"""
OPAQUE = pytest.approx(0.6 * 255, abs=2)
# Counts how often canvases of masks that are there now are drawn from here on.
COUNT_DRAWS = """() => {
    window.draws = 0;
    const stage = [...Htx.annotationStore.selected.objects][0].stageRef;
    for (const layer of stage.children.filter(layer => layer.id())) layer.on("draw", () => { window.draws += 1; });
}"""


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
    asked: list[str] = []
    page.page.on("request", lambda request: asked.append(request.url))
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
    assert not [url for url in asked if "object" in url], "icons that are components are asked for by no address"
    assert page.errors == []


def test_masks_at_rest_share_a_canvas(labeling_page: LabelingPage, project: Project, echo_backend: EchoBackend) -> None:
    page = labeling_page

    def seen() -> list[list[object]]:
        page.page.wait_for_timeout(500)
        found: list[list[object]] = page.page.evaluate(SEEN)
        return found

    open_for_clicks(page, project)
    assert seen() == [[True, 0]], "one is no burden"
    for x in (0.2, 0.5):
        page.click(x, 0.3)
        page.accept_by_key()
    assert seen() == [[False, OPAQUE]] * 3
    page.screenshot("shared")
    page.select_mask(page.masks()[-1])
    assert seen() == [[False, OPAQUE], [False, OPAQUE], [True, 0]]
    page.page.evaluate("Htx.annotationStore.selected.regions.at(-1).deleteRegion()")
    assert seen() == [[False, OPAQUE]] * 2
    page.page.evaluate("Htx.annotationStore.selected.regions.at(-1).toggleHidden()")
    assert seen() == [[True, 0], [False, 0]], "what is hidden is not seen"
    page.press("Control+z")
    assert len(page.masks()) == 3
    assert page.errors == []


def open_with_a_mask(page: LabelingPage, project: Project) -> None:
    """One that was accepted and has come to rest."""
    open_for_clicks(page, project)
    page.click(0.2, 0.3)
    page.accept_by_key()
    page.page.wait_for_timeout(500)


def test_a_change_is_seen_before_the_next_look(
    labeling_page: LabelingPage, project: Project, echo_backend: EchoBackend
) -> None:
    page = labeling_page
    open_with_a_mask(page, project)
    draw = "Htx.annotationStore.selected.regions[0].layerRef.draw()"
    assert page.page.evaluate(f"() => {{ {draw}; return ({SEEN})() }}") == [[True, 0], [True, 0]]
    zoom = "[...Htx.annotationStore.selected.objects][0].setZoom(2)"
    page.page.evaluate(f"{zoom}; null")
    page.page.wait_for_timeout(500)
    page.screenshot("enlarged")
    assert page.page.evaluate(SEEN)[0][0] is False
    assert page.errors == []


def test_a_click_draws_no_mask_that_is_there(
    labeling_page: LabelingPage, project: Project, echo_backend: EchoBackend
) -> None:
    """Each was drawn six times, at full size, which made a click 15 ms slower."""
    page = labeling_page
    open_with_a_mask(page, project)
    page.page.evaluate(COUNT_DRAWS)
    page.click(0.5, 0.3)
    assert page.page.evaluate("window.draws") == 0
    page.page.evaluate("[...Htx.annotationStore.selected.objects][0].setZoom(2)")
    page.page.wait_for_timeout(500)
    assert page.page.evaluate("window.draws") > 0, "where the picture is enlarged they are"
    assert page.errors == []
