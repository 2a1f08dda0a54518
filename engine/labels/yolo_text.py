"""Lines of YOLO's text files: what each holds, and whether outlines of four corners are oriented boxes."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import yaml

Task = Literal["detect", "segment", "obb", "pose"]

_OF_FOLDERS: tuple[tuple[Task, re.Pattern[str]], ...] = (
    ("obb", re.compile(r"(^|[^a-z])(obb|oriented|rotated|dota(v?[\d.]+)?)([^a-z]|$)", re.IGNORECASE)),
    ("segment", re.compile(r"(^|[^a-z])(seg|segments?|segmentation|polygons?|masks?)([^a-z]|$)", re.IGNORECASE)),
)
_DECIMAL_COMMA = re.compile(r"[01],\d+")
_BOX_NUMBERS = 4
_FEWEST_CORNERS = 3
_MANY_OUTLINES = 50  # of four corners each and nothing else: no set of masks looks so
_SKEW = 0.05  # of its diagonal, by which an oriented box may miss being a rectangle


class Line(NamedTuple):
    """An object of a file. number: of its line. kind: its class, a number or a name. shares: fractions of the sides,
    x, y, x, y, ... of an outline, or those of the centre, width and height of a box."""

    number: int
    kind: str
    shares: tuple[float, ...]

    @property
    def is_box(self) -> bool:
        return len(self.shares) == _BOX_NUMBERS

    @property
    def has_four_corners(self) -> bool:
        return len(self.shares) == 8


class Read(NamedTuple):
    """The lines of a file that are objects, the numbers of those that are none although they are of numbers, and
    whether each line had a number more at its end: a confidence or the number of a track."""

    lines: list[Line]
    bad: list[int]
    scored: bool = False


def read_lines(text: str, *, keypoint_numbers: int = 0) -> Read | None:
    """None where a line is no row of numbers behind a class: a text of another kind.

    keypoint_numbers: how many numbers follow the box of a line with keypoints, which are left out, as scores are.
    """
    rows: list[tuple[int, str, list[float]]] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        words = _words(raw)
        if not words:
            continue
        kind = _class_of(words[0])
        try:
            shares = [float(word) for word in words[1:]]
        except ValueError:
            return None
        if kind is None:
            return None
        is_pose = keypoint_numbers and len(shares) == _BOX_NUMBERS + keypoint_numbers
        rows.append((number, kind, shares[:_BOX_NUMBERS] if is_pose else shares))
    scored = any(map(_is_odd, rows)) and all(_is_odd(row) for row in rows if len(row[2]) != _BOX_NUMBERS)
    ready = [(number, kind, shares[:-1] if scored and len(shares) % 2 else shares) for number, kind, shares in rows]
    lines = [Line(number, kind, tuple(shares)) for number, kind, shares in ready if _may_be_object(shares)]
    bad = [number for number, _, shares in ready if not _may_be_object(shares)]
    if not lines and any(not kind.isdigit() for _, kind, _ in rows):
        return None  # words before numbers that are no shares: no file of YOLO's
    return Read(lines, bad, scored and bool(lines))


def _words(line: str) -> list[str]:
    """The parts of a line, whatever stands between them; numbers with a decimal comma get their point."""
    words = line.split()
    if "," not in line and ";" not in line:
        return words
    if len(words) == 1:
        return line.replace(",", " ").replace(";", " ").split()
    return [word.replace(",", ".") if _DECIMAL_COMMA.fullmatch(word) else word for word in words]


def _is_odd(row: tuple[int, str, list[float]]) -> bool:
    return len(row[2]) > _BOX_NUMBERS and len(row[2]) % 2 == 1


def has_keypoints(rows: Iterable[Sequence[float]]) -> bool:
    """Whether all rows behind their class are a box and, for each keypoint, x, y and how visible it is: 0, 1 or 2."""
    lengths = set[int]()
    for row in rows:
        if len(row) > _BOX_NUMBERS:
            lengths.add(len(row))
            if len(lengths) > 1 or (len(row) - _BOX_NUMBERS) % 3 or not set(row[6::3]) <= {0, 1, 2}:
                return False
    return bool(lengths)


def numbers_of(text: str) -> list[list[float]]:
    """The numbers behind the class of each line; no lines where there is anything else."""
    try:
        return [[float(word) for word in line.split()[1:]] for line in text.splitlines()]
    except ValueError:
        return []


def task_of(settings: Any, folders: Iterable[str]) -> Task | None:
    """What labels are said to be, by the `task` or `kpt_shape` of data.yaml, else by names of folders; None by none."""
    told = settings.get("task") if isinstance(settings, dict) else None
    if told in ("detect", "segment", "obb", "pose"):
        return told
    if isinstance(settings, dict) and "kpt_shape" in settings:
        return "pose"
    names = list(folders)
    return next((task for task, pattern in _OF_FOLDERS if any(pattern.search(name) for name in names)), None)


def keypoint_numbers(settings: Any) -> int:
    """How many numbers the keypoints of an object have, by data.yaml; 0 where it tells none."""
    try:
        count, each = settings["kpt_shape"]
        return int(count) * int(each)
    except (KeyError, TypeError, ValueError):
        return 0


def settings_of(text: str) -> dict[str, Any]:
    """What a data.yaml holds; nothing where it is none."""
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and "names" in found else {}


def why_oriented(outlines: Iterable[tuple[Line, int, int]], task: Task | None) -> str:
    """Why the outlines of a whole set are oriented boxes, "" where they are masks.

    outlines: each with the height and width of its picture, asked for once, up to the first with another number of
    corners than four. Where nothing tells, a set of nothing but four corners is one of boxes if these are turned
    rectangles, or very many.
    """
    if task == "segment":
        return ""
    count = upright = rectangles = 0
    for line, height, width in outlines:
        if not line.has_four_corners:
            return ""
        corners = _corners(line, height, width)
        count, upright, rectangles = count + 1, upright + _is_upright(corners), rectangles + _is_rectangle(corners)
    if not count:
        return ""
    if task is not None:
        return f"it is a set for {task}"
    if upright < count and (count >= _MANY_OUTLINES or 2 * rectangles > count):
        return "every outline of the set has four corners"
    return ""


def _corners(line: Line, height: int, width: int) -> list[complex]:
    pairs = zip(line.shares[0::2], line.shares[1::2], strict=True)
    return [complex(x * width, y * height) for x, y in pairs]


def _is_upright(corners: list[complex]) -> bool:
    """Whether each side goes along an axis, to half a pixel."""
    sides = [after - before for before, after in zip(corners, corners[1:] + corners[:1], strict=True)]
    return all(min(abs(side.real), abs(side.imag)) <= 0.5 for side in sides)


def _is_rectangle(corners: list[complex]) -> bool:
    """Whether the diagonals have one middle and one length."""
    first, second = corners[2] - corners[0], corners[3] - corners[1]
    allowed = _SKEW * max(abs(first), abs(second))
    apart = abs((corners[0] + corners[2]) / 2 - (corners[1] + corners[3]) / 2)
    return apart <= allowed and abs(abs(first) - abs(second)) <= allowed


def _may_be_object(shares: list[float]) -> bool:
    enough = len(shares) == _BOX_NUMBERS or (len(shares) >= 2 * _FEWEST_CORNERS and len(shares) % 2 == 0)
    return enough and all(-0.5 <= share <= 1.5 for share in shares)


def _class_of(word: str) -> str | None:
    """The number of a class, whole also where it is written as 1.0, or its name; None where it is neither."""
    if not _is_number(word):
        return word
    value = float(word)
    return str(int(value)) if value >= 0 and value.is_integer() else None


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
