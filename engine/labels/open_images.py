"""The form of Open Images: a .csv file with a line for each mask, which is a PNG beside it."""

from pathlib import Path
from typing import Any

from engine import rle as rle_codec
from engine.labels.importers import Imported
from engine.labels.mask_pictures import inside, read_samples


class OpenImagesImporter:
    """Reads lines with `MaskPath`, `ImageID` and `LabelName`; the picture is ImageID.jpg."""

    def recognises(self, content: Any) -> bool:
        """Whether the lines have these columns."""
        return (
            isinstance(content, list)
            and bool(content)
            and isinstance(content[0], dict)
            and {"MaskPath", "ImageID"} <= content[0].keys()
        )

    def read(self, content: Any, path: Path) -> Imported:
        """One annotation for each line; without a mask where its PNG is missing."""
        names = dict.fromkeys(str(record["ImageID"]) for record in content)
        annotations: list[dict[str, Any]] = []
        files: set[Path] = set()
        for number, record in enumerate(content):
            png = _mask_file(path.parent, str(record["MaskPath"]))
            samples = read_samples(png, "L") if png else None
            files.update([png] if png else [])
            annotations.append(
                {"id": number, "image_id": str(record["ImageID"]), "label": record.get("LabelName") or ""}
                | {"segmentation": None if samples is None else rle_codec.encode(samples > 0).to_coco()}
            )
        images = [{"id": name, "file_name": f"{name}.jpg"} for name in names]
        return Imported({"images": images, "annotations": annotations}, frozenset(files))


def _mask_file(folder: Path, name: str) -> Path | None:
    """Beside the table, or in a folder `masks` there or beside its folder, in which each subset may have its own."""
    for masks in (folder, folder / "masks", folder.parent / "masks"):
        below = sorted(each for each in masks.iterdir() if each.is_dir()) if masks.is_dir() and masks != folder else []
        found = next((png for each in (masks, *below) if (png := inside(each, name))), None)
        if found:
            return found
    return None


IMPORTER = OpenImagesImporter()
