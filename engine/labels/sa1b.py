"""SA-1B's own form: one JSON file for each picture, with `image` and `annotations`."""

from pathlib import Path
from typing import Any

from engine.labels.importers import Imported


class Sa1bImporter:
    """Reads the files of SA-1B, of which ours are a superset."""

    def recognises(self, content: Any) -> bool:
        """Whether there is one `image` and a list of annotations."""
        return (
            isinstance(content, dict)
            and isinstance(content.get("image"), dict)
            and isinstance(content.get("annotations"), list)
        )

    def read(self, content: Any, path: Path) -> Imported:
        """The picture gets the id 0, whatever its `image_id` is."""
        annotations = [
            {**annotation, "image_id": 0} if isinstance(annotation, dict) else annotation
            for annotation in content["annotations"]
        ]
        return Imported({"images": [{**content["image"], "id": 0}], "annotations": annotations})


IMPORTER = Sa1bImporter()
