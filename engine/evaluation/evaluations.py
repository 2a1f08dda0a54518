"""Evaluations by name: each measures a model on pictures with ground truth."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from schemas.plugins import Registry, settings_of

if TYPE_CHECKING:
    from model.predictor import Predictor
    from model.training.samples import Sample, SampleSource

Progress = Callable[[str, int, int], None]


class Samples:
    """The pictures of an evaluation, each with at least one mask; they may be gone through more than once."""

    def __init__(self, source: "SampleSource", progress: Progress | None = None) -> None:
        """progress is called with (what, done, total) pictures."""
        self._source, self._progress = source, progress

    def __len__(self) -> int:
        return len(self._source)

    def __iter__(self) -> "Iterator[Sample]":
        return self.told("evaluating")

    def told(self, what: str) -> "Iterator[Sample]":
        """The same with progress under another name."""
        for index in range(len(self)):
            self._tell(what, index)
            yield self._source[index]
        self._tell(what, len(self))

    def _tell(self, what: str, done: int) -> None:
        if self._progress is not None:
            self._progress(what, done, len(self))


@dataclass(frozen=True)
class Measured:
    """What an evaluation found on `masks` masks.

    values: for JSON. what, columns, rows: for a table that people read; `what` goes into its title.
    """

    masks: int
    values: Mapping[str, Any]
    what: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Evaluation(Protocol):
    """A function with two arguments by position; those by keyword are its settings, each with a default."""

    def __call__(self, predictor: "Predictor", samples: Samples, /) -> Measured:
        """Raises InputError for a setting that is out of range."""
        ...


EVALUATIONS: Registry[Evaluation] = Registry(
    "evaluation",
    group="sam_data_engine.evaluations",
    needs=("__call__",),
    builtin={
        "points": "engine.evaluation.prompted:points",
        "boxes": "engine.evaluation.prompted:boxes",
        "masks": "engine.evaluation.prompted:masks",
        "shapes": "engine.evaluation.shapes:shapes",
    },
)


def find_evaluation(name: str, settings: Mapping[str, Any]) -> "Callable[[Predictor, Samples], Measured]":
    """The evaluation called `name` with these settings.

    Raises InputError for an unknown name, or for a setting that this evaluation does not have.
    """
    evaluation = EVALUATIONS[name]
    accepted = settings_of(f"evaluation {name!r}", evaluation, settings)
    return lambda predictor, samples: evaluation(predictor, samples, **accepted)
