"""Stage 3: the generator makes the masks of all images (SAM paper, section 4 and appendix B)."""

from collections.abc import Sequence
from functools import cached_property

from engine.store import Store
from model.registry import ModelInfo
from schemas.config import EngineConfig
from schemas.presets import GeneratorConfig
from schemas.round_metrics import RoundMetrics
from schemas.stages import Stage
from stages.generation import StageGenerator
from stages.generator_threshold import threshold_of_round
from stages.progress import Progress
from stages.records import ShardRows, Where
from stages.workers import Opening, ShardWorker


class FullyAutomaticWorker(ShardWorker):
    """Generates the masks of shards."""

    stage: Stage = "fully_automatic"

    @classmethod
    def opening(cls, store: Store, config: EngineConfig, model: ModelInfo, progress: Progress) -> Opening:
        chosen = threshold_of_round(store, config, model, progress)
        if chosen is None:
            return Opening(RoundMetrics(), "")
        message = chosen.summary("no mask passes; lower fully_automatic.precision")
        return Opening(RoundMetrics(generator_threshold=chosen), message)

    @cached_property
    def generator_config(self) -> GeneratorConfig:
        """With the threshold that was chosen when the round was opened, where one was."""
        config, chosen = self.config.fully_automatic.generator_config(), self.record.metrics.generator_threshold
        if chosen is None:
            return config
        return config.model_copy(update={"pred_iou_thresh": min(1.0, chosen.threshold)})

    @cached_property
    def generator(self) -> StageGenerator:
        return StageGenerator(self.sam, self.generator_config)

    def settings(self, shard: str) -> Sequence[object]:
        return (self.generator_config.config_hash(),)

    def make_rows(self, shard: str, image_ids: Sequence[int]) -> ShardRows:
        rows = ShardRows()
        for picture in self.pictures(image_ids):
            where = Where(picture.image_id, shard, self.stage, self.round, self.record.model_before)
            for mask in self.generator.generate(picture, where, rows).masks:
                rows.add_mask(mask, where)
        return rows
