"""What finds the masks that annotators of the semi-automatic stage start from, by name: `semi_automatic.prefill`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from engine.store import Store
from model.sam import Sam
from schemas.config import PREFILL_DETECTORS_GROUP, EngineConfig
from schemas.mask import Mask
from schemas.plugins import Registry
from schemas.tables import Round
from stages.progress import Progress, silent
from stages.records import ShardRows, Where
from stages.workers import Picture


@dataclass(frozen=True)
class RoundWork:
    """The round that is prefilled. sam: the model that it works with (`record.model_before`)."""

    store: Store
    config: EngineConfig
    record: Round
    sam: Sam
    progress: Progress = silent


class PrefillDetector(Protocol):
    """Finds masks of one round's pictures; made of a `RoundWork` in each process that works on it.

    `stages.prefill.masks_of_boxes` makes masks of the boxes of an object detector.
    """

    @property
    def key(self) -> str:
        """16 hex digits that name it and its settings in every mask it makes: equal keys, equal masks.

        Raises WaitError where something must happen first.
        """
        ...

    def masks(self, picture: Picture, where: Where, rows: ShardRows) -> Sequence[Mask]:
        """Confident, distinct masks of a picture, best first, each with its prompt, `where.model_id` and `key`.

        rows: takes rows of `generation`, where there is something to tell.
        """
        ...

    def metrics(self) -> dict[str, Any]:
        """To keep in the metrics of the round: keys of `schemas.round_metrics.RoundMetrics`, or others."""
        ...


class PrefillDetectorMaker(Protocol):
    """Usually the class itself."""

    def __call__(self, work: RoundWork, /) -> PrefillDetector: ...


PREFILL_DETECTORS: Registry[PrefillDetectorMaker] = Registry(
    "prefill detector",
    group=PREFILL_DETECTORS_GROUP,
    needs=("__call__",),
    builtin={
        "detector": "stages.prefill_detector:LearnedDetector",
        "generator": "stages.generation:GeneratorMasks",
        "grounding_dino": "stages.phrase_boxes:PhraseBoxes",
    },
)
