"""Writing the report of a release: the page, its values and its plots."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.figures import drawn
from engine.places import Place, full_name, place
from engine.progress import Progress
from engine.release.report.geography import GEOGRAPHY, geography_of_index
from engine.release.report.masks import compare_masks, mask_sections
from engine.release.report.page import render_page
from engine.release.report.properties import Dataset
from engine.release.report.quality import quality_sections
from engine.release.report.references import CocoReference
from engine.release.report.released import ReleasedMasks, open_release
from engine.release.report.sections import Section
from engine.store import Store
from engine.workspace import workspace_of_release
from schemas.errors import InputError
from schemas.release import Manifest

PAGE, VALUES, PLOTS = "report.html", "report.json", "plots"


@dataclass(frozen=True)
class ReportFiles:
    """What was written. values: as in report.json."""

    page: Place
    values: dict[str, Any]


def write_release_report(
    release: str | Path | Place,
    output: str | Path | Place,
    *,
    references: Mapping[str, Path] | None = None,
    store: Store | None = None,
    more: Sequence[Callable[[ReleasedMasks], Section]] = (),
    progress: Progress | None = None,
) -> ReportFiles:
    """Write report.html, report.json and plots/*.png and *.pdf into the folder `output`; files there are replaced.

    references: COCO files by the names that they get in the report. store: of the workspace that the release was built
    of, for what it knows of rounds, filters and audits. more: other analyses, each of which gives a section. Where none
    of them is on geography and the release tells countries, there is one on these.
    The index is read once, tar by tar, and of the tars the json of the masks whose shape is measured: memory does not
    grow with the release. Raises InputError for a release that cannot be read or has no masks, for a reference that is
    no COCO file, and if the disk is full.
    """
    released = open_release(place(release), progress=progress)
    named = references or {}
    if released.name in named:
        raise InputError(f"--reference {released.name}: the release has this name; give the reference another name")
    datasets: list[Dataset] = [released]
    datasets += [CocoReference(name, path, progress=progress) for name, path in named.items()]
    sections = [*mask_sections(compare_masks(datasets)), *(analysis(released) for analysis in more)]
    if all(section.key != GEOGRAPHY for section in sections) and (told := geography_of_index(released)):
        sections.append(told)
    sections += quality_sections(released, store)
    return _write(released, place(output), sections)


def report_folder(release: str | Path | Place) -> str:
    """Where the report of a release goes unless one says so: reports/NAME of its workspace, else NAME-report here."""
    name, workspace = full_name(place(release)).rpartition("/")[2], workspace_of_release(release)
    return f"{name}-report" if workspace is None else str(workspace.reports / name)


def _write(released: ReleasedMasks, folder: Place, sections: Sequence[Section]) -> ReportFiles:
    manifest = released.manifest
    values = {"release": manifest.name, "key": manifest.key, "images": manifest.images, "masks": manifest.masks}
    values |= {section.key: section.values for section in sections}
    for path in (folder, folder / PLOTS):
        path.make_folder()
    pictures: dict[str, bytes] = {}
    for section in sections:
        for name, (figure, _) in section.figures.items():
            pictures[name] = drawn(figure)
            (folder / PLOTS / f"{name}.png").write(pictures[name])
            (folder / PLOTS / f"{name}.pdf").write(drawn(figure, "pdf"))
    cards = {
        "pictures": f"{manifest.images:,}",
        "masks": f"{manifest.masks:,}",
        "masks / picture": f"{manifest.masks / manifest.images:.1f}",
        "tars": f"{len(manifest.tars):,}",
    }
    text = render_page(manifest.name, _subtitle(manifest), cards, sections, pictures)
    (folder / VALUES).write((json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())
    (folder / PAGE).write(text.encode())
    return ReportFiles(folder / PAGE, values)


def _subtitle(manifest: Manifest) -> str:
    """What the release is, in a few words."""
    stages = ", ".join(stage.replace("_", " ") for stage in manifest.stages)
    detectors = ", ".join(f"{name} {version}" for name, version in sorted(manifest.blur_versions.items()))
    parts = (
        f"Masks of the stages: {stages}.",
        f"Blurred is what these found: {detectors}." if detectors else "Nothing is blurred.",
        "These pictures are withheld from all other releases." if manifest.withheld else "",
        f"Key {manifest.key}.",
    )
    return " ".join(part for part in parts if part)
