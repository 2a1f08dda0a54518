"""Releases in other forms: one function a form, found by name."""

from pathlib import Path
from typing import Protocol

from engine.files import storage_errors
from engine.progress import Progress
from engine.release.reader import Release
from model.files import atomic_folder
from schemas.errors import InputError
from schemas.plugins import Registry


class Exporter(Protocol):
    """Writes the pictures and masks of a release into an empty folder, which is published when it returns."""

    def __call__(self, release: Release, folder: Path, /) -> None:
        """Raises InputError for a release that this form cannot hold."""
        ...


EXPORTERS: Registry[Exporter] = Registry(
    "export format",
    group="sam_data_engine.exporters",
    needs=("__call__",),
    builtin={
        "coco": "engine.release.coco:export_coco",
        "lvis": "engine.release.lvis:export_lvis",
        "png": "engine.release.png:export_png",
        "yolo": "engine.release.yolo:export_yolo",
        "labelstudio": "engine.release.labelstudio:export_labelstudio",
        "parquet-images": "engine.release.parquet_images:export_parquet_images",
    },
)


def export_release(path: str | Path, output: Path, *, form: str, progress: Progress | None = None) -> Release:
    """Write the release in the folder `path` in another form, as the new folder `output`.

    The folder appears whole or not at all. progress is called with ("export", done, total) pictures.
    Raises InputError for an unknown form, a folder that is no release, or an output that exists.
    """
    exporter, release = EXPORTERS[form], Release(path, progress=progress, what="export")
    taken = f"{output}: exists already; choose another folder, or move it away"
    if output.exists():
        raise InputError(taken)
    try:
        with storage_errors(output), atomic_folder(output) as folder:
            exporter(release, folder)
    except FileExistsError as error:
        raise InputError(taken) from error
    return release
