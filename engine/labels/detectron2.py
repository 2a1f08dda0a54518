"""Detectron2's dataset dicts: a list with one object for each picture, which holds its annotations."""

from pathlib import Path
from typing import Any

from engine.labels.importers import Imported


class Detectron2Importer:
    """Reads a list (or lines) of objects with `file_name` and `annotations`."""

    def recognises(self, content: Any) -> bool:
        """Whether this is a list of such objects."""
        return isinstance(content, list) and bool(content) and all(map(_is_record, content))

    def read(self, content: Any, path: Path) -> Imported:
        """Each picture has its place in the list for an id: `image_id` may be missing or used twice."""
        images = [{**record, "id": number} for number, record in enumerate(content)]
        annotations = [
            {**annotation, "image_id": number} if isinstance(annotation, dict) else annotation
            for number, record in enumerate(content)
            for annotation in record["annotations"]
        ]
        return Imported({"images": images, "annotations": annotations})


def _is_record(record: Any) -> bool:
    return isinstance(record, dict) and "file_name" in record and isinstance(record.get("annotations"), list)


IMPORTER = Detectron2Importer()
