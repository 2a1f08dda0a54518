"""Grounded-SAM as the start of semi-automatic rounds: the boxes of what phrases say prompt the model."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from engine.keys import content_key
from model.grounding_dino import GroundingDino
from model.object_detector import Detections
from model.predictor import Predictor
from schemas.errors import InputError
from schemas.mask import Mask
from stages.prefill import PrefillSettings, masks_of_boxes
from stages.prefilling import RoundWork
from stages.records import ShardRows, Where
from stages.workers import Picture


class PhraseBoxes:
    """Masks of Grounding DINO's boxes, each with its phrase as label (`stages.prefilling.PrefillDetector`)."""

    def __init__(self, work: RoundWork) -> None:
        """Raises InputError where `semi_automatic.phrases` or its weights are missing."""
        asked = work.config.semi_automatic.phrases
        if asked is None:
            raise InputError(
                f"{work.store.files.config}: prefill is grounding_dino, and semi_automatic.phrases does not say what "
                "to look for; set it to {look_for: [car, tree], weights: FOLDER}"
            )
        self._least_score = asked.least_score
        self._dino = GroundingDino(asked.weights, asked.look_for, device=work.sam.device)
        self._predictor = Predictor(work.sam)
        self._settings = PrefillSettings.of(work.config.semi_automatic)

    @property
    def key(self) -> str:
        return content_key(
            "grounding_dino", self._dino.key, self._dino.phrases, self._least_score, self._settings.to_dict()
        )

    def masks(self, picture: Picture, where: Where, rows: ShardRows) -> Sequence[Mask]:
        """Stable, distinct masks of a picture, best first."""
        found = self._dino.detect(picture.pixels, least_score=self._least_score)
        self._predictor.set_image(picture.pixels)
        boxes = Detections(found.boxes, found.scores)
        by_box = dict(zip(map(tuple, found.boxes.tolist()), found.phrases, strict=True))
        made = []
        for each in masks_of_boxes(self._predictor, boxes, self._settings):
            label = by_box[each.mask.prompt.box] if each.mask.prompt.box else ""
            made.append(replace(each.mask, model_id=where.model_id, generator_config=self.key, label=label))
        return made

    def metrics(self) -> dict[str, Any]:
        return {}
