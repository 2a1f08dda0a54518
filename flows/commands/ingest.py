"""`sam-engine ingest`: pictures, and the masks that come with them, into a workspace."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.console import JsonFlag, emit, progress_bars
from flows.options import MaskFrame
from flows.rejects import check_something_was_good, ignored_line, report_rejected
from schemas.counted import counted


def ingest(
    workspace: Annotated[str, typer.Argument(help="The workspace.")],
    sources: Annotated[
        list[Path],
        typer.Argument(help="Pictures, folders, .txt lists of paths, label files (COCO and others)."),
    ],
    images: Annotated[
        Path | None, typer.Option(help="Folder of the pictures of label files; default: beside each file.")
    ] = None,
    crowds: Annotated[
        Literal["auto", "keep", "drop"],
        typer.Option(help="Masks with iscrowd: keep or drop them; auto drops them unless the exporter flags all RLE."),
    ] = "auto",
    mask_frame: MaskFrame = "auto",
    bit_depth: Annotated[
        int | None,
        typer.Option(min=8, max=32, help="Of values in samples of more than 8 bits; kept in engine.yaml."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Bring pictures and masks into a workspace. The second time writes nothing."""
    from engine.ingest import ingest as ingest_sources
    from engine.store import Store

    store = Store(workspace)
    if bit_depth is not None:
        store.files.set_bit_depth(bit_depth)
    with progress_bars() as progress:
        report = ingest_sources(
            store, sources, images_root=images, crowds=crowds, mask_frame=mask_frame, progress=progress
        )
    rejected = [problem._asdict() for problem in report.rejected]
    report_rejected(rejected, listed_in=f"sam-engine status {workspace} --rejected")
    result = {
        "added": report.added,
        "duplicates": report.duplicates,
        "masks": report.masks,
        "crowds": report.crowds,
        "ignored": report.ignored,
        "ignored_endings": dict(report.ignored_endings),
        "mended": dict(report.mended),
        "notes": report.notes,
        "rejected": rejected,
    }
    text = (
        f"{counted(report.added, 'image')} added, {report.duplicates} "
        f"{'was' if report.duplicates == 1 else 'were'} there already, {counted(report.masks, 'mask')}"
        + (f" ({counted(report.crowds, 'mask')} of groups left out)" if report.crowds else "")
        + (f", {len(rejected)} rejected" if rejected else "")
        + (f", {ignored_line(report.ignored_endings)}" if report.ignored else "")
        + "".join(f"\nmended: {name}: {count}" for name, count in sorted(report.mended.items()))
        + "".join(f"\n{note}" for note in report.notes)
    )
    emit(result, as_json=as_json, text=text)
    check_something_was_good(report.added + report.duplicates, rejected)
