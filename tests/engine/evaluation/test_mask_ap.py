"""Mask AP in memory is that of the same ground truth and results in files."""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from engine import rle as rle_codec
from engine.evaluation.mask_ap import MEASURES, Detection, GroundTruth
from model.training.samples import MaskFacts, Sample
from schemas.rle import Rle
from tests.engine.evaluation.fakes import coco_rle, rectangle

SIZE = (160, 200)


def block(rng: np.random.Generator) -> np.ndarray:
    height, width = np.exp(rng.uniform(np.log(6), np.log(120), 2)).astype(int)
    top, left = rng.integers(0, SIZE[0] - height), rng.integers(0, SIZE[1] - width)
    return rectangle(slice(top, top + height), slice(left, left + width), SIZE)


def pictures() -> tuple[list[Sample], list[Detection]]:
    """Three pictures of objects of categories 7 and 9, with a crowd, and shaken detections."""
    samples, found = [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        masks = [block(rng) for _ in range(8)]
        facts = [MaskFacts(category_id=7 if number % 2 else 9) for number in range(8)]
        crowd = (coco_rle(rectangle(slice(0, 60), slice(0, 200), SIZE)), MaskFacts(category_id=7))
        image = np.zeros((*SIZE, 3), np.uint8)
        samples.append(Sample(image, [coco_rle(mask) for mask in masks], "", seed, facts, [crowd]))
        for mask, fact in zip([*masks, block(rng), block(rng)], [*facts, *facts[:2]], strict=True):
            moved = np.roll(mask, tuple(rng.integers(-3, 4, 2)), (0, 1))
            category = fact.category_id if rng.random() < 0.8 else 9
            assert category is not None
            found.append(Detection(seed + 1, category, rle_codec.encode(moved), float(rng.random())))
    return samples, found


def by_files(folder: Path, samples: list[Sample], found: list[Detection], *, use_cats: bool) -> list[float]:
    annotations: list[dict[str, Any]] = []
    for number, sample in enumerate(samples, start=1):
        objects = [(mask, facts, 0) for mask, facts in zip(sample.masks, sample.facts, strict=True)]
        for mask, facts, crowd in objects + [(mask, facts, 1) for mask, facts in sample.crowds]:
            rle = Rle.of_coco(mask)
            record = {"id": len(annotations) + 1, "image_id": number, "category_id": facts.category_id}
            x0, y0, x1, y1 = rle_codec.box(rle)
            shape = {"area": rle_codec.area(rle), "segmentation": rle.to_coco(), "bbox": [x0, y0, x1 - x0, y1 - y0]}
            annotations.append({**record, **shape, "iscrowd": crowd})
    images = [{"id": number, "height": SIZE[0], "width": SIZE[1]} for number in (1, 2, 3)]
    truth = {"images": images, "annotations": annotations, "categories": [{"id": 7}, {"id": 9}]}
    results = [
        {"image_id": d.picture, "category_id": d.category_id, "segmentation": d.mask.to_coco(), "score": d.score}
        for d in found
    ]
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "results.json").write_text(json.dumps(results))
    with redirect_stdout(io.StringIO()):
        coco = COCO(str(folder / "truth.json"))
        evaluation = COCOeval(coco, coco.loadRes(str(folder / "results.json")), "segm")
        evaluation.params.useCats = int(use_cats)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return list(evaluation.stats[: len(MEASURES)])


@pytest.mark.parametrize("by_category", [True, False])
def test_the_numbers_are_those_of_files(tmp_path: Path, by_category: bool) -> None:
    samples, found = pictures()
    truth = GroundTruth()
    assert [truth.add(sample) for sample in samples] == [1, 2, 3]
    assert truth.objects == 24
    assert truth.categories == {7, 9}
    wanted = by_files(tmp_path, samples, found, use_cats=by_category)
    got = truth.mask_ap(found, by_category=by_category)
    assert [-1 if got[name] is None else got[name] for name in MEASURES] == pytest.approx(wanted)
    assert 0.1 < wanted[0] < 0.9
    assert truth.mask_ap(found, by_category=by_category) == got, "nothing is changed by counting"


def test_nothing_found_is_worth_nothing_and_sizes_that_do_not_occur_are_none() -> None:
    truth = GroundTruth()
    mask = rectangle(slice(0, 20), slice(0, 20), SIZE)
    picture = truth.add(Sample(np.zeros((*SIZE, 3), np.uint8), [coco_rle(mask)]))
    assert set(truth.mask_ap([]).values()) == {0.0}
    strange = Detection(picture, 5, rle_codec.encode(mask), 0.5)
    assert truth.mask_ap([strange])["ap"] == 0
    right = truth.mask_ap([strange], by_category=False)
    assert right["ap"] == pytest.approx(1)
    assert right["small"] == pytest.approx(1)
    assert right["medium"] is None
    assert right["large"] is None
