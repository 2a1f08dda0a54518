"""Commands on a disk that fails, in one process after the other. Run as a program, with LIBRARY preloaded (LD_PRELOAD):

    FOLDER LIBRARY SEED FAULTS

Runs COMMANDS once undisturbed. Then, for each of FAULTS calls (writes, syncs, renames and links below the workspace; 0
for all of them), the command it is of with that call failing, and the command again. Prints a line of JSON a fault.
"""

import ctypes
import errno
import json
import os
import random
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

COMMANDS = (
    ("init", "WORK"),
    ("ingest", "WORK", "PICTURES"),
    ("run", "assisted_manual", "WORK"),  # opens a round
    ("run", "assisted_manual", "WORK"),  # annotates it
    ("run", "assisted_manual", "WORK"),  # retrains
    ("release", "build", "WORK", "--stage", "assisted_manual", "--name", "one", "--no-blur", "--processes", "1"),
)
_SETTINGS_AFTER = 0  # the command behind which the tests' settings and model are put in
_PRINTED = "printed.txt"


class FailingDisk:
    """The preloaded library."""

    def __init__(self, library: str) -> None:
        self._library = ctypes.CDLL(library)
        self._library.disk_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int]
        self._library.disk_calls.restype = ctypes.c_long
        self._library.disk_failed_call.restype = self._library.disk_failed_path.restype = ctypes.c_char_p

    def arm(self, folder: Path, *, at: int, error: int, stays: bool) -> None:
        """Let call number `at` below a folder fail from now on; 0 for none."""
        self._library.disk_arm(str(folder).encode(), at, error, stays)

    def disarm(self) -> dict[str, Any]:
        """Stop; how many calls there were, and which failed."""
        found = {
            "calls": self._library.disk_calls(),
            "call": self._library.disk_failed_call().decode(),
            "path": self._library.disk_failed_path().decode(),
        }
        self._library.disk_arm(b"", 0, 0, 0)
        return found


def in_child(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` gives, done in a copy of this process; where it raises, that under "raised"."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            found = work()
        except BaseException:
            found = {"raised": traceback.format_exc()}
        os.close(reading)
        with os.fdopen(writing, "w") as answer:
            json.dump(found, answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    answered: dict[str, Any] = json.loads(text or '{"raised": "the process died"}')
    return answered


class Runs:
    """Runs of COMMANDS in a folder, each from the state that the commands before it left."""

    def __init__(self, folder: Path, disk: FailingDisk, prepare: Callable[[Path], None]) -> None:
        """prepare: puts settings and a model into a workspace that was just made."""
        self.folder, self.disk, self.prepare = folder, disk, prepare
        self.work = folder / "now" / "w"

    def undisturbed(self) -> list[dict[str, Any]]:
        """Run all; the state before and behind each is kept. Returns what each left, and how many calls it made."""
        found = []
        self._keep(0)
        for number in range(len(COMMANDS)):
            done = in_child(lambda number=number: self._run(number, at=0, error=0, stays=False))
            assert done["status"] == 0, done["said"]
            if number == _SETTINGS_AFTER:
                self.prepare(self.work)
            found.append(done | {"left": in_child(self._contents)})
            self._keep(number + 1)
        return found

    def failing(self, number: int, *, at: int, error: int, stays: bool) -> dict[str, Any]:
        """A command with one call failing, and once more with none."""
        shutil.rmtree(self.folder / "now", ignore_errors=True)
        shutil.copytree(self.folder / str(number), self.folder / "now")
        done = in_child(lambda: self._run(number, at=at, error=error, stays=stays))
        unfinished = [str(path) for path in self.work.rglob(".*.tmp")]
        again = in_child(lambda: self._run(number, at=0, error=0, stays=False))
        if number == _SETTINGS_AFTER:
            self.prepare(self.work)
        left = in_child(self._contents)
        return {"command": number, "at": at, "error": errno.errorcode[error], "stays": stays, **done} | {
            "unfinished": unfinished,
            "again": again,
            "left": left,
        }

    def _keep(self, number: int) -> None:
        (self.folder / "now").mkdir(exist_ok=True)
        shutil.copytree(self.folder / "now", self.folder / str(number))

    def _run(self, number: int, *, at: int, error: int, stays: bool) -> dict[str, Any]:
        from flows.cli import main

        known = {"WORK": str(self.work), "PICTURES": str(self.folder / "pictures" / "masks.json")}
        sys.argv = ["sam-engine", *(known.get(part, part) for part in COMMANDS[number])]
        printed = os.open(self.folder / _PRINTED, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        status: object = 0
        self.disk.arm(self.work, at=at, error=error, stays=stays)
        try:
            main()
        except SystemExit as end:
            status = end.code or 0
        except BaseException as found:
            status = repr(found)
        failed = self.disk.disarm()
        sys.stdout.flush()
        return {"status": status, "said": (self.folder / _PRINTED).read_text(), **failed}

    def _contents(self) -> dict[str, Any]:
        from engine.files import file_sha256
        from engine.store import Store
        from tests.e2e.test_killed_flow import contents

        store = Store(self.work)
        released = [path for path in (self.work / "releases").rglob("*") if path.is_file()]
        return contents(store) | {
            "pictures": sorted(path.name for path in (self.work / "images").rglob("*.*")),
            "releases": {str(path.relative_to(self.work)): file_sha256(path) for path in sorted(released)},
        }


def drawn(calls: list[int], *, seed: int, faults: int) -> list[tuple[int, int]]:
    """(command, call) of so many faults, spread over all calls; of all of them for 0."""
    every = [(number, at) for number, count in enumerate(calls) for at in range(1, count + 1)]
    draw = random.Random(seed)
    if not faults or faults >= len(every):
        return every
    return [every[int((part + draw.random()) * len(every) / faults)] for part in range(faults)]


def main() -> None:
    folder, library, seed, faults = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    import torch
    import yaml

    # All that the commands import, so that a child begins to work at once.
    import stages.assisted_manual
    import stages.steps  # noqa: F401
    from schemas.config import CONFIG_FILE
    from tests.stages.workspaces import SETTINGS, ModelCard, save_model, tiny_sam, write_pictures

    torch.set_num_threads(1)
    write_pictures(folder / "pictures", images=3)
    sam = tiny_sam()

    def prepare(work: Path) -> None:
        settings = SETTINGS | {"assisted_manual": {"rounds": 1}}
        (work / CONFIG_FILE).write_text(yaml.safe_dump(settings), encoding="utf-8")
        save_model(sam, work / "models", ModelCard(name="tiny"))

    runs = Runs(folder, FailingDisk(library), prepare)
    whole = runs.undisturbed()
    print(json.dumps({"calls": [each["calls"] for each in whole]}), flush=True)
    for turn, (number, at) in enumerate(drawn([each["calls"] for each in whole], seed=seed, faults=faults)):
        error, stays = ((errno.ENOSPC, True), (errno.EIO, False), (errno.ENOSPC, False), (errno.EIO, True))[turn % 4]
        found = runs.failing(number, at=at, error=error, stays=stays)
        left = found["left"]
        found["left"] = "equal" if left == whole[number]["left"] else left.get("raised", "other tables")
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
