"""How long work tells how far it is."""

from typing import Protocol


class Progress(Protocol):
    """Told about long work: `what` names it, `done` of `total` units are finished, `note` says something about now."""

    def __call__(self, what: str, done: int, total: int, note: str = "") -> None: ...


def silent(what: str, done: int, total: int, note: str = "") -> None:
    """A Progress that nobody watches."""
