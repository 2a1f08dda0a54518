"""The form of Grounded-SAM 2: one JSON file for each picture, with boxes, masks and phrases."""

from pathlib import Path
from typing import Any

from engine.labels.importers import Imported
from schemas.errors import InputError


class GroundedSamImporter:
    """Reads {"image_path": ..., "annotations": [{"class_name": ..., "bbox": ..., "segmentation": ...}], "box_format":
    "xyxy"}; phrases become labels.
    """

    def recognises(self, content: Any) -> bool:
        """Whether there is an image_path beside a list of annotations."""
        return (
            isinstance(content, dict)
            and isinstance(content.get("image_path"), str)
            and isinstance(content.get("annotations"), list)
        )

    def read(self, content: Any, path: Path) -> Imported:
        """Raises InputError for boxes of another form than xyxy or xywh."""
        form = content.get("box_format", "xyxy")
        if form not in ("xyxy", "xywh"):
            raise InputError(f"{path}: box_format is {form!r}, expected xyxy or xywh")
        size = {"width": content.get("img_width"), "height": content.get("img_height")}
        image = {"id": 0, "file_name": content["image_path"]} | {key: value for key, value in size.items() if value}
        annotations = [
            {**_usual(annotation, form), "image_id": 0, "id": number} if isinstance(annotation, dict) else annotation
            for number, annotation in enumerate(content["annotations"], start=1)
        ]
        return Imported({"images": [image], "annotations": annotations})


def _usual(annotation: dict[str, Any], form: str) -> dict[str, Any]:
    """With a label, and the box as COCO has it where it is one."""
    box, label = annotation.get("bbox"), annotation.get("class_name", annotation.get("label", ""))
    usual = {**annotation, "label": str(label).strip().rstrip(".")}
    if form == "xyxy" and isinstance(box, list) and len(box) == 4 and all(isinstance(x, int | float) for x in box):
        usual["bbox"] = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
    return usual


IMPORTER = GroundedSamImporter()
