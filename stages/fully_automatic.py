"""Stage 3: the generator makes the masks of all images (SAM paper, section 4 and appendix B)."""

from collections.abc import Sequence
from functools import cached_property

from engine.masks.generator import MaskGenerator
from schemas.config import Stage
from schemas.presets import GeneratorConfig
from stages.records import ShardRows, Where, add_generated_mask, add_generation
from stages.workers import ShardWorker, generate_named


class FullyAutomaticWorker(ShardWorker):
    """Generates the masks of shards."""

    stage: Stage = "fully_automatic"

    @cached_property
    def generator_config(self) -> GeneratorConfig:
        return self.config.fully_automatic.generator_config()

    @cached_property
    def generator(self) -> MaskGenerator:
        return MaskGenerator(self.predictor, self.generator_config)

    def settings(self, shard: str) -> Sequence[object]:
        return (self.generator_config.config_hash(),)

    def make_rows(self, shard: str, image_ids: Sequence[int]) -> ShardRows:
        rows = ShardRows()
        config_hash = self.generator_config.config_hash()
        for image_id, image in self.pictures(image_ids):
            where = Where(image_id, shard, self.stage, self.round, self.record.model_before)
            result = generate_named(self.generator, image, image_id)
            add_generation(rows, result, where, generator_config=config_hash)
            for mask in result.masks:
                add_generated_mask(rows, mask, where, generator_config=config_hash)
        return rows
