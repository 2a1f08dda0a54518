"""The demo: the whole engine, once, on the photographs that ship, small enough for two cores and a few minutes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Group, RenderableType

from engine.analysis.overlays import contact_sheet, draw_masks, save_png
from engine.analysis.report import RoundReport, as_table, round_reports, write_report
from engine.delta import rows_where
from engine.files import write_atomic
from engine.ingest import ingest
from engine.release.build import build_release
from engine.rows import content_key, row_rle
from engine.store import Store
from flows.demo.photos import ground_truth_path, photos_folder
from flows.running import DATA_ENGINE, run_flow
from schemas.config import CONFIG_FILE
from schemas.errors import InputError
from stages.progress import Progress

_MARK = "# sam-data-engine demo"
DEMO_YAML = f"""\
{_MARK}: small rounds on a handful of photographs. What is left out has the value that sam-engine init writes.

annotator:
  kind: simulated             # clicks from ground truth that was drawn for these photographs

assisted_manual:
  rounds: 2

semi_automatic:
  rounds: 1
  prefill: generator          # seven photographs are too few to choose a detector's threshold on
  generator: {{points_per_side: 16}}

fully_automatic:
  generator: {{points_per_side: 24}}

retraining:
  steps: 12                   # a taste of a retraining; the preset has 40 to 300 ...
  masks_per_image: 4          # ... with 8 masks a picture
  oversampling: {{assisted_manual: 10, semi_automatic: 10}}  # people's masks weigh most (SAM paper, figure 13)

flow:
  shards_per_task: 1
"""


@dataclass(frozen=True)
class DemoResult:
    """What the demo made. ready: everything was there already, nothing was done."""

    workspace: Path
    rounds: Sequence[RoundReport]
    release: Path
    masks: int
    contact_sheet: Path
    report: Path
    ready: bool

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self)) | {"rounds": [report.to_dict() for report in self.rounds]}


def run_demo(workspace: Path, progress: Progress) -> DemoResult:
    """Run the demo, or what is left of it, in `workspace`.

    Raises InputError where the folder holds another workspace, or where the photographs are not installed.
    """
    store = _open_workspace(workspace)
    taken = ingest(store, [ground_truth_path()], images_root=photos_folder(), progress=progress)
    if taken.rejected:
        raise InputError(f"{taken.rejected[0].source}: {taken.rejected[0].reason}; install scikit-image again")
    before = store.versions()
    run_flow(store, DATA_ENGINE, progress)
    release = build_release(store, progress=progress)
    sheet = _contact_sheet(store, progress)
    report = write_report(store)
    return DemoResult(
        workspace,
        round_reports(store),
        release.path,
        release.manifest.masks,
        sheet,
        report.markdown,
        ready=not release.created and store.versions() == before and not taken.added,
    )


def as_text(result: DemoResult) -> RenderableType:
    """The table of rounds and where things are, for the terminal."""
    first = "All is done already." if result.ready else "Done."
    lines = [
        f"{first} Look at the masks: {result.contact_sheet}",
        f"Release ({result.masks} masks):   {result.release}",
        f"Report of the rounds:  {result.report}",
        f"Workspace:             {result.workspace} (sam-engine status {result.workspace})",
    ]
    return Group(as_table(result.rounds), "\n".join(lines))


def _open_workspace(workspace: Path) -> Store:
    config = workspace / CONFIG_FILE
    if config.is_file() and not config.read_text(encoding="utf-8").startswith(_MARK):
        raise InputError(f"{workspace}: holds a workspace that is not the demo's; choose another with --workspace DIR")
    if not config.is_file():
        write_atomic(config, DEMO_YAML.encode())
    return Store.create(workspace)


def _contact_sheet(store: Store, progress: Progress) -> Path:
    """Draw the automatic masks of every photograph; the file's name follows from the masks, so it is drawn once."""
    images = store.images()
    masks = store.read_table("fully_automatic")
    key = content_key("sheet", sorted(masks["mask_id"].to_pylist()))
    path = store.workspace / "reports" / f"contact_sheet-{key[:6]}.png"
    if path.is_file():
        return path
    tiles = []
    for number, row in enumerate(images.to_pylist(), start=1):
        tiles.append(_tile(store, row, rows_where(masks, image_id=row["image_id"])))
        progress("contact sheet", number, len(images))
    save_png(contact_sheet(tiles, columns=3), path)
    return path


def _tile(store: Store, image: dict[str, Any], masks: pa.Table) -> tuple[Any, str]:
    drawn = draw_masks(store.load_image(image["image_id"]), [row_rle(row) for row in masks.to_pylist()])
    return drawn, f"{Path(image['source']).stem.replace('_', ' ')}: {len(masks)} masks"
