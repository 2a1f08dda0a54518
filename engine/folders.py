"""What lies in a folder that a user names: its files, and what of it cannot be looked at."""

import os
from pathlib import Path

from schemas.config import CONFIG_FILE


def files_below(folder: Path) -> tuple[list[Path], list[tuple[Path, str]]]:
    """All files in a folder and below, sorted, hidden ones left out; and what is left out beside these, with reasons.

    Left out are folders that cannot be listed, links to folders, links to nothing, workspaces, and pipes and devices.
    """
    files: list[Path] = []
    left_out: list[tuple[Path, str]] = []

    def cannot_list(error: OSError) -> None:
        left_out.append((Path(error.filename or folder), f"cannot list the folder: {error.strerror or error}"))

    for parent, below, names in os.walk(folder, onerror=cannot_list):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in below:
            if (Path(parent) / name).is_symlink():
                left_out.append((Path(parent) / name, "a link to a folder is not followed; name the folder itself"))
        for name in [name for name in below if (Path(parent) / name / CONFIG_FILE).is_file()]:
            below.remove(name)
            left_out.append((Path(parent) / name, "a workspace of sam-engine, whose pictures are in an engine already"))
        for path in (Path(parent) / name for name in names if not name.startswith(".")):
            if is_file(path):
                files.append(path)
            else:
                what = "a link to nothing" if path.is_symlink() else "a pipe or device, which is not read"
                left_out.append((path, what))
    return sorted(files), sorted(left_out)


def is_file(path: Path) -> bool:
    """Whether it is a file or a link to one; False also where the system does not take such a name."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
