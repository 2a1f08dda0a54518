"""The demo: the whole engine, once, on pictures of one kind, small enough for two cores and a few minutes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType

from engine.analysis.report import as_table, write_report
from engine.analysis.rounds import RoundReport, round_reports
from engine.ingest import ingest
from engine.release.build import build_release
from engine.release.card import CARD_FILE
from engine.release.report.writing import report_folder, write_release_report
from engine.release.statistics import statistics_of
from engine.store import Store
from engine.workspace import Workspace
from flows.demo.before_after import BeforeAfter, before_after
from flows.demo.before_after import as_table as as_before_after_table
from flows.demo.photos import bricks_path, cut_bricks, portrait_path
from flows.running import DATA_ENGINE, run_flow
from schemas.counted import counted
from schemas.errors import InputError
from stages.progress import Progress

_MARK = "# sam-data-engine demo"
DEMO_YAML = f"""\
{_MARK}: small rounds on squares of one photograph. What is left out has the value that sam-engine init writes.

annotator:
  kind: simulated             # clicks from ground truth that was made for these pictures

assisted_manual:
  rounds: 2

semi_automatic:
  rounds: 1
  prefill: generator          # eight pictures are too few to choose a detector's threshold on
  generator: {{points_per_side: 12}}

fully_automatic:
  generator: {{points_per_side: 12}}

retraining:
  steps: 9                    # a taste of a retraining; the preset has 40 to 300 ...
  masks_per_image: 4          # ... with 8 masks a picture

flow:
  shards_per_task: 1

release:
  card:
    name: Bricks, and a portrait
    motivation: Made by sam-engine demo, to show the engine once as a whole. It is of no other use.
    pictures: Squares of brick.png (CC0) and astronaut.png (NASA), photographs that ship with scikit-image.
    annotators: There were none. A program clicked on bricks whose masks it knew.
    limits: Sixteen squares of one pavement, and one portrait.
"""


@dataclass(frozen=True)
class DemoResult:
    """What the demo made. page: the report of the release. ready: everything was there already, nothing was done."""

    workspace: Path
    rounds: Sequence[RoundReport]
    release: Path
    masks: int
    blurred: int
    card: Path
    page: Path
    learned: BeforeAfter
    report: Path
    ready: bool

    def to_dict(self) -> dict[str, Any]:
        rounds = [report.to_dict() for report in self.rounds]
        return dict(vars(self)) | {"rounds": rounds, "learned": self.learned.to_dict()}


def run_demo(workspace: Path, progress: Progress) -> DemoResult:
    """Run the demo, or what is left of it, in `workspace`.

    Raises InputError where the folder holds another workspace, or where the photograph is not installed.
    """
    store = _open_workspace(workspace)
    pictures = workspace / "pictures"
    cut_bricks(pictures)
    taken = ingest(store, [bricks_path()], images_root=pictures, progress=progress)
    if taken.rejected:
        raise InputError(f"{taken.rejected[0].source}: {taken.rejected[0].reason}; remove {pictures} and try again")
    # Without ground truth it takes no part in what is learned: the model alone makes its masks.
    portrait = ingest(store, [portrait_path()], progress=progress)
    before = store.versions()
    run_flow(store, DATA_ENGINE, progress)
    release = build_release(store, progress=progress)
    learned = before_after(store, progress)
    report = write_report(store)
    page = write_release_report(release.place, report_folder(release.place), store=store, progress=progress).page
    return DemoResult(
        workspace,
        round_reports(store),
        release.path,
        release.manifest.masks,
        sum(statistics_of(release.place, release.manifest.tars).blurred.values()),
        release.path / CARD_FILE,
        page.local_path("the report of a demo's release"),
        learned,
        report.markdown.local_path("the report of a demo"),
        ready=not release.created and store.versions() == before and not taken.added + portrait.added,
    )


def as_text(result: DemoResult) -> RenderableType:
    """The table of rounds and where things are, for the terminal."""
    first = "All is done already." if result.ready else "Done."
    lines = [
        f"{first} Look at the masks, before and after: {result.learned.picture}",
        f"Release:               {result.release} ({counted(result.masks, 'mask')}, faces blurred: {result.blurred})",
        f"  its card:            {result.card}",
        f"  its report:          {result.page}",
        f"Report of the rounds:  {result.report}",
        f"Workspace:             {result.workspace} (sam-engine status {result.workspace})",
    ]
    return Group(as_table(result.rounds), "", as_before_after_table(result.learned), "\n".join(lines))


def _open_workspace(workspace: Path) -> Store:
    config = Workspace(workspace).config
    if config.exists() and not config.text().startswith(_MARK):
        raise InputError(f"{workspace}: holds a workspace that is not the demo's; choose another with --workspace DIR")
    if not config.exists():
        config.write(DEMO_YAML.encode())
    return Store.create(workspace)
