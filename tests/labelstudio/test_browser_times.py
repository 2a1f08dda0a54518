"""A session in a real browser whose acts are at known times: what is collected tells each mask's seconds within one."""

import time
from dataclasses import dataclass, field

import pytest

from engine import rle
from engine.labeling.annotations import read_task
from engine.labeling.published import Prefilled, PublishedImage
from schemas.labeling import OBJECT
from tests.labelstudio.browser.echo_backend import EchoBackend
from tests.labelstudio.browser.page import LabelingPage
from tests.labelstudio.test_browser_prompts import AUTOSAVE_MS, open_for_clicks
from tests.labelstudio.test_browser_smoke import HEIGHT, PREFILLED, WIDTH, Project, echo_backend, project

pytestmark = [pytest.mark.labelstudio, pytest.mark.browser]

__all__ = ["echo_backend", "project"]  # fixtures


@dataclass
class Session:
    """known: seconds of each mask, in which `page` was told what to do."""

    page: LabelingPage
    known: dict[str, float] = field(default_factory=dict)
    _began: float = 0.0

    def begins(self) -> None:
        self._began = time.monotonic()

    def waits(self, seconds: float) -> None:
        self.page.page.wait_for_timeout(1000 * seconds)

    def accepts(self) -> str:
        spent = time.monotonic() - self._began
        self.page.accept_by_key()
        return self._has_made(spent)

    def has_drawn(self) -> str:
        spent = time.monotonic() - self._began
        self.waits(0.3)
        return self._has_made(spent)

    def _has_made(self, spent: float) -> str:
        mask = self.page.masks()[-1]
        assert mask not in self.known
        self.known[mask] = spent
        return mask


def test_seconds_are_those_of_a_session_with_known_times(
    labeling_page: LabelingPage, project: Project, echo_backend: EchoBackend
) -> None:
    open_for_clicks(labeling_page, project)
    session = Session(labeling_page)
    a_click_a_refined_one_and_a_box(session)
    drawn, mended = a_brush_and_a_mixed_one(session)
    an_undone_and_an_unanswered_one(session, echo_backend)
    labeling_page.page.wait_for_timeout(AUTOSAVE_MS)

    open_for_clicks(labeling_page, project)  # the page is loaded anew, with the draft
    assert set(session.known) < set(labeling_page.masks())
    for mask in (drawn, mended):
        labeling_page.page.locator('button[aria-label="brush-tool"]').first.click()
        labeling_page.select_mask(mask)
        session.begins()
        labeling_page.stroke(0.2, 0.2, 0.3, 0.25)
        session.known[mask] += time.monotonic() - session._began
        session.waits(1)
    labeling_page.pick_smart_tool("point")
    session.begins()
    labeling_page.click(0.9, 0.1)
    session.waits(2)
    session.accepts()

    told = seconds_of(labeling_page.submit(), project)
    assert told == pytest.approx(session.known, abs=1)
    assert labeling_page.errors == []


def a_click_a_refined_one_and_a_box(session: Session) -> None:
    page = session.page
    session.begins()
    page.click(0.1, 0.1)
    session.waits(2)
    session.accepts()
    session.waits(3)  # looks for the next object
    session.begins()
    page.click(0.3, 0.1)
    session.waits(1)
    page.click(0.35, 0.15, negative=True)
    session.waits(1.5)
    session.accepts()
    page.pick_smart_tool("box")
    session.begins()
    page.drag_box(0.4, 0.1, 0.6, 0.3)
    session.waits(1.5)
    session.accepts()


def a_brush_and_a_mixed_one(session: Session) -> tuple[str, str]:
    page = session.page
    page.pick_brush(OBJECT)
    session.waits(2)
    session.begins()
    page.stroke(0.1, 0.5, 0.2, 0.5)
    session.waits(2)
    page.stroke(0.1, 0.55, 0.2, 0.55)
    drawn = session.has_drawn()
    page.pick_smart_tool("point")
    session.begins()
    page.click(0.4, 0.5)
    session.waits(1)
    mended = session.accepts()
    page.page.locator('button[aria-label="brush-tool"]').first.click()
    page.select_mask(mended)
    session.waits(1)
    page.stroke(0.45, 0.5, 0.5, 0.5)
    session.known[mended] = time.monotonic() - session._began
    session.waits(2)
    return drawn, mended


def an_undone_and_an_unanswered_one(session: Session, backend: EchoBackend) -> None:
    """Neither the mask that was taken back nor the click that the model did not answer count for the one after it."""
    page = session.page
    page.pick_smart_tool("point")
    page.click(0.7, 0.1)
    session.waits(1)
    page.accept_by_key()
    page.press("Control+z")
    session.waits(2)
    session.begins()
    page.click(0.8, 0.2)
    session.waits(1)
    session.accepts()
    backend.fail = True
    page.click(0.8, 0.4)
    session.waits(2)
    backend.fail = False
    session.begins()
    page.click(0.85, 0.45)
    session.waits(1.5)
    session.accepts()


def seconds_of(annotation: dict[str, object], project: Project) -> dict[str, float]:
    """By region, of the masks that were not there before."""
    hw, before = (HEIGHT, WIDTH), rle.measured(rle.encode(PREFILLED))
    shown = PublishedImage(1, project.task, hw, hw, "model", "settings", (Prefilled("prefilled", before),))
    found = read_task({"id": project.task, "annotations": [annotation]}, shown)
    assert found.problems == ()
    ids = [region["id"] for region in annotation["result"] if region["type"] == "brushlabels"]  # type: ignore[attr-defined]
    told = dict(zip(ids, found.masks, strict=True))
    assert told.pop("prefilled").timed == "nothing"
    assert {mask.timed for mask in told.values()} == {"acts"}
    return {region_id: mask.mask.seconds for region_id, mask in told.items()}
