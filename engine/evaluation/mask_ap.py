"""Mask AP by pycocotools, of ground truth and results in memory."""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from engine import rle as rle_codec
from model.training.samples import Sample
from schemas.rle import Rle

MEASURES = ("ap", "ap50", "ap75", "small", "medium", "large")  # the first of pycocotools' statistics, in their order


@dataclass(frozen=True)
class Detection:
    """A mask that was found on the picture with that number, as results have it."""

    picture: int
    category_id: int | str
    mask: Rle
    score: float


class GroundTruth:
    """Pictures with all their objects and crowds, numbered as they come; objects without a category are of one."""

    def __init__(self) -> None:
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._categories: dict[int | str, int] = {}

    @property
    def categories(self) -> set[int | str]:
        return set(self._categories)

    @property
    def objects(self) -> int:
        """Without crowds."""
        return sum(not annotation["iscrowd"] for annotation in self._annotations)

    def add(self, sample: Sample) -> int:
        """Returns the number of the picture."""
        picture = len(self._images) + 1
        height, width = sample.image.shape[:2]
        self._images.append({"id": picture, "height": height, "width": width})
        objects = zip(sample.masks, sample.known_facts, [0] * len(sample.masks), strict=True)
        for mask, facts, iscrowd in (*objects, *((mask, facts, 1) for mask, facts in sample.crowds)):
            category = 1 if facts.category_id is None else facts.category_id
            number = self._categories.setdefault(category, len(self._categories) + 1)
            area = rle_codec.area(Rle.of_coco(mask))
            record = {"segmentation": mask, "area": area, "bbox": [0, 0, 0, 0], "iscrowd": iscrowd}
            place = {"id": len(self._annotations) + 1, "image_id": picture, "category_id": number}
            self._annotations.append(place | record)
        return picture

    def mask_ap(self, found: Sequence[Detection], *, by_category: bool = True) -> dict[str, float | None]:
        """Each of MEASURES; None for sizes that no object has.

        by_category: a mask finds objects of its category alone. What has a category that no object has is left out,
        as pycocotools does.
        """
        results = [
            {
                "image_id": each.picture,
                "category_id": self._categories[each.category_id] if by_category else 1,
                "segmentation": each.mask.coco(),
                "score": each.score,
            }
            for each in found
            if not by_category or each.category_id in self._categories
        ]
        if not results:
            return dict.fromkeys(MEASURES, 0.0)
        with redirect_stdout(io.StringIO()):  # what pycocotools tells of its progress
            truth = COCO()
            truth.dataset = {
                "images": self._images,
                "annotations": [dict(annotation) for annotation in self._annotations],
                "categories": [{"id": number} for number in self._categories.values()],
            }
            truth.createIndex()
            evaluation = COCOeval(truth, truth.loadRes(results), "segm")
            evaluation.params.useCats = int(by_category)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        numbers = [float(number) for number in evaluation.stats[: len(MEASURES)]]
        return {name: number if number >= 0 else None for name, number in zip(MEASURES, numbers, strict=True)}
