"""The explorer in a real browser, as one call for each thing that a person does."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import uvicorn

from engine.listening import listen
from engine.release.explorer.app import make_app
from engine.release.explorer.opened import opened_releases

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WINDOW = {"width": 1280, "height": 800}
# Resolves with the milliseconds from the next key to the frame after that in which another picture is seen.
_NEXT_SHOWN = """() => {
    window.spent = new Promise(resolve => addEventListener("keydown", () => {
        const pressed = performance.now(), viewer = document.getElementById("viewer");
        const changes = new MutationObserver(() => {
            changes.disconnect();
            requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now() - pressed)));
        });
        changes.observe(viewer, { attributeFilter: ["data-shown"] });
    }, { capture: true, once: true }));
}"""
_RECORD_FRAMES = """() => {
    window.frames_at = [];
    const note = now => { window.frames_at.push(now); window.recording = requestAnimationFrame(note); };
    window.recording = requestAnimationFrame(note);
}"""


@contextmanager
def served(folders: Sequence[Path], **given: Any) -> Iterator[str]:
    """The address of an explorer of these releases, for the time of the `with` block. given: as of `make_app`."""
    with opened_releases(folders) as releases, listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(uvicorn.Config(make_app(releases, **given), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()


@dataclass
class Looking:
    """A page of the explorer. errors: what its scripts and the browser complained of. foreign: other hosts it asked."""

    page: "Page"
    address: str
    errors: list[str] = field(default_factory=list)
    foreign: set[str] = field(default_factory=set)

    @classmethod
    @contextmanager
    def opened(cls, browser: "Browser", address: str, at: str = "") -> "Iterator[Looking]":
        """at: what follows the address, as "?picture=1"."""
        context = browser.new_context(viewport=WINDOW)  # type: ignore[arg-type]
        with context, context.new_page() as page:
            page.set_default_timeout(30_000)
            looking = cls(page, address)
            page.on("pageerror", lambda error: looking.errors.append(str(error)))
            page.on("console", lambda line: looking.errors.append(line.text) if line.type == "error" else None)
            page.on("request", lambda request: looking._asked(request.url))
            looking.go(at)
            yield looking

    def _asked(self, url: str) -> None:
        if url.startswith("http") and urlsplit(url).netloc != urlsplit(self.address).netloc:
            self.foreign.add(url)

    def go(self, at: str) -> None:
        self.page.goto(self.address + at)
        self.page.wait_for_selector("#viewer[data-shown]" if "picture=" in at else ".tiles li")

    @property
    def query(self) -> dict[str, list[str]]:
        """Of the address, asked of the page: what Playwright knows of it lags behind a key."""
        from urllib.parse import parse_qs

        return parse_qs(str(self.page.evaluate("location.search")).removeprefix("?"))

    def tiles(self) -> list[str]:
        """Numbers of the pictures that are listed."""
        self.page.wait_for_selector(".tiles:not([aria-busy])")
        return [str(tile.get_attribute("data-id")) for tile in self.page.locator(".tiles [data-id]").all()]

    def wait_for(self, picture: str) -> None:
        """Until a picture is seen with its masks."""
        self.page.wait_for_selector(f'#viewer[data-shown="{picture}"]')

    def next_picture_ms(self, key: str = "ArrowRight") -> float:
        """From the key to the next picture with its masks."""
        self.page.evaluate(_NEXT_SHOWN)
        self.page.keyboard.press(key)
        return float(self.page.evaluate("window.spent"))

    def at(self, x: float, y: float, pane: int = 0) -> tuple[float, float]:
        """Where a pixel of the picture is in the window: the pane shows all of it, in its middle."""
        box = self.page.locator(".zoomed").nth(pane).bounding_box()
        width, height = self.page.evaluate(
            "pane => document.querySelectorAll('.zoomed')[pane].dataset.size.split('x').map(Number)", pane
        )
        assert box is not None
        scale = min(box["width"] / width, box["height"] / height)
        left, top = box["x"] + (box["width"] - width * scale) / 2, box["y"] + (box["height"] - height * scale) / 2
        return left + (x + 0.5) * scale, top + (y + 0.5) * scale

    def work_of_frames_ms(self, *, seconds: float) -> float:
        """Processor time of the page's main thread in a frame, on average, while the mouse moves over the picture."""
        session = self.page.context.new_cdp_session(self.page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})

        def worked_s() -> float:
            metrics = session.send("Performance.getMetrics")["metrics"]
            return float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))

        before = worked_s()
        frames = self.frames_ms(seconds=seconds)
        return 1000 * (worked_s() - before) / len(frames)

    def frames_ms(self, *, seconds: float, seed: int = 0) -> np.ndarray:
        """Milliseconds of each frame while the mouse moves over the picture."""
        box = self.page.locator(".zoomed").first.bounding_box()
        assert box is not None
        rng = np.random.default_rng(seed)
        corners = rng.uniform(0.1, 0.9, (64, 2)) * [box["width"], box["height"]] + [box["x"], box["y"]]
        self.page.evaluate(_RECORD_FRAMES)
        end, at = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            for part in np.linspace(0, 1, 40):
                place = corners[at % 64] * (1 - part) + corners[(at + 1) % 64] * part
                self.page.mouse.move(*place)
            at += 1
        frames = self.page.evaluate("() => { cancelAnimationFrame(window.recording); return window.frames_at; }")
        return np.diff(np.array(frames))
