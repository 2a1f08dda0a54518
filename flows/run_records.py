"""Records of runs that are at work on a workspace: who they are, and how far.

A run holds a lock as long as its process lives, however that one ends, so that nobody takes a dead run for a live one:
`sam-engine status --watch` reads the records, and the janitor closes what Prefect still calls running by them. They
are of this machine: a workspace at a URL has them in the folder that stands for it here.
"""

import json
import math
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from uuid import uuid4

from engine.files import open_lock, take
from engine.places import LocalPlace, Place
from engine.workspace import Workspace
from stages.progress import Progress

_FOLDER = ".runs"
_KEPT_S = 86_400.0
_EVERY_S = 5.0


@dataclass(frozen=True)
class Advance:
    """How far a piece of work is, as `stages.progress.Progress` was told, and when (seconds since 1970)."""

    what: str
    done: int
    total: int
    note: str = ""
    at: float = field(default_factory=time.time)


@dataclass(frozen=True)
class RunRecord:
    """A run that began at `started` (seconds since 1970) in a process. flow_run: its id in Prefect, "" without. ended:
    when its work was done, although Prefect may not have heard of it yet; None before."""

    what: str
    flow_run: str
    pid: int
    host: str
    started: float
    advance: Advance | None = None
    ended: float | None = None

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, text: str) -> "RunRecord":
        """Raises ValueError or TypeError for what is none."""
        values = json.loads(text)
        advance = values.pop("advance")
        return cls(**values, advance=advance and Advance(**advance))


class LiveRecord:
    """The record of this process's run, which it brings up to date."""

    def __init__(self, place: Place, record: RunRecord) -> None:
        self._place, self.record = place, record

    def tell(self, what: str, done: int, total: int, note: str = "") -> None:
        self.record = replace(self.record, advance=Advance(what, done, total, note))
        self.write()

    def end(self) -> None:
        self.record = replace(self.record, ended=time.time())
        self.write()

    def write(self) -> None:
        self._place.write(self.record.to_json(), sync_folder=False)


def also_told(progress: Progress, record: LiveRecord) -> Progress:
    """Tells `progress` all, and a record when something begins, ends, and every few seconds in between."""
    last: dict[str, float] = {}

    def tell(what: str, done: int, total: int, note: str = "") -> None:
        progress(what, done, total, note)
        now = time.monotonic()
        if done >= total or now - last.get(what, -math.inf) >= _EVERY_S:
            last[what] = now
            record.tell(what, done, total, note)

    return tell


_live: list[LiveRecord] = []


def innermost_record() -> LiveRecord | None:
    """That of the run that this process is in; None where it is in none."""
    return _live[-1] if _live else None


@contextmanager
def run_record(workspace: Workspace, *, what: str, flow_run: str = "") -> Iterator[LiveRecord]:
    """Say that a run is at work, for as long as the block lasts. Raises InputError where nothing can be written."""
    name = flow_run or str(uuid4())
    place, lock_file = _folder(workspace) / f"{name}.json", _folder(workspace).path / f"{name}.lock"
    _forget_old(workspace)
    with open_lock(lock_file) as lock:
        take(lock)
        live = LiveRecord(place, RunRecord(what, flow_run, os.getpid(), socket.gethostname(), time.time()))
        live.write()
        _live.append(live)
        try:
            yield live
        finally:
            _live.remove(live)
            if flow_run:  # Prefect hears of its end later
                live.end()
            else:
                place.remove()
            LocalPlace(lock_file).remove()


def records(workspace: Workspace) -> list[tuple[RunRecord, bool]]:
    """The runs that left a record here, the oldest first, and whether each is at work in a process that lives."""
    found = [(record, record.ended is None and _is_held(lock)) for record, _, lock in _kept(workspace)]
    return sorted(found, key=lambda pair: pair[0].started)


def forget_dead(workspace: Workspace) -> int:
    """Remove the records of runs whose processes are gone. Returns how many there were."""
    gone = [(place, lock) for record, place, lock in _kept(workspace) if record.ended is None and not _is_held(lock)]
    for place, lock in gone:
        place.remove()
        LocalPlace(lock).remove()
    return len(gone)


def _forget_old(workspace: Workspace) -> None:
    """Those that ended so long ago that Prefect has heard of it."""
    for record, place, _ in _kept(workspace):
        if record.ended is not None and time.time() - record.ended > _KEPT_S:
            place.remove()


def _kept(workspace: Workspace) -> Iterator[tuple[RunRecord, Place, Path]]:
    """Each record with its file and its lock file."""
    for place in _folder(workspace).find("*.json"):
        try:
            record = RunRecord.from_json(place.text())
        except (FileNotFoundError, ValueError, TypeError):  # somebody has just removed it
            continue
        yield record, place, _folder(workspace).path / f"{place.name.removesuffix('.json')}.lock"


def _folder(workspace: Workspace) -> LocalPlace:
    return LocalPlace(workspace.root.on_disk() / _FOLDER)


def _is_held(lock_file: Path) -> bool:
    if not lock_file.exists():
        return False
    with open_lock(lock_file) as lock:
        return not take(lock)
