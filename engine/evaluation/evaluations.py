"""Evaluations by name: each measures a model on pictures with ground truth."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any, Protocol

from engine.progress import Progress
from schemas.errors import InputError
from schemas.plugins import Registry, settings_of

if TYPE_CHECKING:
    from model.predictor import Predictor
    from model.training.samples import Sample, SampleSource

_KINDS: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number"}  # of settings


class Samples:
    """The pictures of an evaluation, each with at least one mask; they may be gone through more than once."""

    def __init__(self, source: "SampleSource", progress: Progress | None = None, *, first: int | None = None) -> None:
        """progress is called with (what, done, total) pictures. first: so many pictures of the source, None for all."""
        self._source, self._progress = source, progress
        self._length = len(source) if first is None else min(first, len(source))

    def __len__(self) -> int:
        return self._length

    def first(self, count: int) -> "Samples":
        """The first `count` pictures alone."""
        return Samples(self._source, self._progress, first=count)

    def labels(self) -> set[str]:
        """Of all masks and crowds; "" where one has none."""
        known = getattr(self._source, "labels", None)
        if known is not None:
            return known()
        return {facts.label for index in range(len(self)) for facts in self._source[index].known_facts}

    def complete(self) -> "Samples":
        """With the pictures that have no mask too, where the source knows them; those have no masks here.

        Raises InputError where masks of a picture were left out.
        """
        complete = getattr(self._source, "complete", None)
        return Samples(complete(), self._progress) if complete else self

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
    notes: what people should know beside it, a line each.
    """

    masks: int
    values: Mapping[str, Any]
    what: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


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
        "edges": "engine.evaluation.edges:edges",
        "proposals": "engine.evaluation.proposals:proposals",
        "instances": "engine.evaluation.instances:instances",
        "text": "engine.evaluation.text:text",
    },
)


def find_evaluation(name: str, settings: Mapping[str, Any]) -> "Callable[[Predictor, Samples], Measured]":
    """The evaluation called `name` with these settings.

    Raises InputError for an unknown name, and for a setting that this evaluation does not have or that is of another
    kind than its default.
    """
    evaluation = EVALUATIONS[name]
    parameters = signature(evaluation).parameters
    accepted = {
        key: _of_kind(parameters[key].default, value, f"evaluation {name!r}: {key}")
        for key, value in settings_of(f"evaluation {name!r}", evaluation, settings).items()
    }
    return lambda predictor, samples: evaluation(predictor, samples, **accepted)


def _of_kind(default: Any, value: Any, what: str) -> Any:
    """The value, where it is of the kind of the default or can be taken for it."""
    kind = type(default)
    if kind is str:
        return "" if value is None else str(value)
    if kind is float and type(value) is int:
        return float(value)
    if kind in _KINDS and type(value) is not kind:
        raise InputError(f"{what} must be {_KINDS[kind]}, found {value!r}")
    return value
