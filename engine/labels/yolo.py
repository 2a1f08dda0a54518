"""YOLO's form of segmentation: a .txt file for each picture, a line `class x y x y ...` in fractions an object."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from engine.images import SUFFIXES, upright_size
from schemas.errors import InputError

_FEWEST_NUMBERS = 7  # a class and three corners
_BOX_NUMBERS = 5


def read_yolo(files: Iterable[Path], folder: Path) -> tuple[dict[str, Any], set[Path]] | None:
    """COCO records of all pictures of a folder that have a .txt file of that name beside them, or in `labels` instead
    of `images`; and these .txt files. None where no such file holds objects.

    Boxes keep their record without a mask, so that they are named. Labels are the `names` of data.yaml.
    """
    there = list(files)
    texts = {path for path in there if path.suffix.lower() == ".txt"}
    names = _names(there)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    used: set[Path] = set()
    for picture in (path for path in there if path.suffix.lower() in SUFFIXES):
        text = next((path for path in _texts_of(picture) if path in texts), None)
        lines = _lines(text) if text else None
        if text is None or lines is None:
            continue
        used.add(text)
        try:
            height, width = upright_size(picture)
        except InputError:  # whoever decodes it says so
            continue
        images.append(
            {"id": len(images), "file_name": picture.relative_to(folder).as_posix(), "height": height, "width": width}
        )
        for number, (kind, *shares) in lines:
            corners = [share * (height if place % 2 else width) for place, share in enumerate(shares)]
            record = {"id": f"{text.relative_to(folder).as_posix()}: line {number}", "image_id": len(images) - 1}
            is_box = len(shares) + 1 == _BOX_NUMBERS
            record |= {"label": names.get(int(kind), str(int(kind))), "segmentation": None if is_box else [corners]}
            annotations.append(record)
    return ({"images": images, "annotations": annotations}, used) if annotations else None


def _texts_of(picture: Path) -> list[Path]:
    beside = picture.with_suffix(".txt")
    parts = list(beside.parts)
    last = max((place for place, part in enumerate(parts) if part == "images"), default=None)
    return [beside] if last is None else [Path(*parts[:last], "labels", *parts[last + 1 :]), beside]


def _lines(text: Path) -> list[tuple[int, list[float]]] | None:
    """The numbers of each line that is not empty, with its number; None where a line is of another form."""
    try:
        rows = [
            (number, line.split()) for number, line in enumerate(text.read_text(encoding="utf-8-sig").splitlines(), 1)
        ]
        found = [(number, [float(word) for word in words]) for number, words in rows if words]
    except (OSError, ValueError):
        return None
    good = all(
        (len(row) == _BOX_NUMBERS or (len(row) >= _FEWEST_NUMBERS and len(row) % 2))
        and row[0] >= 0
        and row[0].is_integer()
        and all(-0.5 <= share <= 1.5 for share in row[1:])
        for _, row in found
    )
    return found if good else None


def _names(files: list[Path]) -> dict[int, str]:
    for path in files:
        if path.name.lower() in ("data.yaml", "data.yml", "dataset.yaml"):
            try:
                names = yaml.safe_load(path.read_text(encoding="utf-8"))["names"]
                pairs = names.items() if isinstance(names, dict) else enumerate(names)
                return {int(number): str(name) for number, name in pairs}
            except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
                return {}
    return {}
