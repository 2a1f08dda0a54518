"""A click on a picture that has a thousand masks: what of them Label Studio sends along, and to whom."""

import numpy as np
import pytest

from engine.labeling.gatekeeper import MAX_BODY_BYTES
from engine.labeling.registered import TITLE
from schemas.labeling import BRUSH, IMAGE, OBJECT
from tests.labelstudio.browser.echo_backend import EchoBackend
from tests.labelstudio.engine_workspace import click
from tests.labelstudio.test_browser_smoke import Project, echo_backend, post, project

pytestmark = pytest.mark.labelstudio

__all__ = ["echo_backend", "project"]  # fixtures
MASKS, NUMBERS = 1000, 1500  # of a mask: 6 kB of text


def test_our_backend_is_sent_no_pixels_with_a_click(project: Project, echo_backend: EchoBackend) -> None:
    numbers = np.random.default_rng(0).integers(100, 256, NUMBERS).tolist()
    region = {
        "type": "brushlabels",
        "from_name": BRUSH,
        "to_name": IMAGE,
        "original_width": 480,
        "original_height": 360,
        "value": {"format": "rle", "rle": numbers, "brushlabels": [OBJECT]},
    }
    regions = [region | {"id": f"mask {number}"} for number in range(MASKS)]
    post(project.api, f"/api/tasks/{project.task}/annotations", result=regions)
    (backend,) = project.api.get("/api/ml", params={"project": project.id}).json()

    def sent(title: str) -> tuple[set[str], int]:
        body = {"project": project.id, "url": echo_backend.url, "title": title}
        project.api.patch(f"/api/ml/{backend['id']}", json=body).raise_for_status()
        context = {"result": [click(30, 30)]}
        post(project.api, f"/api/ml/{backend['id']}/interactive-annotating", task=project.task, context=context)
        task, size = echo_backend.tasks[-1]
        return {each["id"] for work in task["annotations"] for each in work["result"]}, size

    (everything, large), (ids, small) = sent("another"), sent(TITLE)
    assert ids == everything == {f"mask {number}" for number in range(MASKS)}
    assert large > MAX_BODY_BYTES
    assert small < 100_000
