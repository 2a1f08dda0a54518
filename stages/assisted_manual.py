"""Stage 1: annotators make masks with SAM under the cursor (SAM paper, section 4)."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from engine.keys import content_key
from model.predictor import Predictor
from schemas.config import Stage
from schemas.mask import Mask
from schemas.tables import GROUND_TRUTH
from stages.annotators import SimulatedAnnotator
from stages.clicks import PromptablePredictor
from stages.records import ShardRows, Where, add_annotations, masks_by_image
from stages.workers import Picture, ShardWorker


class AssistedManualWorker(ShardWorker):
    """Annotates shards; the simulated annotator's clock runs on from image to image of a shard."""

    stage: Stage = "assisted_manual"

    @cached_property
    def predictor(self) -> Predictor:
        return Predictor(self.sam)

    @cached_property
    def annotator(self) -> SimulatedAnnotator:
        return SimulatedAnnotator(self.config.annotator)

    def settings(self, shard: str) -> Sequence[object]:
        return (self.config.annotator.model_dump_json(), self.store.committed(GROUND_TRUTH, shard))

    def make_rows(self, shard: str, image_ids: Sequence[int]) -> ShardRows:
        rows, clock_s = ShardRows(), 0.0
        targets = masks_by_image(self.store.read_shard(GROUND_TRUTH, shard))
        for picture in self.pictures(image_ids):
            where = Where(picture.image_id, shard, self.stage, self.round, self.record.model_before)
            work = self.annotator.annotate(
                LazyImage(self.predictor, picture.pixels),
                targets.get(picture.image_id, []),
                rng=self._rng(picture.image_id),
                prefilled=self.prefilled(picture, where, rows),
                clock_s=clock_s,
                model_id=where.model_id,
            )
            clock_s = work.clock_s
            add_annotations(rows, work, where, annotator=self.annotator.name)
        return rows

    @property
    def generator_config_hash(self) -> str:
        """Of the settings that make prefilled masks; this stage has none."""
        return ""

    def prefilled(self, picture: Picture, where: Where, rows: ShardRows) -> Sequence[Mask]:
        """Masks that the annotator is shown ready-made; none in this stage."""
        return ()

    def _rng(self, image_id: int) -> np.random.Generator:
        """Each image has its own random numbers, so that clicks do not depend on what was done before."""
        return np.random.default_rng(int(content_key("clicks", self.config.seed, self.stage, self.round, image_id), 16))


class LazyImage:
    """An image that is encoded when it is first prompted (`stages.annotators.PromptableImage`)."""

    def __init__(self, predictor: Predictor, image: np.ndarray) -> None:
        self._predictor = predictor
        self._image: np.ndarray | None = image

    def predictor(self) -> PromptablePredictor:
        return self._encoded()

    @property
    def input_hw(self) -> tuple[int, int]:
        return self._encoded().input_hw

    @property
    def image_size(self) -> int:
        return self._predictor.sam.image_size

    def _encoded(self) -> Predictor:
        if self._image is not None:
            self._predictor.set_image(self._image)
            self._image = None
        return self._predictor
