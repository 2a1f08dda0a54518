"""Samples that training cannot use: they are skipped, counted and listed, and ever so many end the training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from schemas.errors import InputError

# Of SA-1B as people downloaded it, 5 % of the pictures never arrived whole; a wrong folder or half a copy lacks more.
MAX_BAD_FRAC = 0.1
_LISTED = 20  # by name, in a card

BadKind = Literal["unreadable", "without_masks"]


class BadSample(NamedTuple):
    """A sample that was skipped, by its index in the source.

    unreadable: its picture or its masks cannot be read. without_masks: none of its masks has a size that is learned
    from, wherever a step looks.
    """

    sample: int
    kind: BadKind
    reason: str


@dataclass(frozen=True)
class BadLimit:
    """How many samples may be unreadable.

    of: how many there are. before: reasons of those that were unreadable at once, which `of` counts too. way_out: how
    to raise the limit.
    """

    of: int
    max_frac: float = MAX_BAD_FRAC
    before: tuple[str, ...] = ()
    way_out: str = "raise --max-bad-frac"

    def check(self, reasons: Sequence[str] = ()) -> None:
        """Raises InputError where so many more are too many."""
        bad = [*self.before, *reasons]
        if len(bad) > self.max_frac * self.of:
            raise InputError(
                f"{len(bad)} of {self.of} pictures cannot be trained on, more than {self.max_frac:.4g} of them; "
                f"the first: {bad[0]}; mend them, or {self.way_out}"
            )


class BadSamples:
    """What a training has skipped so far; a part of its checkpoints, so that a resumed one counts on."""

    def __init__(self, limit: BadLimit, *, tell: Callable[[str], None] | None = None) -> None:
        """tell: called with a line on each that is found. Raises InputError where there are too many already."""
        limit.check()
        self.limit = limit
        self._tell = tell
        self._found: dict[int, BadSample] = {}

    def __bool__(self) -> bool:
        """Whether any was found since the training began."""
        return bool(self._found)

    def add(self, found: Sequence[BadSample]) -> None:
        """Take in what a step skipped. Raises InputError where more are unreadable than may be."""
        for bad in found:
            if bad.sample not in self._found:
                self._found[bad.sample] = bad
                if self._tell:
                    self._tell(f"skipped: {bad.reason}")
        self.limit.check(self._reasons("unreadable"))

    def found(self) -> list[BadSample]:
        """In the order of the source."""
        return [self._found[sample] for sample in sorted(self._found)]

    def to_dict(self) -> dict[str, Any]:
        """For a card: how many of how many, and the first by name; {} where nothing was skipped."""
        unreadable, without_masks = [*self.limit.before, *self._reasons("unreadable")], self._reasons("without_masks")
        if not unreadable and not without_masks:
            return {}
        counts = {"unreadable": len(unreadable), "without_masks": len(without_masks), "of": self.limit.of}
        return {**counts, "listed": [*unreadable, *without_masks][:_LISTED]}

    def state_dict(self) -> dict[str, Any]:
        return {"found": [list(bad) for bad in self.found()]}

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        self._found = {sample: BadSample(sample, kind, reason) for sample, kind, reason in values["found"]}

    def _reasons(self, kind: BadKind) -> list[str]:
        return [bad.reason for bad in self.found() if bad.kind == kind]
