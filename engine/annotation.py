"""What annotators do, and what a tool is that they do it in: Label Studio, the simulated annotator, somebody else's.

A tool is handed one open round at a time. It shows annotators what is missing of it, reads what they have done, and
gives their work back in the form in which any annotator's work is stored.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from engine.store import Store
from schemas.config import EngineConfig
from schemas.mask import Mask
from schemas.stages import Stage
from schemas.tables import Round

if TYPE_CHECKING:
    from model.predictor import Predictor  # it brings torch along, which a tool's set-up and doctor do without

# look: time on an image that belongs to none of its masks
EventKind = Literal["prompt", "accept", "draw", "edit", "delete", "skip", "look"]


@dataclass(frozen=True)
class Event:
    """Something an annotator did. at_s: when it ended, on the annotator's clock. mask: index in `ImageWork.masks`."""

    kind: EventKind
    at_s: float
    seconds: float
    mask: int | None = None
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass
class ImageWork:
    """What an annotator did on one image."""

    masks: list[Mask] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    clock_s: float = 0.0


@dataclass(frozen=True)
class ShownImage:
    """An image as annotators are to see it. pixels: (H, W, 3) uint8 RGB.

    masks: shown ready-made; those that nobody touches stay what they are. mask_ids: of these, where they come from a
    table because a gate sent the image back; else empty. model_id: that the round works with. generator_config: hash of
    the settings that made fresh masks, "" where there are none. generation: rows of the table of that name.
    """

    image_id: int
    pixels: npt.NDArray[np.uint8]
    masks: tuple[Mask, ...]
    mask_ids: tuple[int, ...]
    model_id: str
    generator_config: str
    generation: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class GivenAnnotation:
    """What one person gave for an image, once. number: of the annotation in the tool. annotator: a pseudonym.

    valid: what the image's work is made of; of an annotation that is not, `masks` are kept here. people: how many were
    to annotate the image. unaccepted_prompts: whose mask nobody took. seconds: that it was open. submitted_s: Unix
    time.
    """

    number: int
    annotator: str
    valid: bool
    skipped: bool
    people: int
    unaccepted_prompts: int
    seconds: float
    submitted_s: float
    mask_count: int
    masks: Sequence[Mask] = ()


@dataclass(frozen=True)
class AnnotatedImage:
    """What came of an image that was shown. annotator: a pseudonym. work: None where nobody finished it.

    model_id, generation: of the image as it was shown. annotations: all that people gave for it, also where one of
    several counts; a tool whose annotators cannot get into each other's way need not tell them.
    """

    image_id: int
    annotator: str
    model_id: str
    work: ImageWork | None
    generation: Sequence[dict[str, Any]] = ()
    annotations: Sequence[GivenAnnotation] = ()


@dataclass(frozen=True)
class AnnotationProgress:
    """How far annotators are with a round. finished: so far that it is closed. message: for operators."""

    finished: bool
    message: str = ""


@dataclass(frozen=True)
class Link:
    """Where annotators work. changed: what setting it up made or put right, a few words each.

    project: its number in the tool, 0 where that has none.
    """

    purpose: str
    url: str
    changed: tuple[str, ...] = ()
    project: int = 0


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. remedy: what is wrong and the way out, "" where it is right."""

    name: str
    remedy: str = ""

    @property
    def right(self) -> bool:
        return not self.remedy


class OpenRound(Protocol):
    """A round that annotators work on, as a tool sees it."""

    @property
    def store(self) -> Store: ...

    @property
    def record(self) -> Round:
        """Its stage, number and images."""
        ...

    @property
    def predictor(self) -> "Predictor":
        """Of the model that the round works with."""
        ...

    @property
    def prefill_settings(self) -> Sequence[object]:
        """What masks that are shown ready-made follow from."""
        ...

    @property
    def unreadable(self) -> Mapping[int, str]:
        """Images that were to be shown and cannot be read, with the reason; nobody is waited for at these."""
        ...

    def most_useful_first(self, image_ids: Sequence[int]) -> list[int]:
        """The images that the model is least sure of first: they teach it most. Encodes each that can be read."""
        ...

    def shown(self, image_ids: Sequence[int]) -> Iterator[ShownImage]:
        """Images with what is to be shown on them, one by one, without unreadable ones."""
        ...

    def tell(self, what: str, done: int, total: int) -> None:
        """Show how far a part of the work is."""
        ...


class AnnotationTool(Protocol):
    """Where annotators work. Made of a workspace's store and settings, in each process that works on a round.

    All that a tool keeps of people's work is in the store, by `engine.labeling.records.RoundRecords`: what was
    published and what was collected, one row an image.
    """

    def setup(self, stage: Stage) -> Link:
        """Make, or put right, what annotators of a stage need. Doing it twice changes nothing.

        Raises InputError for what the user has to mend, WaitError where the tool does not answer.
        """
        ...

    def doctor(self, stage: Stage) -> Iterator[Check]:
        """Look at what annotators of a stage need, one thing after the other, up to the first that is wrong."""
        ...

    def publish(self, work: OpenRound) -> None:
        """Show annotators those images of the round that they do not see yet. Raises as `setup`."""
        ...

    def collect(self, work: OpenRound) -> AnnotationProgress:
        """Read and keep what annotators have done since. Raises as `setup`."""
        ...

    def annotated(self, work: OpenRound, shard: str, image_ids: Sequence[int]) -> Iterator[AnnotatedImage]:
        """What came of images of one shard, once the round is finished, in the order of their ids."""
        ...

    def settings(self, work: OpenRound, shard: str, image_ids: Sequence[int]) -> Sequence[object]:
        """All that `annotated` follows from besides round, images and model: equal settings, equal work."""
        ...


class AnnotationToolMaker(Protocol):
    """Usually the class itself."""

    def __call__(self, store: Store, config: EngineConfig, /) -> AnnotationTool: ...
