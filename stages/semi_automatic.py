"""Stage 2: confident masks are there when the annotator comes; people keep, mend or delete them and add the rest."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from engine.masks.generator import GeneratedMask, MaskGenerator
from schemas.config import Stage
from schemas.presets import GeneratorConfig
from stages.assisted_manual import AssistedManualWorker
from stages.records import ShardRows, Where, add_generation
from stages.workers import generate_named


class SemiAutomaticWorker(AssistedManualWorker):
    """Annotates shards as stage 1 does, after the generator has prefilled its most confident masks."""

    stage: Stage = "semi_automatic"

    @cached_property
    def generator_config(self) -> GeneratorConfig:
        return self.config.semi_automatic.generator_config()

    @cached_property
    def generator(self) -> MaskGenerator:
        return MaskGenerator(self.predictor, self.generator_config)

    @property
    def generator_config_hash(self) -> str:
        return self.generator_config.config_hash()

    def settings(self, shard: str) -> Sequence[object]:
        prefill = (self.generator_config_hash, self.config.semi_automatic.max_prefilled_masks)
        return (*super().settings(shard), *prefill)

    def prefilled(self, image: np.ndarray, where: Where, rows: ShardRows) -> Sequence[GeneratedMask]:
        result = generate_named(self.generator, image, where.image_id)
        add_generation(rows, result, where, generator_config=self.generator_config_hash)
        confident = sorted(result.masks, key=lambda mask: mask.predicted_iou, reverse=True)
        return confident[: self.config.semi_automatic.max_prefilled_masks]
