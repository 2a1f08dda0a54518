"""Stage 2: confident masks are there when the annotator comes; people keep, mend or delete them and add the rest."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

from schemas.config import Stage
from schemas.mask import Mask
from schemas.presets import GeneratorConfig
from stages.assisted_manual import AssistedManualWorker
from stages.generation import StageGenerator
from stages.prefill_detector import PrefillDetector
from stages.records import ShardRows, Where
from stages.workers import Picture


class SemiAutomaticWorker(AssistedManualWorker):
    """Annotates shards as stage 1 does, after the most confident masks have been prefilled.

    They come from the boxes of an object detector that is trained on all masks so far (SAM paper, section 4), or from
    the mask generator: `semi_automatic.prefill`.
    """

    stage: Stage = "semi_automatic"

    @property
    def by_detector(self) -> bool:
        return self.config.semi_automatic.prefill == "detector"

    @cached_property
    def detector(self) -> PrefillDetector:
        return PrefillDetector(self.store, self.config, self.record, self.sam, self.progress)

    @cached_property
    def generator_config(self) -> GeneratorConfig:
        return self.config.semi_automatic.generator_config()

    @cached_property
    def generator(self) -> StageGenerator:
        return StageGenerator(self.sam, self.generator_config)

    @property
    def generator_config_hash(self) -> str:
        return self.detector.key if self.by_detector else self.generator_config.config_hash()

    def settings(self, shard: str) -> Sequence[object]:
        prefill = (self.generator_config_hash, self.config.semi_automatic.max_prefilled_masks)
        return (*super().settings(shard), *prefill)

    def metrics(self) -> dict[str, Any]:
        """prefill: how the detector's threshold was chosen (`prefill_threshold.PrefillThreshold`)."""
        return {"prefill": asdict(self.detector.trained.threshold)} if self.by_detector else {}

    def prefilled(self, picture: Picture, where: Where, rows: ShardRows) -> Sequence[Mask]:
        if self.by_detector:
            self.predictor.set_image(picture.pixels)
            return self.detector.prefill(self.predictor)
        result = self.generator.generate(picture, where, rows)
        confident = sorted(result.masks, key=lambda mask: mask.predicted_iou, reverse=True)
        return confident[: self.config.semi_automatic.max_prefilled_masks]
