"""Importers: forms of label files beside COCO's. Each turns what a file holds into COCO records, checked from then on.

Other distributions bring more in the entry point group `sam_data_engine.importers`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from schemas.errors import InputError
from schemas.plugins import Registry

IMPORTERS_GROUP = "sam_data_engine.importers"


@dataclass(frozen=True)
class Imported:
    """content: an object with `images`, `annotations` and perhaps `categories`, as in a COCO file.

    mask_files: pictures that hold masks, so that a folder does not bring them in as pictures.
    embedded: by the name of a picture, the picture itself in base64, for where no file has that name.
    """

    content: Any
    mask_files: frozenset[Path] = frozenset()
    embedded: Mapping[str, str] = field(default_factory=dict)


class Importer(Protocol):
    """A form of label file."""

    def recognises(self, content: Any) -> bool:
        """Whether the content of a JSON file (the records of a .csv file, the root of an .xml file) has this form.

        Never raises.
        """

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
        "label-studio-min": f"{_HERE}label_studio_min:IMPORTER",
        "open-images": f"{_HERE}open_images:IMPORTER",
        "via-table": f"{_HERE}via:TABLE_IMPORTER",
        "cvat": f"{_HERE}cvat:IMPORTER",
        "voc": f"{_HERE}voc:IMPORTER",
        "darwin": f"{_HERE}darwin:IMPORTER",
        "datumaro": f"{_HERE}datumaro:IMPORTER",
        "supervisely": f"{_HERE}supervisely:IMPORTER",
        "run-table": f"{_HERE}run_tables:IMPORTER",
        "coco-results": f"{_HERE}coco_results:IMPORTER",
        "via3": f"{_HERE}via3:IMPORTER",
        "grounded-sam": f"{_HERE}grounded_sam:IMPORTER",
    },
)


def to_coco(content: Any, path: Path) -> Imported:
    """The content as COCO records, by the first importer that recognises it; as it is where none does.

    Raises InputError where nothing of it can be used, also where it has values of kinds that its form does not know.
    """
    for name, importer in IMPORTERS.working():
        if importer.recognises(content):
            try:
                return importer.read(content, path)
            except InputError:
                raise
            except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
                what = " ".join(f"{type(error).__name__}: {error}".split())
                raise InputError(
                    f"{path}: of the form {name}, but not as it has to be ({what}); export it again"
                ) from error
    return Imported(content)


def is_label_file(content: Any) -> bool:
    """Whether content is a COCO file's, or of a form that an importer recognises."""
    images = content.get("images") if isinstance(content, dict) else None
    if isinstance(images, list) or (isinstance(images, dict) and "categories" in content):
        return True
    return any(importer.recognises(content) for _, importer in IMPORTERS.working())
