"""YOLO's form of segmentation: a .txt file for each picture, a line `class x y x y ...` in fractions an object."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from engine.images import SUFFIXES, upright_size
from engine.labels.streamed import StreamedAnnotations
from engine.labels.text import decoded_text
from engine.labels.yolo_text import (
    Line,
    Read,
    has_keypoints,
    keypoint_numbers,
    numbers_of,
    read_lines,
    settings_of,
    task_of,
    why_oriented,
)
from schemas.counted import counted
from schemas.errors import InputError

_NAME_LISTS = frozenset({"classes.txt", "obj.names", "classes.names", "darknet.labels", "predefined_classes.txt"})
_NOT_READ = "it has numbers, but is no YOLO file: a line is a class and fractions of the picture's sides"


@dataclass
class YoloFolder:
    """content: COCO records of the pictures, and of the objects, which are read from their files one by one. used: the
    text files that they are of. problems: (file, why it was not taken). notes: what was assumed."""

    content: dict[str, Any] = field(default_factory=lambda: {"images": [], "annotations": []})
    used: set[Path] = field(default_factory=set)
    problems: list[tuple[Path, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class _Labelled(NamedTuple):
    """A picture and its text. keypoint_numbers: see `read_lines`."""

    picture: Path
    height: int
    width: int
    text: Path
    keypoint_numbers: int

    def lines(self) -> Read:
        return read_lines(_content(self.text), keypoint_numbers=self.keypoint_numbers) or Read([], [])


@dataclass
class _Told:
    """What is to be known of all lines at once: how many objects and outlines, and whether any has a score."""

    lines: int = 0
    outlines: int = 0
    scored: bool = False

    def add(self, read: Read) -> None:
        self.lines += len(read.lines)
        self.outlines += sum(not line.is_box for line in read.lines)
        self.scored |= read.scored


def read_yolo(files: Iterable[Path], folder: Path, *, described: frozenset[Path] = frozenset()) -> YoloFolder | None:
    """The objects of all pictures of a folder that have a .txt file: of that name beside them, or in `labels` instead
    of `images`, or the only one of that name. None where no such file holds objects.

    described: pictures whose masks another file gives. Boxes, also oriented ones, keep their record without a mask, so
    that they are named. Labels are the `names` of data.yaml or the lines of classes.txt.
    """
    there = list(files)
    settings = _settings(there)
    told = task_of(settings, [folder.name, *(part for path in there for part in path.relative_to(folder).parts[:-1])])
    made = YoloFolder()
    labelled, told_of = _labelled(there, settings, described, made)
    if not told_of.lines:
        return None if not made.problems else made
    oriented = why_oriented(_outlines(labelled), told)
    if oriented:
        made.notes.append(
            f"{folder}: {counted(told_of.outlines, 'outline')} "
            f"{'is' if told_of.outlines == 1 else 'are'} taken for oriented boxes, which are no masks: {oriented}; "
            "`task: segment` in data.yaml makes them masks"
        )
    if told_of.scored:
        made.notes.append(f"{folder}: a number at the end of each line is taken for a confidence and left out")
    made.used.update(each.text for each in labelled)
    names = _names(there, settings, made)
    made.content["images"] = [_image(number, each, folder) for number, each in enumerate(labelled)]
    made.content["annotations"] = StreamedAnnotations(partial(_annotations, labelled, folder, names, bool(oriented)))
    return made


def _outlines(labelled: list[_Labelled]) -> Iterator[tuple[Line, int, int]]:
    """Each with the height and width of its picture."""
    for each in labelled:
        yield from ((line, each.height, each.width) for line in each.lines().lines if not line.is_box)


def _labelled(
    files: list[Path], settings: Mapping[str, Any], described: frozenset[Path], made: YoloFolder
) -> tuple[list[_Labelled], _Told]:
    texts = {path for path in files if path.suffix.lower() == ".txt" and path.name.lower() not in _NAME_LISTS}
    pictures = [path for path in files if path.suffix.lower() in SUFFIXES]
    pairs = _pairs(pictures, texts)
    pose = has_keypoints(row for text in pairs.values() for row in numbers_of(_content(text)))
    keypoints = keypoint_numbers(settings)
    found: list[_Labelled] = []
    told = _Told()
    for picture, text in pairs.items():
        content = _content(text)
        rows = numbers_of(content) if pose else []
        extra = keypoints or max((len(row) - 4 for row in rows), default=0)
        lines = read_lines(content, keypoint_numbers=extra)
        if lines is None or picture in described:
            continue
        if lines.bad and not lines.lines:
            made.problems.append((text, _NOT_READ))
            continue
        try:
            height, width = upright_size(picture)
        except InputError:  # whoever decodes it says so
            made.used.add(text)
            continue
        found.append(_Labelled(picture, height, width, text, extra))
        made.problems += [(text, f"line {bad}: neither a box nor an outline") for bad in lines.bad]
        told.add(lines)
    _name_lonely(texts - set(pairs.values()), made)
    return found, told


def _name_lonely(texts: set[Path], made: YoloFolder) -> None:
    for text in sorted(texts):
        lines = read_lines(_content(text))
        if lines and lines.lines and not lines.bad:
            reason = (
                f"{counted(len(lines.lines), 'object')} in the form of YOLO, but no picture has the name {text.stem}"
            )
            made.problems.append((text, reason))


def _pairs(pictures: list[Path], texts: set[Path]) -> dict[Path, Path]:
    """The text of each picture: in its usual place; of the others the one of that name whose folders are most alike."""
    found = {picture: text for picture in pictures for text in reversed(_texts_of(picture)) if text in texts}
    left: dict[str, list[Path]] = defaultdict(list)
    for text in texts - set(found.values()):
        left[text.stem].append(text)
    for picture in pictures:
        if picture not in found and (fitting := left.get(picture.stem)):
            alike = {text: len(set(text.parent.parts) & set(picture.parent.parts)) for text in fitting}
            best = [text for text in fitting if alike[text] == max(alike.values())]
            if len(best) == 1:
                found[picture] = best[0]
    return found


def _texts_of(picture: Path) -> list[Path]:
    beside = picture.with_suffix(".txt")
    parts = list(beside.parts)
    last = max((place for place, part in enumerate(parts) if part == "images"), default=None)
    return [beside] if last is None else [Path(*parts[:last], "labels", *parts[last + 1 :]), beside]


def _image(number: int, each: _Labelled, folder: Path) -> dict[str, Any]:
    name = each.picture.relative_to(folder).as_posix()
    return {"id": number, "file_name": name, "height": each.height, "width": each.width}


def _annotations(
    labelled: list[_Labelled], folder: Path, names: Mapping[str, str], oriented: bool
) -> Iterator[dict[str, Any]]:
    for number, each in enumerate(labelled):
        place = each.text.relative_to(folder).as_posix()
        for line in each.lines().lines:
            label = names.get(line.kind, line.kind)
            record = {"id": f"{place}: line {line.number}", "image_id": number, "label": label}
            yield record | _shape(line, (each.width, each.height), oriented)


def _shape(line: Line, sides: tuple[int, int], oriented: bool) -> dict[str, Any]:
    if line.is_box or oriented:
        return {"segmentation": None, "bbox": _box(line, sides)}
    return {"segmentation": [[share * sides[at % 2] for at, share in enumerate(line.shares)]]}


def _box(line: Line, sides: tuple[int, int]) -> list[float]:
    """XYWH in pixels; of an oriented box the upright one around it."""
    if line.is_box:
        x, y, width, height = line.shares
        x, y = x - width / 2, y - height / 2
    else:
        x, y = min(line.shares[0::2]), min(line.shares[1::2])
        width, height = max(line.shares[0::2]) - x, max(line.shares[1::2]) - y
    return [x * sides[0], y * sides[1], width * sides[0], height * sides[1]]


def _content(text: Path) -> str:
    try:
        return decoded_text(text.read_bytes())
    except (OSError, ValueError):
        return ""


def _settings(files: list[Path]) -> dict[str, Any]:
    """Of the first .yaml that names classes: data.yaml, or by the name of the set."""
    for path in files:
        if path.suffix.lower() in (".yaml", ".yml") and (found := settings_of(_content(path))):
            return found
    return {}


def _names(files: list[Path], settings: Mapping[str, Any], made: YoloFolder) -> dict[str, str]:
    listed = settings.get("names")
    if isinstance(listed, dict | list):
        pairs = listed.items() if isinstance(listed, dict) else enumerate(listed)
        return {str(number): str(name) for number, name in pairs}
    for path in files:
        if path.name.lower() in _NAME_LISTS:
            made.used.add(path)
            return {str(number): name.strip() for number, name in enumerate(_content(path).splitlines())}
    return {}
