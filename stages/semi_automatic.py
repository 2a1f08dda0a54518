"""Stage 2: confident masks are there when the annotator comes; people keep, mend or delete them and add the rest."""

from collections.abc import Sequence
from functools import cached_property

from engine.masks.generator import GeneratedMask
from schemas.config import Stage
from schemas.presets import GeneratorConfig
from stages.assisted_manual import AssistedManualWorker
from stages.generation import StageGenerator
from stages.records import ShardRows, Where
from stages.workers import Picture


class SemiAutomaticWorker(AssistedManualWorker):
    """Annotates shards as stage 1 does, after the generator has prefilled its most confident masks."""

    stage: Stage = "semi_automatic"

    @cached_property
    def generator_config(self) -> GeneratorConfig:
        return self.config.semi_automatic.generator_config()

    @cached_property
    def generator(self) -> StageGenerator:
        return StageGenerator(self.sam, self.generator_config)

    @property
    def generator_config_hash(self) -> str:
        return self.generator_config.config_hash()

    def settings(self, shard: str) -> Sequence[object]:
        prefill = (self.generator_config_hash, self.config.semi_automatic.max_prefilled_masks)
        return (*super().settings(shard), *prefill)

    def prefilled(self, picture: Picture, where: Where, rows: ShardRows) -> Sequence[GeneratedMask]:
        result = self.generator.generate(picture, where, rows)
        confident = sorted(result.masks, key=lambda mask: mask.predicted_iou, reverse=True)
        return confident[: self.config.semi_automatic.max_prefilled_masks]
