"""The page of Label Studio under the hands of a scripted annotator: how soon a mask is painted, whose prompts it has.

    python benchmarks/labeling_page.py                    # 200 objects on 12 photographs: about 10 minutes
    python benchmarks/labeling_page.py --objects 24

Needs Label Studio's environment and chromium, as tests/labelstudio do. The server, the model backend with `nano` and a
headless chromium run on this machine; the photographs come with scikit-image. An object is a click (60 %), two clicks
and one with Alt (20 %) or a box (20 %), each at a random place, and accepted with Enter. Before every fifth something
goes wrong: a prompt is left by a reload, an accept is undone, or a suggestion is rejected.

Milliseconds run from the press of the mouse, of a box from its release, to the first frame of the page in which the new
mask has pixels. A prompt is polluted where a submitted mask says that it was made from other points or another box than
the script set for it.

Exit code 0: p50 <= 250 ms and no prompt polluted; 1: not so.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # for benchmarks.peers and tests.labelstudio, which are no part of the package

import numpy as np  # noqa: E402
import skimage  # noqa: E402
import yaml  # noqa: E402

from benchmarks.peers.report import machine  # noqa: E402
from engine.ingest import ingest  # noqa: E402
from engine.labeling.client import LabelStudioClient  # noqa: E402
from engine.labeling.server import running_server  # noqa: E402
from engine.labeling.tool import LabelStudioTool  # noqa: E402
from engine.store import Store  # noqa: E402
from schemas.config import CONFIG_FILE  # noqa: E402
from schemas.labeling import META  # noqa: E402
from stages.rounds import tick  # noqa: E402
from tests.labelstudio.backend import running_backend  # noqa: E402
from tests.labelstudio.browser.chromium import chromium_path, running_chromium  # noqa: E402
from tests.labelstudio.browser.page import LabelingPage  # noqa: E402
from tests.labelstudio.ports import free_port  # noqa: E402

PHOTOGRAPHS = (
    "astronaut.png",
    "camera.png",
    "cell.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "horse.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "retina.jpg",
    "rocket.jpg",
)
P50_MS = 250.0
MASKS = ((0, 4), (4, 8), (8, 12), (12, 100))
LEFT_MS = 6500  # after five seconds a draft is kept, with prompts that nobody accepted
NEAR = 0.5  # percent of the picture: the mouse has whole pixels
# Resolves with the milliseconds from the next press, and from its release, to a frame in which a new mask has pixels.
PAINTED = """() => {
    const small = new OffscreenCanvas(64, 64).getContext("2d", {willReadFrequently: true});
    const annotation = Htx.annotationStore.selected;
    const masks = () => [...annotation.suggestions.values()].filter(region => region.type === "brushregion");
    const known = new Set(masks().map(region => region.id));
    const hasPixels = region => {
        const canvas = region.layerRef?.canvas?._canvas;
        if (!canvas) return false;
        small.clearRect(0, 0, 64, 64);
        small.drawImage(canvas, 0, 0, 64, 64);
        return small.getImageData(0, 0, 64, 64).data.some(value => value);
    };
    window.painted = new Promise(resolve => addEventListener("mousedown", () => {
        const pressed = performance.now();
        let released = pressed;
        addEventListener("mouseup", () => { released = performance.now(); }, {capture: true, once: true});
        const look = () => {
            const now = performance.now();
            const isPainted = masks().some(region => !known.has(region.id) && hasPixels(region));
            if (isPainted || now - pressed > 10000) resolve([now - pressed, now - released]);
            else requestAnimationFrame(look);
        };
        requestAnimationFrame(look);
    }, {capture: true, once: true}));
}"""


@dataclass(frozen=True)
class Scripted:
    """What an object is made from: points (x, y, label) and a box (x0, y0, x1, y1), fractions of the picture."""

    points: tuple[tuple[float, float, int], ...] = ()
    box: tuple[float, float, float, float] | None = None

    def is_told_by(self, noted: dict[str, Any]) -> bool:
        told = noted.get("points") or []
        if len(told) != len(self.points) or (noted.get("box") is None) != (self.box is None):
            return False
        pairs = zip([*told, noted.get("box") or ()], [*self.points, self.box or ()], strict=True)
        return all(_near(one, other) for one, other in pairs)


@dataclass(frozen=True)
class Painted:
    """held_ms: from the press of the mouse to its release. masks: on the picture before. opened: it is the first prompt
    since the page was opened."""

    ms: float
    held_ms: float
    masks: int
    box: bool
    opened: bool


@dataclass
class Found:
    """painted: of the first click or box of each object. unanswered: the model saw nothing there."""

    painted: list[Painted] = field(default_factory=list)
    objects: int = 0
    polluted: int = 0
    unanswered: int = 0
    disturbed: int = 0


def main() -> int:
    arguments = _arguments()
    facts = machine(["benchmarks/labeling_page.py", *sys.argv[1:]], ["label-studio-sdk", "playwright", "uvicorn"])
    print("\n".join(f"{name:13} {text}" for name, text in facts.items()))
    found, rng = Found(), np.random.default_rng(0)
    with _workspace() as (store, client), _browser(client, store) as page:
        tasks = list(client.tasks(_project(store)))
        for number, task in enumerate(tasks):
            share = len(range(number, arguments.objects, len(tasks)))
            _work(page, _project(store), task["id"], rng, found, share)
    print(f"\n{found.objects} objects on {len(tasks)} photographs; {found.disturbed} times something went wrong before")
    p50 = _print("press to painted mask", found.painted)
    for low, high in MASKS:
        _print(f"  where {low} to {high - 1} masks were", [one for one in found.painted if low <= one.masks < high])
    _print("  of clicks", [one for one in found.painted if not one.box])
    boxes = [one for one in found.painted if one.box]
    _print("  of boxes", boxes)
    _print("  of boxes, from the press", [replace(one, ms=one.held_ms + one.ms) for one in boxes])
    _print("  of the first prompts in an opened page", [one for one in found.painted if one.opened])
    print(f"polluted prompts: {found.polluted}; places at which the model sees nothing: {found.unanswered}")
    return 0 if p50 <= P50_MS and not found.polluted else 1


def _print(what: str, painted: list[Painted]) -> float:
    """The median too, in milliseconds; NaN of none."""
    if not painted:
        return float("nan")
    ms = [one.ms for one in painted]
    p50, p95 = np.percentile(ms, [50, 95])
    print(f"{what}: p50 {p50:.0f} ms, p95 {p95:.0f} ms, longest {max(ms):.0f} ms of {len(ms)}")
    return float(p50)


def _work(page: LabelingPage, project: int, task: int, rng: np.random.Generator, found: Found, objects: int) -> None:
    """Mark objects on a picture, submit it, and compare what its masks say with what was done."""
    _open(page, project, task)
    scripted: dict[str, Scripted] = {}
    opened = True
    for _ in range(objects):
        if rng.random() < 0.2:
            opened = _go_wrong(page, project, task, rng)
            found.disturbed += 1
        made, before = _script(rng), len(page.masks())
        times = _prompt(page, made)
        if times is None:
            found.unanswered += 1
            continue
        found.painted.append(Painted(*times, masks=before, box=made.box is not None, opened=opened))
        opened = False
        page.accept_by_key()
        page.page.wait_for_timeout(100)
        scripted[page.masks()[-1]] = made
    submitted = page.submit()["result"]
    masks = {region["id"]: region["meta"][META] for region in submitted if region["type"] == "brushlabels"}
    found.objects += len(scripted)
    found.polluted += sum(not made.is_told_by(masks[mask]) for mask, made in scripted.items())
    found.polluted += len(masks.keys() - scripted.keys())


def _open(page: LabelingPage, project: int, task: int) -> None:
    page.open_task(project, task)
    page.set_auto_annotation()
    page.set_auto_accept(False)
    _pick(page, "point")


def _pick(page: LabelingPage, tool: Literal["point", "box"]) -> None:
    """Where it is not in hand; the list of tools lies over the picture until the mouse has left it for a while."""
    if page.selected_tool() != {"point": "KeyPointTool-dynamic", "box": "RectangleTool-dynamic"}[tool]:
        page.pick_smart_tool(tool)
        page.page.mouse.move(5, 500)
        page.page.wait_for_timeout(500)


def _script(rng: np.random.Generator) -> Scripted:
    kind, x, y = rng.random(), *rng.uniform(0.15, 0.85, 2)
    if kind < 0.6:
        return Scripted(points=((x, y, 1),))
    if kind < 0.8:
        (x1, y1), (x2, y2) = rng.uniform(0.05, 0.95, (2, 2))
        return Scripted(points=((x, y, 1), (x1, y1, 1), (x2, y2, 0)))
    width, height = rng.uniform(0.1, 0.3, 2)
    return Scripted(box=(x, y, min(x + width, 0.95), min(y + height, 0.95)))


def _prompt(page: LabelingPage, made: Scripted) -> tuple[float, float] | None:
    """Milliseconds to the first mask, and of holding the mouse; None, and nothing left, where the model saw nothing."""
    _pick(page, "box" if made.box else "point")
    page.page.evaluate(PAINTED)
    answer = page.drag_box(*made.box) if made.box else page.click(*made.points[0][:2])
    if not _has_mask(answer):
        return None
    pressed, released = page.page.evaluate("window.painted")
    for x, y, label in made.points[1:]:
        answer = page.click(x, y, negative=not label)
    if not _has_mask(answer):
        page.reject()
        return None
    return released if made.box else pressed, pressed - released


def _go_wrong(page: LabelingPage, project: int, task: int, rng: np.random.Generator) -> bool:
    """Whether the page was opened anew."""
    what = rng.choice(["reload", "undo", "reject"])
    _pick(page, "point")
    if not _has_mask(page.click(*rng.uniform(0.1, 0.9, 2))):
        return False
    if what == "reject":
        page.reject()
    elif what == "undo":
        page.accept_by_key()
        page.press("Control+z")
    else:
        page.page.wait_for_timeout(LEFT_MS)
        _open(page, project, task)
    return bool(what == "reload")


def _has_mask(answer: dict[str, Any]) -> bool:
    return bool((answer.get("data") or {}).get("result"))


def _near(told: Any, scripted: Any) -> bool:
    """told: percent. Labels are whole numbers in both."""
    wanted = [100 * value if isinstance(value, float) else value for value in scripted]
    return len(told) == len(wanted) and bool(np.allclose(told, wanted, atol=NEAR))


@contextmanager
def _workspace() -> Iterator[tuple[Store, LabelStudioClient]]:
    """A round open on the photographs, with everything that annotators need."""
    with tempfile.TemporaryDirectory(prefix="labeling_page_") as folder:
        store = Store.create(Path(folder) / "workspace")
        data = Path(skimage.__file__).parent / "data"
        (store.workspace / CONFIG_FILE).write_text("images: {holdout_frac: 0.0}\n", encoding="utf-8")
        ingest(store, [data / name for name in PHOTOGRAPHS])
        backend = free_port()
        with running_server(store.workspace, port=free_port()) as server:
            settings = {
                "model": {"start": "nano", "device": "cpu"},
                "annotator": {"kind": "label_studio"},
                "assisted_manual": {"rounds": 1, "images_per_round": len(PHOTOGRAPHS) - 1},
                "semi_automatic": {"rounds": 1, "images_per_round": 1},  # one is left to it
                "images": {"holdout_frac": 0.0},
                "labeling": {"url": server.url, "backend_url": f"http://127.0.0.1:{backend}"},
            }
            (store.workspace / CONFIG_FILE).write_text(yaml.safe_dump(settings), encoding="utf-8")
            with running_backend(store.workspace, port=backend):
                tool = LabelStudioTool(store, store.files.settings())
                tool.setup("assisted_manual")
                tick(store, "assisted_manual")
                print(tick(store, "assisted_manual").message.partition(";")[0])
                yield store, tool.client


@contextmanager
def _browser(client: LabelStudioClient, store: Store) -> Iterator[LabelingPage]:
    path = chromium_path()
    if path is None:
        raise SystemExit("needs chromium: tests/labelstudio/install_packages.sh")
    account = yaml.safe_load((store.workspace / "label_studio" / "credentials.json").read_text(encoding="utf-8"))
    with (
        running_chromium(path) as browser,
        LabelingPage.opened(browser, client.url, Path(tempfile.gettempdir())) as page,
    ):
        page.log_in(account["email"], account["password"])
        yield page


def _project(store: Store) -> int:
    return LabelStudioTool(store, store.files.settings()).project("assisted_manual")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=200)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
