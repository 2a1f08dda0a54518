"""Tables of masks as competitions give them: a line for each, with pairs of a first pixel and how many."""

from pathlib import Path, PurePosixPath
from typing import Any

from engine.images import SUFFIXES
from engine.labels.importers import Imported
from engine.labels.repairs import FIRST_AND_COUNT, whole

_PICTURES = ("imageid", "image_id", "img_id", "image", "image_name", "filename", "file_name", "img", "id")
_RUNS = ("encodedpixels", "encoded_pixels", "rle", "rle_mask", "segmentation", "annotation", "mask")
_LABELS = ("classid", "class_id", "class", "label", "cell_type", "category")


class RunTableImporter:
    """Reads lines of a picture and its runs (`ImageId,EncodedPixels`), pixels counted from 1. Lines of one picture are
    objects of it; a line without runs names a picture without masks.
    """

    def recognises(self, content: Any) -> bool:
        """Whether it has both columns, and all cells of the second are pairs of numbers."""
        if not isinstance(content, list) or not content or not isinstance(content[0], dict):
            return False
        picture, runs = _column(content[0], _PICTURES), _column(content[0], _RUNS)
        if picture is None or runs is None:
            return False
        cells = [str(line.get(runs) or "").split() for line in content if isinstance(line, dict)]
        return any(cells) and all(cell == ["-1"] or _are_pairs(cell) for cell in cells)

    def read(self, content: Any, path: Path) -> Imported:
        """The size is the picture's own, or that of the columns width and height."""
        first = content[0]
        picture, runs = _column(first, _PICTURES) or "", _column(first, _RUNS) or ""
        label = _column(first, _LABELS) or ""
        images: dict[str, dict[str, Any]] = {}
        annotations: list[dict[str, Any]] = []
        for number, line in enumerate(content, start=2):
            name = str(line.get(picture) or "")
            if PurePosixPath(name).suffix.lower() not in SUFFIXES:
                name = f"{name}.png"
            sizes = {side: whole(line.get(side)) for side in ("height", "width") if line.get(side)}
            images.setdefault(name, {"id": name, "file_name": name, **sizes})
            cell = str(line.get(runs) or "").split()
            if cell and cell != ["-1"]:
                record = {"id": f"line {number}", "image_id": name, "label": str(line.get(label) or "")}
                annotations.append(record | {"segmentation": {FIRST_AND_COUNT: [int(number) for number in cell]}})
        return Imported({"images": list(images.values()), "annotations": annotations})


def _are_pairs(words: list[str]) -> bool:
    return len(words) % 2 == 0 and all(word.isascii() and word.isdigit() for word in words)


def _column(line: dict[str, Any], names: tuple[str, ...]) -> str | None:
    there = {str(name).strip().lower(): name for name in line}
    return next((there[name] for name in names if name in there), None)


IMPORTER = RunTableImporter()
