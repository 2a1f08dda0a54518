"""Files of prompts for many pictures: COCO json, detections in the form of COCO results, and .csv tables."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.coco import Problem
from engine.folders import files_below
from engine.labels.importers import to_coco
from engine.labels.text import TABLES, read_label_file
from engine.labels.yolo import read_yolo
from schemas.errors import InputError

_NAME = ("file_name", "filename", "image", "image_name", "path", "image_path")
_CORNERS = (("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"), ("left", "top", "right", "bottom"))
_SIDES = (("x", "y", "w", "h"), ("x", "y", "width", "height"))
_OBJECT = ("object", "object_id", "id")
# What detectors that understand words call what they found: kept as `label`.
_PHRASES = ("phrase", "text_label", "category_name", "class_name")
_KEPT = ("id", "category_id", "category", "label", "class", "score")  # go into the masks' annotations


@dataclass
class MaskPrompt:
    """What one mask is asked by. points: (x, y, label), label 1 on the object, 0 off it. box: XYXY. Both in pixels.

    source names it in messages; fields go into the annotation of its mask.
    image_id: of a detection, the id that its file gives its picture. mask: its own, as COCO writes masks; None where it
    has none.
    """

    source: str
    points: list[tuple[float, float, int]] = field(default_factory=list)
    box: tuple[float, float, float, float] | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    image_id: int | str | None = None
    mask: Any = None


@dataclass
class PromptFile:
    """Prompts by the name of their picture, in the order of the file; categories as in COCO; what could not be read."""

    prompts: dict[str, list[MaskPrompt]] = field(default_factory=lambda: defaultdict(list))
    categories: list[Any] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def read_prompt_file(path: Path, *, names: Path | None = None) -> PromptFile:
    """Boxes and points of a file.

    COCO json: `bbox` of each annotation, XYWH. Results: a list of `image_id` and `bbox`; names: the COCO file whose
    `images` these ids are of, else pictures are named by them. CSV: a line a box (x1, y1, x2, y2; also xmin, ... or
    x, y, w, h) or a point (x, y, label); points with one value of `object` are of one mask.
    Label files of other forms (`engine.labels.importers`), and a folder of these or of YOLO's texts: the boxes in them.
    Raises InputError where the file cannot be read, or has another form.
    """
    if path.is_dir():
        return _read_folder(path)
    content = read_label_file(path, Counter())
    if isinstance(content, Mapping) and "annotations" in content and isinstance(content.get("images"), list):
        found = PromptFile(categories=content.get("categories") or [])
        _read_boxes(content["annotations"], _names_of(content["images"]), found, f"{path}: annotation")
    elif isinstance(content, list) and content and path.suffix.lower() in TABLES:
        found = _read_table(content, path)
    elif isinstance(content, list) and content and isinstance(content[0], dict) and "bbox" in content[0]:
        found = PromptFile()
        known: Any = read_label_file(names, Counter()) if names else {}
        found.categories = known.get("categories") or [] if isinstance(known, Mapping) else []
        listed = known.get("images", []) if isinstance(known, Mapping) else []
        _read_boxes(content, _names_of(listed), found, f"{path}: detection", by_id=names is None)
    elif (imported := _imported(content, path)) is not None:
        found = PromptFile()
        _add_imported(imported, found, path)
    else:
        raise InputError(f"{path}: expected COCO json, a list of image_id and bbox, or a .csv of boxes or points")
    return found


def folder_of(path: Path) -> Path:
    """Where the pictures of prompts lie unless something else is said: in the folder, or beside the file."""
    return path if path.is_dir() else path.parent


def _read_folder(folder: Path) -> PromptFile:
    """Boxes of YOLO's texts and of label files of a picture each. Raises InputError where it has none."""
    files, _ = files_below(folder)
    found = PromptFile()
    yolo = read_yolo(files, folder)
    if yolo is not None:
        _add_imported(yolo.content, found, folder)
        found.problems += [Problem(str(path), "file", reason) for path, reason in yolo.problems]
    for path in files:
        if path.suffix.lower() in (".xml", ".json"):
            try:
                imported = _imported(read_label_file(path, Counter()), path)
            except InputError as error:
                found.problems.append(Problem(str(path), "file", str(error)))
                continue
            if imported is not None:
                _add_imported(imported, found, path)
    if not found.prompts and not found.problems:
        raise InputError(f"{folder}: no boxes of YOLO, Pascal VOC or another form that is read; see docs/models.md")
    return found


def _imported(content: Any, path: Path) -> dict[str, Any] | None:
    """What an importer makes of it; None where none recognises it."""
    found = to_coco(content, path).content
    return found if found is not content and isinstance(found, dict) else None


def _add_imported(content: dict[str, Any], found: PromptFile, path: Path) -> None:
    """Ids are left out: each file counts its own."""
    boxes = [{key: value for key, value in each.items() if key != "id"} for each in content["annotations"]]
    _read_boxes(boxes, _names_of(content["images"]), found, f"{path}: annotation")


def _names_of(images: Iterable[Any]) -> dict[Any, str]:
    return {
        image.get("id"): image["file_name"]
        for image in images
        if isinstance(image, dict) and isinstance(image.get("file_name"), str)
    }


def _read_boxes(
    records: Iterable[Any], names: Mapping[Any, str], found: PromptFile, source: str, *, by_id: bool = False
) -> None:
    for number, record in enumerate(records):
        what = f"{source} {number + 1}"
        try:
            if not isinstance(record, dict):
                raise InputError(f"expected an object, found {type(record).__name__}")
            image_id = record.get("image_id")
            name = name_by_id(image_id) if by_id else names.get(image_id)
            if name is None:
                raise InputError(f"its image_id {image_id!r} is not among the images of the file")
            left, top, width, height = _numbers(record.get("bbox"), 4)
            box = (left, top, left + width, top + height)
            prompt = MaskPrompt(what, box=box, fields=_kept(record), mask=record.get("segmentation"))
            if by_id:
                prompt.image_id = image_id
            found.prompts[name].append(prompt)
        except InputError as error:
            found.problems.append(Problem(what, "mask", str(error)))


def name_by_id(image_id: Any) -> str:
    """What results call a picture of which they know the id alone: COCO names its pictures by ids of 12 digits."""
    return f"{image_id:012d}.jpg" if isinstance(image_id, int) else str(image_id)


def _read_table(lines: list[dict[str, Any]], path: Path) -> PromptFile:
    table = _Table([str(name).strip().lower() for name in lines[0]], path)
    for number, raw in enumerate(lines, start=2):
        line = {str(key).strip().lower(): value for key, value in raw.items()}
        source = f"{path}: line {number}"
        try:
            table.add(line, source)
        except InputError as error:
            table.found.problems.append(Problem(source, "mask", str(error)))
    return table.found


class _Table:
    """The columns of a .csv file, and what was read of it."""

    def __init__(self, columns: list[str], path: Path) -> None:
        there = set(columns)
        self.found = PromptFile()
        self._corners = next((each for each in (*_CORNERS, *_SIDES) if there.issuperset(each)), None)
        self._object = next((each for each in _OBJECT if each in there), None)
        self._of_object: dict[tuple[str, str], MaskPrompt] = {}
        name = next((each for each in _NAME if each in there), None)
        if name is None or (self._corners is None and not there.issuperset(("x", "y"))):
            raise InputError(
                f"{path}: expected columns file_name and x1, y1, x2, y2 or x, y, label; found {', '.join(columns)}"
            )
        self._name = name

    def add(self, line: dict[str, Any], source: str) -> None:
        """Raises InputError where a line names no picture, or its numbers are none."""
        name = line[self._name]
        if not name:
            raise InputError("it names no picture")
        prompt = MaskPrompt(source, fields=_kept(line))
        if self._corners is not None:
            first, second, third, fourth = _numbers([line[corner] for corner in self._corners], 4)
            in_sides = self._corners in _SIDES
            prompt.box = (first, second, third + in_sides * first, fourth + in_sides * second)
            self.found.prompts[name].append(prompt)
            return
        x, y, label = _numbers([line["x"], line["y"], line.get("label") or 1], 3)
        prompt.fields.pop("label", None)
        whose = (name, str(line[self._object]) if self._object else source)
        if whose not in self._of_object:
            self._of_object[whose] = prompt
            self.found.prompts[name].append(prompt)
        self._of_object[whose].points.append((x, y, int(label)))


def _kept(record: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: record[key] for key in _KEPT if record.get(key) not in (None, "")}
    phrase = next((record[key] for key in _PHRASES if isinstance(record.get(key), str) and record[key]), None)
    return kept if phrase is None or "label" in kept else {**kept, "label": phrase}


def _numbers(values: Any, count: int) -> list[float]:
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != count:
        raise InputError(f"expected {count} numbers, found {values!r}"[:200])
    return numbers
