"""The simulated annotator as an annotation tool: it works on an image when its shard is done, from ground truth."""

from collections.abc import Iterator, Sequence

import numpy as np

from engine.annotation import AnnotatedImage, AnnotationProgress, Check, Link, OpenRound
from engine.keys import content_key
from engine.store import Store
from model.predictor import Predictor
from schemas.config import EngineConfig
from schemas.stages import Stage
from schemas.tables import GROUND_TRUTH
from stages.annotators import SimulatedAnnotator
from stages.clicks import PromptablePredictor
from stages.records import masks_by_image


class SimulatedTool:
    """Nobody has to be shown anything; see `engine.annotation.AnnotationTool`."""

    def __init__(self, store: Store, config: EngineConfig) -> None:
        self.store, self.config = store, config

    def setup(self, stage: Stage) -> Link:
        return Link(stage, "", ())

    def doctor(self, stage: Stage) -> Iterator[Check]:
        some = self.store.image_index().has_ground_truth.any()
        remedy = "" if some else "no image has ground truth to click from; ingest a COCO json with masks"
        yield Check("ground truth", remedy)

    def publish(self, work: OpenRound) -> None:
        pass

    def collect(self, work: OpenRound) -> AnnotationProgress:
        return AnnotationProgress(finished=True)

    def annotated(self, work: OpenRound, shard: str, image_ids: Sequence[int]) -> Iterator[AnnotatedImage]:
        """The clock runs on from image to image of a shard."""
        annotator, clock_s = SimulatedAnnotator(self.config.annotator), 0.0
        targets = masks_by_image(self.store.read_shard(GROUND_TRUTH, shard))
        for image in work.shown(image_ids):
            done = annotator.annotate(
                LazyImage(work.predictor, image.pixels),
                targets.get(image.image_id, []),
                rng=self._rng(work, image.image_id),
                prefilled=image.masks,
                clock_s=clock_s,
                model_id=image.model_id,
            )
            clock_s = done.clock_s
            yield AnnotatedImage(image.image_id, annotator.name, image.model_id, done, image.generation)

    def settings(self, work: OpenRound, shard: str, image_ids: Sequence[int]) -> Sequence[object]:
        truth = self.store.committed(GROUND_TRUTH, shard)
        return (self.config.annotator.model_dump_json(), truth, *work.prefill_settings)

    def _rng(self, work: OpenRound, image_id: int) -> np.random.Generator:
        """Each image has its own random numbers, so that clicks do not depend on what was done before."""
        place = (work.record.stage, work.record.round)
        return np.random.default_rng(int(content_key("clicks", self.config.seed, *place, image_id), 16))


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
