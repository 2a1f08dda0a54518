"""Pictures whose files are not those that were ingested, each as its file was when that was found: until a file changes
again, nobody has to read it to know.

A cache that can be deleted at any moment. Only files on a disk of this machine are in it.
"""

import json
import time
from contextlib import suppress

from engine.images import read_bytes
from engine.places import LocalPlace, Place
from schemas.content_ids import content_id
from schemas.errors import InputError

_SETTLED_S = 2.0  # a file that was changed just now may change again without a difference in its times

_Stamp = list[int]


class ChangedPictures:
    """What was found so far, and what is found now; `write` keeps it."""

    def __init__(self, file: Place) -> None:
        self._file = file
        self._known = _read(file)
        self._before = dict(self._known)

    def is_intact(self, image_id: int, picture: Place) -> bool:
        """Whether the file of a picture is there as it was ingested."""
        stamp = _stamp(picture)
        if stamp is not None and self._known.get(str(image_id)) == stamp:
            return False
        self._known.pop(str(image_id), None)
        try:
            data = read_bytes(picture)
        except InputError:  # it may be there again without any change to it
            return False
        intact = content_id(data) == image_id
        if not intact and stamp is not None and time.time_ns() - max(stamp[1:3]) > _SETTLED_S * 1e9:
            self._known[str(image_id)] = stamp
        return intact

    def write(self) -> None:
        """Keep it where it has changed, and where that can be."""
        if self._known != self._before:
            with suppress(InputError, OSError):
                self._file.write(json.dumps(self._known).encode())


def _stamp(picture: Place) -> _Stamp | None:
    """Size, times of the last change (ns) and inode; None where there is no such file on this disk."""
    if not isinstance(picture, LocalPlace):
        return None
    try:
        found = picture.on_disk().stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _read(file: Place) -> dict[str, _Stamp]:
    try:
        found = json.loads(file.text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
