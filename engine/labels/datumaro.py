"""datumaro's own form: a JSON file of `items`, each a picture with its annotations."""

from pathlib import Path
from typing import Any

from engine.labels.importers import Imported


class DatumaroImporter:
    """Reads masks and polygons; polygons of one group and label are parts of one object. Boxes and others are none."""

    def recognises(self, content: Any) -> bool:
        """Whether it has items and categories."""
        return isinstance(content, dict) and isinstance(content.get("items"), list) and "categories" in content

    def read(self, content: Any, path: Path) -> Imported:
        """An item without a picture is named by its id."""
        labels = _labels(content["categories"])
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, item in enumerate(each for each in content["items"] if isinstance(each, dict)):
            told = item.get("image")
            picture: dict[str, Any] = told if isinstance(told, dict) else {}
            size = picture.get("size") or [None, None]
            name = picture.get("path") or f"{item.get('id')}.jpg"
            images.append({"id": number, "file_name": name, "height": size[0], "width": size[-1]})
            objects: dict[Any, dict[str, Any]] = {}
            for place, each in enumerate(item.get("annotations") or []):
                record = each if isinstance(each, dict) else {}
                label, part = labels.get(str(record.get("label_id")), ""), _segmentation(record)
                grouped = isinstance(part, list) and record.get("group")
                known = objects.setdefault((str(record["group"]), label) if grouped else place, {"label": label})
                known["segmentation"] = [*known.get("segmentation", []), *part] if isinstance(part, list) else part
            for known in objects.values():
                annotations.append({"id": f"{len(annotations) + 1} ({name})", "image_id": number, **known})
        return Imported({"images": images, "annotations": annotations})


def _segmentation(record: dict[str, Any]) -> Any:
    if record.get("type") == "polygon" and isinstance(record.get("points"), list):
        return [record["points"]]
    return record.get("rle") if record.get("type") == "mask" else None


def _labels(categories: Any) -> dict[str, str]:
    try:
        return {str(number): str(each["name"]) for number, each in enumerate(categories["label"]["labels"])}
    except (KeyError, TypeError):
        return {}


IMPORTER = DatumaroImporter()
