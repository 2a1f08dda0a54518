"""Checkpoints of a retraining in a workspace at a URL: written on this machine's disk, then copied, and back again."""

from pathlib import Path

from engine.places import LocalPlace, Place, copy, place

_FILES = "step-*.pt"


class CheckpointsAt:
    """The checkpoints in a folder that may be at a URL, and their copies in `folder`, where the trainer works.

    On this machine's disk both are the same. A file's name says what it holds, so that names alone are compared.
    """

    def __init__(self, there: Place) -> None:
        self._there = there
        self.folder: Path = there.on_disk()

    def fetch(self) -> None:
        """Make the copies what is there, which another machine may have written."""
        self._make_equal(self._there, place(self.folder))

    def put(self) -> None:
        """Bring what the trainer wrote; only then the oldest goes."""
        self._make_equal(place(self.folder), self._there)

    def remove(self) -> None:
        """Both, when the training is done."""
        for each in (self._there, place(self.folder)):
            each.remove()

    def _make_equal(self, source: Place, target: Place) -> None:
        if isinstance(self._there, LocalPlace):
            return
        wanted, there = ({found.name for found in each.find(_FILES)} for each in (source, target))
        for name in sorted(wanted - there):
            copy(source / name, target / name)
        for name in there - wanted:
            (target / name).remove()
