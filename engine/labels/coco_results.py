"""The form of COCO results: a list of what a model found, each with the id of its picture and a mask."""

from pathlib import Path
from typing import Any

from engine.labels.importers import Imported


class CocoResultsImporter:
    """Reads a list of objects with `image_id` and `segmentation`. COCO names its pictures by ids of 12 digits; an id
    that is a text is the name of a picture.
    """

    def recognises(self, content: Any) -> bool:
        """Whether all are such objects, one of them with a mask."""
        return (
            isinstance(content, list)
            and bool(content)
            and all(isinstance(each, dict) and "image_id" in each for each in content)
            and any(each.get("segmentation") for each in content)
        )

    def read(self, content: Any, path: Path) -> Imported:
        """Pictures of other names are told by a COCO file alone, which has to hold the masks itself then."""
        names = {str(each["image_id"]): _name(each["image_id"]) for each in content}
        images = [{"id": f"image {key}", "file_name": name} for key, name in names.items()]
        annotations = [
            {"id": number, **each, "image_id": f"image {each['image_id']}"}
            for number, each in enumerate(content, start=1)
        ]
        return Imported({"images": images, "annotations": annotations})


def _name(image_id: Any) -> str:
    return f"{image_id:012d}.jpg" if isinstance(image_id, int) else str(image_id)


IMPORTER = CocoResultsImporter()
