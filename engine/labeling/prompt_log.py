"""The prompt log: a line of JSON for each time that an annotator's prompts were answered.

A mask carries its own times (`meta` of its region). The log also has prompts whose mask nobody accepted, and from it
the backend knows again, after a restart, when an object was first clicked. Every few seconds, and whenever a round is
looked at, `keep_prompts` copies what is new into the table `prompts`, each line once.
"""

import hashlib
import json
import logging
import math
import threading
from collections.abc import Container, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from cachetools import LRUCache

from engine.files import append_line, first_line, last_lines, lines_since, open_lock, take
from engine.labeling.contexts import Prompt
from engine.labeling.folder import LabelingFolder
from engine.labeling.object_in_hand import TaskPrompts
from engine.places import place
from engine.store import Store
from schemas.errors import InputError
from schemas.tables import table_of

_REMEMBERED_PROMPTS = 100_000
_REMEMBERED_TASKS = 10_000
_RECENT_BYTES = 4 * 2**20  # about ten thousand calls: an object that is being clicked began among them
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PromptCall:
    """One answer of the model backend to prompts on one object.

    at: Unix time at which the request came. image_id: as the task says it, "" where it does not. prompt_ids: of all
    prompts of the request. points: (x, y, label), label 1 on the object, 0 on the background; boxes: XYXY; both in
    percent of the picture. region_id: of the mask in the answer, "" and predicted_iou None where there was none.
    server_ms: milliseconds from the request to its mask.
    """

    at: float
    project: int
    task: int
    image_id: str
    prompt_ids: tuple[str, ...]
    points: tuple[tuple[float, float, int], ...]
    boxes: tuple[tuple[float, float, float, float], ...]
    region_id: str
    predicted_iou: float | None
    server_ms: float
    model_id: str


class Seen(NamedTuple):
    """first_at: Unix time of the first call with any of the prompts. calls: so far, this one too."""

    first_at: float
    calls: int


def log_file(workspace: Path, project: int) -> Path:
    """Where the calls of a project stand."""
    return LabelingFolder(workspace).root / "prompts" / f"{project}.jsonl"


def append(workspace: Path, call: PromptCall) -> None:
    """Write one line, whole; see `append_line`. Raises InputError if the disk is full or not writable."""
    append_line(log_file(workspace, call.project), json.dumps(asdict(call), allow_nan=False).encode())


def read(workspace: Path, project: int) -> list[PromptCall]:
    """All calls of a project in the order in which they were written; none where there is no log.

    A line that was cut off, because the process was killed or the disk was full, is skipped, and a warning says so.
    """
    try:
        content = place(log_file(workspace, project)).read()
    except FileNotFoundError:
        return []
    return _parse_lines(content.split(b"\n"), log_file(workspace, project))


def keep_prompts(store: Store) -> int:
    """Copy the lines of all logs that are not in the table `prompts` yet; gives back how many.

    A log is known by its first line, and the commit that adds its lines says how far it was read. Raises InputError if
    the disk is full.
    """
    kept = 0
    with open_lock(store.files.tables.on_disk() / ".prompts.lock") as lock:
        take(lock, wait=True)
        for log in place(store.files.labeling.on_disk() / "prompts").find("*.jsonl"):
            path = log.on_disk()
            source = f"prompts/{hashlib.sha256(log.name.encode() + first_line(path)).hexdigest()[:16]}"
            seen = store.read_until("prompts", source)
            if lines := lines_since(path, seen):
                calls, read = _parse_lines(lines, path), sum(len(line) + 1 for line in lines)
                store.append_rows("prompts", _rows(calls), source=source, until=seen + read)
                kept += len(calls)
    return kept


def _rows(calls: Sequence[PromptCall]) -> pa.Table:
    return table_of(
        "prompts",
        [
            {
                **vars(call),
                "image_id": _image_id(call.image_id),
                "region": call.region_id,
                "prompt_ids": [each.encode(errors="replace").decode() for each in call.prompt_ids],
                "points": [{"x": x, "y": y, "label": label} for x, y, label in call.points],
                "boxes": [side for box in call.boxes for side in box],
                "predicted_iou": math.nan if call.predicted_iou is None else call.predicted_iou,
            }
            for call in calls
        ],
    )


def _image_id(of_task: str) -> int:
    """A task may say anything; 0 for what is no id of an image."""
    return int(of_task) if of_task.isascii() and of_task.isdigit() and int(of_task) < 2**63 else 0


class PromptHistory:
    """When each prompt was first seen, how often its object was asked about, and which prompts are of the object in
    hand, also before a restart.

    Safe to use from several threads. Knows the last hundred thousand prompts.
    """

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._read: set[int] = set()
        self._seen: LRUCache[tuple[int | None, int | None, str], Seen] = LRUCache(_REMEMBERED_PROMPTS)
        self._tasks: LRUCache[tuple[int | None, int | None], TaskPrompts] = LRUCache(_REMEMBERED_TASKS)

    def own(
        self, prompt: Prompt, *, project: int | None, task: int | None, accepted: Container[str], at: float
    ) -> Prompt:
        """Of all prompts that were sent those of the object in hand; see `TaskPrompts.own`."""
        with self._lock:
            self._read_project(project)
            return self._task((project, task)).own(prompt, accepted=accepted, at=at)

    def note(self, *, project: int | None, task: int | None, prompt_ids: Sequence[str], at: float) -> Seen:
        """Count a call with these prompts, which are all of one object. at: Unix time."""
        with self._lock:
            self._read_project(project)
            return self._note((project, task), prompt_ids, at)

    def answered(self, own: Prompt, *, project: int | None, task: int | None, region_id: str, at: float) -> None:
        """Note the region that was answered to the prompts of one object; "" where there was none."""
        with self._lock:
            self._task((project, task)).put(own, region_id=region_id, at=at)

    def _read_project(self, project: int | None) -> None:
        if project is None or project in self._read:
            return
        self._read.add(project)
        for call in _read_recent(self._workspace, project):
            self._note((project, call.task), call.prompt_ids, call.at)
            points, boxes = call.prompt_ids[: len(call.points)], call.prompt_ids[len(call.points) :]
            self._task((project, call.task)).put_ids(points, boxes, call.region_id, call.at)

    def _task(self, where: tuple[int | None, int | None]) -> TaskPrompts:
        return self._tasks.setdefault(where, TaskPrompts())

    def _note(self, where: tuple[int | None, int | None], prompt_ids: Iterable[str], at: float) -> Seen:
        keys = [(*where, prompt_id) for prompt_id in prompt_ids]
        known = [self._seen[key] for key in keys if key in self._seen]
        seen = Seen(min([at, *(one.first_at for one in known)]), 1 + max([0, *(one.calls for one in known)]))
        for key in keys:
            self._seen[key] = seen
        return seen


def _read_recent(workspace: Path, project: int) -> list[PromptCall]:
    """The last calls of a project, as many as fit; from the table where there is no log.

    A log that cannot be read is told and counts as empty.
    """
    path = log_file(workspace, project)
    try:
        lines = last_lines(path, at_most_bytes=_RECENT_BYTES)
    except FileNotFoundError:
        return _read_kept(workspace, project)
    except OSError as error:
        _log.error("%s: cannot read the file: %s; objects clicked before count as new", path, error.strerror)
        return []
    return _parse_lines(lines, path)


def _read_kept(workspace: Path, project: int) -> list[PromptCall]:
    """The last calls of a project in the table `prompts`; none where the folder is no workspace."""
    try:
        rows = Store(workspace).read_rows("prompts", project=project).sort_by("at").to_pylist()
    except InputError:
        return []
    return [_from_row(row) for row in rows[-_REMEMBERED_PROMPTS:]]


def _from_row(row: dict[str, Any]) -> PromptCall:
    sides = [float(side) for side in row["boxes"]]
    boxes = tuple((sides[at], sides[at + 1], sides[at + 2], sides[at + 3]) for at in range(0, len(sides), 4))
    points = tuple((float(point["x"]), float(point["y"]), int(point["label"])) for point in row["points"])
    same = {name: row[name] for name in ("at", "project", "task", "server_ms", "model_id")}
    iou = None if math.isnan(row["predicted_iou"]) else float(row["predicted_iou"])
    return PromptCall(
        **same,
        image_id=str(row["image_id"] or ""),
        prompt_ids=tuple(row["prompt_ids"]),
        points=points,
        boxes=boxes,
        region_id=row["region"],
        predicted_iou=iou,
    )


def _parse_lines(lines: Sequence[bytes], path: Path) -> list[PromptCall]:
    calls, damaged = [], 0
    for line in filter(None, lines):
        try:
            calls.append(_from_json(json.loads(line)))
        except (ArithmeticError, KeyError, TypeError, ValueError):
            damaged += 1
    if damaged:
        _log.warning("%s: %d lines are cut off or damaged and were skipped", path, damaged)
    return calls


def _from_json(record: dict[str, Any]) -> PromptCall:
    iou = record["predicted_iou"]
    points = tuple((float(x), float(y), int(label)) for x, y, label in record["points"])
    boxes = tuple((float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in record["boxes"])
    return PromptCall(
        at=float(record["at"]),
        project=int(record["project"]),
        task=int(record["task"]),
        image_id=str(record["image_id"]),
        prompt_ids=tuple(str(prompt_id) for prompt_id in record["prompt_ids"]),
        points=points,
        boxes=boxes,
        region_id=str(record["region_id"]),
        predicted_iou=None if iou is None else float(iou),
        server_ms=float(record["server_ms"]),
        model_id=str(record["model_id"]),
    )
