"""What an annotator does in Label Studio's web page, as one call each.

Places in the picture are fractions (x, y) of its width and height. Calls that prompt the model wait for its answer.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from engine.labeling.server_settings import is_loopback

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Locator, Page, Request, Response

_SMART_TOOLS = {"point": "key-point-tool", "box": "rectangle-tool"}
_POLL_MS, _QUIET_MS = 50, 300
_WINDOW = {"width": 1400, "height": 1000}
# Widths, in pixels of the screen, of the picture and of what it is seen through.
_SIZES = """(([image, window]) => ({image: image.width, window: window.width}))(
    [".lsf-image img", ".lsf-image"].map(name => document.querySelector(name).getBoundingClientRect()))"""
_OFFSET = "(({x, y}) => [x, y])([...Htx.annotationStore.selected.objects][0].alignmentOffset)"
_TIMEOUT_MS = 30_000  # a busy machine takes its time over the first page


class LabelingPage:
    """A page of one browser window. errors: what its scripts complained of. foreign: hosts other than this machine
    that it asked for something. asked_to_stay: how often it asked whether it may be left; it always may, once
    `before_leaving` is done."""

    def __init__(self, page: "Page", url: str, output: Path) -> None:
        self.page = page
        self.url = url
        self.output = output
        self.errors: list[str] = []
        self.foreign: set[str] = set()
        self.asked_to_stay = 0
        self.before_leaving: Callable[[], None] = lambda: None
        page.set_default_timeout(_TIMEOUT_MS)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        self._open_requests: set[Request] = set()
        page.on("dialog", self._leave)
        page.on("request", self._begun)
        page.on("requestfinished", self._ended)
        page.on("requestfailed", self._ended)

    @classmethod
    @contextmanager
    def opened(cls, browser: "Browser", url: str, output: Path) -> Iterator["LabelingPage"]:
        """A window with no cookies; screenshots go to `output`."""
        context = browser.new_context(viewport=_WINDOW)
        try:
            yield cls(context.new_page(), url, output)
        finally:
            context.close()

    def log_in(self, email: str, password: str) -> None:
        self.page.goto(f"{self.url}/user/login/")
        self.page.fill("input[name=email]", email)
        self.page.fill("input[name=password]", password)
        self.page.click("button[type=submit]")
        self.page.wait_for_url(lambda address: "/user/login" not in address)

    def open_task(self, project: int, task: int) -> None:
        """Open a task and wait for its picture."""
        self.page.goto(f"{self.url}/projects/{project}/data?task={task}")
        self._wait_for_picture()

    def open_next_task(self, project: int) -> int:
        """Label in the order in which Label Studio hands out tasks ("Label All Tasks"). Returns the task's id."""
        with self.page.expect_response(lambda response: "id=next_task" in response.url) as handed_out:
            self.page.goto(f"{self.url}/projects/{project}/data?labeling=1")
        self._wait_for_picture()
        return int(handed_out.value.json()["id"])

    def close_instructions(self) -> None:
        """Of the project, which the label stream shows before the first task."""
        self.page.locator(".lsf-modal-ls button").first.click()

    def set_auto_annotation(self, on: bool = True) -> None:
        self._set("bottombar-auto-annotation-toggle", on)

    def set_auto_accept(self, on: bool) -> None:
        """On: every prompt makes a new mask at once. Off: prompts refine one mask until it is accepted.

        Shown only once auto-annotation is on.
        """
        self._set("bottombar-auto-accept-toggle", on)

    def pick_smart_tool(self, tool: Literal["point", "box"]) -> None:
        """The smart tool lies under the plain tool of the same name; choosing a label alone does not pick it."""
        self.page.locator(".lsf-toolbar__group").last.hover()
        self.page.locator(f'button[aria-label="{_SMART_TOOLS[tool]}"]').last.click()

    def choose_label(self, label: str) -> None:
        """Needed before each prompt where the page is Label Studio's own: a finished one gives its label up."""
        chip = self._label(label)
        if "selected" not in (chip.get_attribute("class") or ""):
            chip.click()

    def click(self, x: float, y: float, *, negative: bool = False) -> dict[str, Any]:
        """Click with the smart point tool; negative: with Alt held down. Returns what Label Studio answered."""
        at = self._at(x, y)
        if negative:
            self.page.keyboard.down("Alt")
        with self._model_answers() as answers:
            self.page.mouse.click(*at)
        if negative:
            self.page.keyboard.up("Alt")
        return self._shown(answers)

    def drag_box(self, x0: float, y0: float, x1: float, y1: float) -> dict[str, Any]:
        """Draw with the smart box tool. Returns what Label Studio answered."""
        self.page.mouse.move(*self._at(x0, y0))
        with self._model_answers() as answers:
            self.page.mouse.down()
            self.page.mouse.move(*self._at((x0 + x1) / 2, (y0 + y1) / 2), steps=5)
            self.page.mouse.move(*self._at(x1, y1), steps=5)
            self.page.mouse.up()
        return self._shown(answers)

    def pick_brush(self, label: str) -> None:
        """The plain brush, for a new mask of a label."""
        self.page.evaluate("Htx.annotationStore.selected.unselectAll()")
        self.page.locator('button[aria-label="brush-tool"]').first.click()
        self.choose_label(label)

    def stroke(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Draw with the tool in hand; the page asks the model for nothing."""
        self.begin_stroke(x0, y0, x1, y1)
        self.page.mouse.up()
        self.page.wait_for_function("![...Htx.annotationStore.selected.objects][0].drawingRegion")  # it is a mask then

    def begin_stroke(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """As `stroke`, with the button of the mouse held down at its end."""
        self.page.mouse.move(*self._at(x0, y0))
        self.page.mouse.down()
        self.page.mouse.move(*self._at((x0 + x1) / 2, (y0 + y1) / 2), steps=5)
        self.page.mouse.move(*self._at(x1, y1), steps=5)

    def masks(self) -> list[str]:
        """Ids of the masks, as they are saved, the newest last."""
        brushes = "[...Htx.annotationStore.selected.regions].filter(region => region.type === 'brushregion')"
        found: list[str] = self.page.evaluate(f"{brushes}.map(region => region.id.replace(/#.*/, ''))")
        return found

    def select_mask(self, mask: str) -> None:
        """So that the brush mends it."""
        find = "Htx.annotationStore.selected.regions.find(region => region.id.startsWith(mask))"
        self.page.evaluate(f"mask => Htx.annotationStore.selected.selectArea({find})", mask)

    def accept(self) -> None:
        """Make the suggested mask a region."""
        self._decide("accept")

    def accept_by_key(self) -> None:
        self.page.keyboard.press("Enter")
        self.page.get_by_test_id("bottombar-accept-suggestions-button").wait_for(state="hidden")

    def reject(self) -> None:
        self._decide("reject")

    def press(self, key: str) -> None:
        """A key while nothing is being written; the page takes it in."""
        self.page.keyboard.press(key)
        self._settle()

    def selected_tool(self) -> str:
        """The editor's name of the tool in hand; smart ones end in "-dynamic"."""
        tool = "[...Htx.annotationStore.selected.objects][0].getToolsManager().findSelectedTool().fullName"
        return str(self.page.evaluate(tool))

    def note(self) -> str:
        """What the page says of a prompt that brought no mask."""
        return self.page.locator("#sam-engine-note").inner_text()

    def regions(self) -> int:
        """Number of regions in the list at the side, prompts included."""
        self._settle()
        return self.page.locator(".lsf-tree__node:not(.lsf-tree__node_type_footer)").count()

    def submit(self) -> dict[str, Any]:
        """Send the annotation. Returns it as Label Studio stored it."""
        return self._send("bottombar-submit-button", r"/api/tasks/\d+/annotations")

    def update(self) -> dict[str, Any]:
        """Send an annotation anew that was sent before. Returns it as Label Studio stored it."""
        return self._send("bottombar-update-button", r"/api/annotations/\d+")

    def skip(self) -> dict[str, Any]:
        """Leave the task without an annotation. Returns what Label Studio stored: `was_cancelled` is true.

        Offered only for a task that came by `open_next_task`.
        """
        return self._send("bottombar-skip-button", r"/api/tasks/\d+/annotations")

    def screenshot(self, name: str) -> Path:
        """A PNG file of the window."""
        path = self.output / f"{name}.png"
        self.page.screenshot(path=path)
        return path

    def _leave(self, dialog: "Dialog") -> None:
        self.asked_to_stay += dialog.type == "beforeunload"
        self.before_leaving()
        dialog.accept()

    def _begun(self, request: "Request") -> None:
        self._open_requests.add(request)
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https") and not is_loopback(parts.hostname or ""):
            self.foreign.add(parts.hostname or "")

    def _ended(self, request: "Request") -> None:
        self._open_requests.discard(request)

    def _settle(self) -> None:
        """Until the page has asked the server for nothing for a while, and so has drawn what it got."""
        deadline, quiet_ms = time.monotonic() + _TIMEOUT_MS / 1000, 0
        while quiet_ms < _QUIET_MS:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the page still waits for {sorted(request.url for request in self._open_requests)}")
            self.page.wait_for_timeout(_POLL_MS)
            quiet_ms = 0 if self._open_requests else quiet_ms + _POLL_MS

    def _picture(self) -> "Locator":
        return self.page.locator(".lsf-image img")

    def _wait_for_picture(self) -> None:
        """Until all of the picture is seen: it opens a little enlarged where the window is small."""
        self.page.locator(".konvajs-content canvas").first.wait_for(state="visible")
        self._settle()
        self.page.wait_for_function(f"() => {_SIZES}.image > 1")
        deadline = time.monotonic() + _TIMEOUT_MS / 1000
        while True:
            self.page.keyboard.press("Shift+1")  # zoom to fit; a page that does not listen to keys yet loses it
            self.page.wait_for_timeout(_POLL_MS)
            sizes = self.page.evaluate(_SIZES)
            if abs(sizes["image"] - sizes["window"]) < 2:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"the picture does not fit into what it is seen through: {sizes}")
            self.page.wait_for_timeout(_QUIET_MS)

    def _set(self, test_id: str, on: bool) -> None:
        toggle = self.page.get_by_test_id(test_id)
        if toggle.is_checked() != on:
            toggle.dispatch_event("click")  # the input itself is hidden
            self.page.wait_for_function(
                "([id, on]) => document.querySelector(`[data-testid=${id}]`)?.checked === on", arg=[test_id, on]
            )

    def _label(self, label: str) -> "Locator":
        text = self.page.locator(".lsf-label__text", has_text=re.compile(rf"^{re.escape(label)}$"))
        return self.page.locator(".lsf-label", has=text)

    def _at(self, x: float, y: float) -> tuple[float, float]:
        box = self._picture().bounding_box()
        if box is None:
            raise RuntimeError("the picture is not in the window")
        # A picture that is narrower than its frame is drawn in the middle of it.
        aside, down = self.page.evaluate(_OFFSET)
        return box["x"] + aside + x * box["width"], box["y"] + down + y * box["height"]

    @contextmanager
    def _model_answers(self) -> Iterator[list["Response"]]:
        found: list[Response] = []
        with self.page.expect_response(lambda response: "/interactive-annotating" in response.url) as answer:
            yield found
        found.append(answer.value)

    def _shown(self, answers: list["Response"]) -> dict[str, Any]:
        """The one answer, once the page has drawn it."""
        body: dict[str, Any] = answers[0].json()
        self._settle()
        return body

    def _decide(self, what: Literal["accept", "reject"]) -> None:
        button = self.page.get_by_test_id(f"bottombar-{what}-suggestions-button")
        button.click()
        button.wait_for(state="hidden")

    def _send(self, test_id: str, path: str) -> dict[str, Any]:
        wanted = re.compile(path + r"(?:/?\?|/?$)")
        with self.page.expect_response(
            lambda response: bool(wanted.search(response.url)) and response.request.method in ("POST", "PATCH")
        ) as sent:
            self.page.get_by_test_id(test_id).click()
        stored: dict[str, Any] = sent.value.json()
        self._settle()
        return stored
