"""The work of the stage: each box prompts the model, the most confident of its masks is kept."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import PurePath
from typing import Any

import numpy as np
from detector_boxes import DetectorBoxes

from engine.rle import encode, measured
from model.predictor import Predictor
from schemas.errors import InputError
from schemas.mask import GENERATOR, Mask, Prompt
from schemas.sa1b import from_xywh
from schemas.stages import Stage
from stages.records import ShardRows, Where
from stages.workers import Picture, ShardWorker


class DetectorBoxesWorker(ShardWorker):
    """Makes the masks of shards."""

    stage: Stage = "detector_boxes"

    @cached_property
    def options(self) -> DetectorBoxes:
        options = self.config.stages[self.stage]
        assert isinstance(options, DetectorBoxes)  # as the stage says
        return options

    @cached_property
    def content(self) -> bytes:
        """Of the file with the boxes. Raises InputError where there is none."""
        try:
            return self.options.boxes.read_bytes()
        except OSError as error:
            raise InputError(f"{self.options.boxes}: {error.strerror}; see stages.{self.stage}.boxes") from error

    @cached_property
    def boxes(self) -> dict[str, list[dict[str, Any]]]:
        """Annotations by the name of their picture, most sure first. Raises InputError for a file of another kind."""
        try:
            coco = json.loads(self.content)
            names = {image["id"]: PurePath(image["file_name"]).name for image in coco["images"]}
            found = defaultdict(list)
            for box in sorted(coco["annotations"], key=lambda box: -box.get("score", 1.0)):
                if box.get("score", 1.0) >= self.options.min_score:
                    found[names[box["image_id"]]].append(box)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.options.boxes}: no COCO json with boxes ({error!r})") from error
        return found

    @cached_property
    def names(self) -> dict[int, str]:
        images = self.store.images()
        sources = zip(images["image_id"].to_pylist(), images["source"].to_pylist(), strict=True)
        return {image_id: PurePath(source).name for image_id, source in sources}

    @cached_property
    def predictor(self) -> Predictor:
        return Predictor(self.sam)

    def settings(self, shard: str) -> Sequence[object]:
        """The options, and what the file holds: another file of the same name is other work."""
        return (self.options.model_dump_json(), hashlib.sha256(self.content).hexdigest())

    def make_rows(self, shard: str, image_ids: Sequence[int]) -> ShardRows:
        rows = ShardRows()
        for picture in self.pictures(image_ids):
            where = Where(picture.image_id, shard, self.stage, self.round, self.record.model_before)
            boxes = self.boxes.get(self.names[picture.image_id], [])
            for mask in self._masks(picture, boxes):
                rows.add_mask(replace(mask, model_id=where.model_id), where)
        return rows

    def _masks(self, picture: Picture, boxes: Sequence[dict[str, Any]]) -> list[Mask]:
        if boxes:
            self.predictor.set_image(picture.pixels)
        made = []
        for box in boxes:
            xyxy = from_xywh(box["bbox"])
            masks, predicted_iou, _ = self.predictor.predict(box=xyxy, multimask_output=False)
            if masks[0].any() and predicted_iou[0] >= self.options.min_predicted_iou:
                mask = measured(encode(np.ascontiguousarray(masks[0])))
                sure = float(predicted_iou[0])
                made.append(
                    replace(mask, prompt=Prompt(box=xyxy), predicted_iou=sure, origin="automatic", annotator=GENERATOR)
                )
        return made
