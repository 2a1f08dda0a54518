"""Label Studio's short exports, JSON-MIN and tables (CSV, TSV): an object for each annotation, its results by name."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.labels import label_studio
from engine.labels.importers import Imported

_FIELDS = frozenset({"annotation_id", "annotator", "created_at", "updated_at", "lead_time", "id"})


class LabelStudioMinImporter:
    """Reads the same shapes as of the whole JSON; of a table the cells that hold lists of them."""

    def recognises(self, content: Any) -> bool:
        """Whether all records are annotations of tasks."""
        return isinstance(content, list) and bool(content) and all(map(_is_annotation, content))

    def read(self, content: Any, path: Path) -> Imported:
        """Records of one picture stay records of their own: each is what one annotator drew."""
        tasks = [
            {
                "data": {name: value for name, value in record.items() if name not in _FIELDS},
                "annotations": [{"completed_by": record.get("annotator", ""), "result": list(_results(record))}],
            }
            for record in content
        ]
        imported = label_studio.IMPORTER.read(tasks, path)
        return Imported(_by_picture(imported.content))


def _is_annotation(record: Any) -> bool:
    return (
        isinstance(record, dict)
        and "annotation_id" in record
        and any(isinstance(value, str) and value for name, value in record.items() if name not in _FIELDS)
    )


def _results(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """As in the whole JSON: the shape as `value`, with the sizes of its picture beside it."""
    for name, found in record.items():
        values = _listed(found) if name not in _FIELDS else None
        for number, value in enumerate(values or []):
            if isinstance(value, dict):
                sizes = {key: value.get(key) for key in ("original_width", "original_height")}
                yield {"id": f"{record['annotation_id']} {name} {number + 1}", "value": value, **sizes}


def _listed(value: Any) -> list[Any] | None:
    """A list, also one in a cell of a table as JSON."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return value if isinstance(value, list) else None


def _by_picture(content: dict[str, Any]) -> dict[str, Any]:
    """The same with one image for each picture, of which several people's records may be."""
    first: dict[Any, dict[str, Any]] = {}
    number_of: dict[int, int] = {}
    for image in content["images"]:
        kept = first.setdefault(image["file_name"], image)
        kept |= {key: value for key, value in image.items() if key != "id"}
        number_of[image["id"]] = kept["id"]
    annotations = [{**each, "image_id": number_of[each["image_id"]]} for each in content["annotations"]]
    return {"images": list(first.values()), "annotations": annotations}


IMPORTER = LabelStudioMinImporter()
