"""Importers: forms of label files beside COCO's. Each turns what a file holds into COCO records, checked from then on.

Other distributions bring more in the entry point group `sam_data_engine.importers`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from schemas.plugins import Registry

IMPORTERS_GROUP = "sam_data_engine.importers"


@dataclass(frozen=True)
class Imported:
    """content: an object with `images`, `annotations` and perhaps `categories`, as in a COCO file.

    mask_files: pictures that hold masks, so that a folder does not bring them in as pictures.
    """

    content: Any
    mask_files: frozenset[Path] = frozenset()


class Importer(Protocol):
    """A form of label file."""

    def recognises(self, content: Any) -> bool:
        """Whether the content of a JSON file (or the records of a .csv file) has this form. Never raises."""

    def read(self, content: Any, path: Path) -> Imported:
        """The same as COCO records. What has no mask keeps its record without `segmentation`, so that it is named.

        Raises InputError where nothing of the file can be used.
        """


_HERE = "engine.labels."
IMPORTERS: Registry[Importer] = Registry(
    "importer",
    group=IMPORTERS_GROUP,
    needs=("recognises", "read"),
    builtin={
        "detectron2": f"{_HERE}detectron2:IMPORTER",
        "sa1b": f"{_HERE}sa1b:IMPORTER",
        "labelme": f"{_HERE}labelme:IMPORTER",
        "via": f"{_HERE}via:IMPORTER",
        "panoptic": f"{_HERE}panoptic:IMPORTER",
        "label-studio": f"{_HERE}label_studio:IMPORTER",
        "open-images": f"{_HERE}open_images:IMPORTER",
    },
)


def to_coco(content: Any, path: Path) -> Imported:
    """The content as COCO records, by the first importer that recognises it; as it is where none does."""
    for _, importer in IMPORTERS.working():
        if importer.recognises(content):
            return importer.read(content, path)
    return Imported(content)


def is_label_file(content: Any) -> bool:
    """Whether content is a COCO file's, or of a form that an importer recognises."""
    if isinstance(content, dict) and isinstance(content.get("images"), list):
        return True
    return any(importer.recognises(content) for _, importer in IMPORTERS.working())
