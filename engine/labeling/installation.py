"""Label Studio in an environment of its own, installed on first use."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from engine.files import TEMP_SUFFIX, open_lock, publish, storage_errors, take
from schemas.errors import InputError, WaitError

LABEL_STUDIO_VERSION = "1.23.2"
HOME_VARIABLE = "SAM_ENGINE_LABEL_STUDIO_HOME"

Note = Callable[[str], None]  # told in one line what takes long

_ERROR_LINE = re.compile(r"^(?:[\w.]+(?:Error|Exception|Denied|DoesNotExist)\b.*|ERROR: .*|Error: .*)$", re.MULTILINE)


def label_studio_home() -> Path:
    """The folder of Label Studio's own environment: $SAM_ENGINE_LABEL_STUDIO_HOME, or one in the user's cache."""
    if named := os.environ.get(HOME_VARIABLE):
        return Path(named).expanduser().absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "sam-data-engine" / f"label-studio-{LABEL_STUDIO_VERSION}"


def install_label_studio(*, note: Note | None = None) -> Path:
    """Label Studio's environment, built first where there is none: 2 minutes, 1 GB, from the package index.

    It is built under another name and renamed when it is whole; of several processes one builds, the others wait.
    Raises InputError if the folder holds something else, WaitError if the installation fails.
    """
    home = label_studio_home()
    if not is_filled(home):
        with storage_errors(home), open_lock(home.with_name(f".{home.name}.lock")) as lock:
            if not take(lock):
                tell(note, "another process installs Label Studio; waiting for it")
                take(lock, wait=True)
            if not is_filled(home):
                _build(home, lock, note)
    if not any(home.glob(f"lib/python*/site-packages/label_studio-{LABEL_STUDIO_VERSION}.dist-info")):
        raise InputError(
            f"{home}: holds no Label Studio {LABEL_STUDIO_VERSION}; name another folder in {HOME_VARIABLE}"
        )
    if not (home / "bin" / "python").exists():
        raise InputError(f"{home}: the Python that it was made with is gone; delete the folder, it is built anew")
    return home


def is_filled(folder: Path) -> bool:
    """Whether a folder is there and holds anything."""
    return folder.is_dir() and any(folder.iterdir())


def _build(home: Path, lock: IO[str], note: Note | None) -> None:
    tell(note, f"installing Label Studio {LABEL_STUDIO_VERSION} in {home}, once: about 2 minutes, 1 GB")
    temp = home.with_name(f".{home.name}{TEMP_SUFFIX}")
    shutil.rmtree(temp, ignore_errors=True)  # of an installation that was killed
    log = home.with_name(f"{home.name}.install.log")
    log.unlink(missing_ok=True)
    pip: list[str | Path] = [
        temp / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--no-input",
        "--disable-pip-version-check",
    ]
    try:
        _run([sys.executable, "-m", "venv", temp], log, lock)
        _run([*pip, f"label-studio=={LABEL_STUDIO_VERSION}"], log, lock)
        publish(temp, home, is_synced=True)  # forty thousand files are not worth a sync: pip makes them again
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    log.unlink()


def _run(command: Sequence[str | Path], log: Path, lock: IO[str]) -> None:
    """lock: held by the command too, so that nobody builds beside one that outlives us."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    with log.open("ab") as output:
        done = subprocess.run(
            command,
            env=kept,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(lock.fileno(),),
            check=False,
        )
    if done.returncode != 0:
        raise WaitError(
            f"cannot install Label Studio {LABEL_STUDIO_VERSION}: {last_error(log)}; see {log}, then run the same "
            "command again"
        )


def last_error(log: Path) -> str:
    """The last line of a log that reports an error, else its last line."""
    text = log.read_text(encoding="utf-8", errors="replace").strip()
    found = _ERROR_LINE.findall(text)
    return str(found[-1] if found else text.rpartition("\n")[2] or "it said nothing").strip()


def tell(note: Note | None, text: str) -> None:
    """Say it where somebody listens."""
    if note is not None:
        note(text)
