"""Stage 2: confident masks are there when the annotator comes; people keep, mend or delete them and add the rest."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from schemas.mask import Mask
from schemas.stages import Stage
from stages.annotation import AnnotationWorker
from stages.prefilling import PREFILL_DETECTORS, PrefillDetector, RoundWork
from stages.records import ShardRows, Where
from stages.workers import Picture


class SemiAutomaticWorker(AnnotationWorker):
    """Annotates shards as stage 1 does, after the most confident masks have been prefilled.

    They come from the boxes of an object detector that is trained on all masks so far (SAM paper, section 4), from the
    mask generator, or from whatever else `semi_automatic.prefill` names (`stages.prefilling`).
    """

    stage: Stage = "semi_automatic"

    @cached_property
    def detector(self) -> PrefillDetector:
        """Raises InputError for a name that no detector has."""
        work = RoundWork(self.store, self.config, self.record, self.sam, self.progress)
        return PREFILL_DETECTORS[self.config.semi_automatic.prefill](work)

    @property
    def generator_config_hash(self) -> str:
        return self.detector.key

    @property
    def prefill_settings(self) -> Sequence[object]:
        return (self.generator_config_hash, self.config.semi_automatic.max_prefilled_masks)

    def metrics(self) -> dict[str, Any]:
        return self.detector.metrics()

    def prefilled(self, picture: Picture, where: Where, rows: ShardRows) -> Sequence[Mask]:
        return self.detector.masks(picture, where, rows)
