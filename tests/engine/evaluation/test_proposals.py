"""Average recall beside pycocotools, and lvis where it is installed."""

import io
import json
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from engine import rle as rle_codec
from engine.evaluation.evaluations import Samples
from engine.evaluation.proposals import IOUS, LIMITS, SIZES, object_recalls, proposals, ranked, recalls_of
from model.predictor import Predictor
from model.training.samples import MaskFacts, Sample
from schemas.errors import InputError
from schemas.rle import Rle
from tests.engine.evaluation.fakes import ThreeHalves, coco_rle, rectangle

SIZE = (300, 400)


def blocks(count: int, seed: int) -> list[np.ndarray]:
    """Rectangles of every size that COCO tells apart."""
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(count):
        height, width = np.exp(rng.uniform(np.log(8), np.log(200), 2)).astype(int)
        top, left = rng.integers(0, SIZE[0] - height), rng.integers(0, SIZE[1] - width)
        masks.append(rectangle(slice(top, top + height), slice(left, left + width), SIZE))
    return masks


def shaken(masks: list[np.ndarray], seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.roll(mask, tuple(rng.integers(-4, 5, 2)), (0, 1)) for mask in masks for _ in range(3)]


def pictures() -> list[tuple[Sample, list[Rle]]]:
    """Three pictures with their masks, best first."""
    found = []
    for seed in range(3):
        truth = blocks(14, seed)
        others = blocks(40, seed + 10)
        masks = [*shaken(truth, seed), *others]
        order = np.random.default_rng(seed).permutation(len(masks))
        facts = [MaskFacts(category_id=number % 3 + 1, frequency="fcr"[number % 3]) for number in range(len(truth))]
        sample = Sample(np.zeros((*SIZE, 3), np.uint8), [coco_rle(mask) for mask in truth], image_id=seed, facts=facts)
        found.append((sample, [rle_codec.encode(masks[row]) for row in order]))
    return found


def recalls() -> dict[str, np.ndarray]:
    parts: dict[str, list[np.ndarray]] = {}
    for sample, masks in pictures():
        truth = [Rle.of_coco(mask) for mask in sample.masks]
        for name, recall in recalls_of(rle_codec.iou_matrix(masks, truth), sample):
            parts.setdefault(name, []).append(recall)
    return {name: np.concatenate(each).mean(axis=0) for name, each in parts.items()}


def ground_truth(letters: str = "fcr") -> dict[str, object]:
    """As COCO and LVIS have it; objects of other frequencies are crowds, which no recall counts."""
    annotations = []
    for sample, _ in pictures():
        for mask, facts in zip(sample.masks, sample.facts, strict=True):
            area = rle_codec.area(Rle.of_coco(mask))
            record = {"id": len(annotations) + 1, "image_id": sample.image_id, "category_id": facts.category_id}
            crowd = {"iscrowd": int(facts.frequency not in letters), "area": area, "bbox": [0, 0, 1, 1]}
            annotations.append({**record, **crowd, "segmentation": mask})
    images = [{"id": seed, "height": SIZE[0], "width": SIZE[1]} for seed in range(3)]
    return {"images": images, "annotations": annotations, "categories": [{"id": number} for number in (1, 2, 3)]}


def results() -> list[dict[str, object]]:
    return [
        {"image_id": sample.image_id, "category_id": 1, "segmentation": mask.coco(), "score": 1 - place / 1000}
        for sample, masks in pictures()
        for place, mask in enumerate(masks)
    ]


def pycocotools_recalls(letters: str = "fcr") -> np.ndarray:
    """(3, 4) for 10, 100, 1000 masks, of all, small, medium and large objects."""
    with redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = ground_truth(letters)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results()), "segm")
        evaluation.params.useCats = 0
        evaluation.params.maxDets = list(LIMITS)
        evaluation.evaluate()
        evaluation.accumulate()
    recall = evaluation.eval["recall"]  # (IoU, category, area, limit)
    return np.array([[recall[:, 0, area, limit].mean() for area in range(4)] for limit in range(3)])


def test_average_recall_is_that_of_pycocotools() -> None:
    found, wanted = recalls(), pycocotools_recalls()
    for place, name in enumerate(("all", *SIZES)):
        np.testing.assert_allclose(found[name], wanted[:, place], atol=1e-9, err_msg=name)
    assert 0.05 < found["all"][0] < found["all"][1] < 1


def test_a_frequency_is_as_if_other_objects_were_not_counted() -> None:
    found = recalls()
    for name, letter in (("frequent", "f"), ("common", "c"), ("rare", "r")):
        np.testing.assert_allclose(found[name], pycocotools_recalls(letter)[:, 0], atol=1e-9, err_msg=name)


@pytest.mark.parametrize(("limit", "place"), [(10, 0), (1000, 2)])
@pytest.mark.parametrize(("name", "letter"), [("all", "fcr"), ("frequent", "f"), ("common", "c"), ("rare", "r")])
def test_average_recall_is_that_of_lvis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, place: int, name: str, letter: str
) -> None:
    """Of one category: without categories lvis 0.5.3 finds no ground truth at all."""
    lvis = pytest.importorskip("lvis")
    content: Any = ground_truth(letter)
    for image in content["images"]:
        image |= {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    content["categories"] = [{"id": 1, "frequency": "f"}]
    for annotation in content["annotations"]:
        annotation |= {"ignore": annotation.pop("iscrowd"), "category_id": 1}
        annotation["segmentation"] = Rle.of_coco(annotation["segmentation"]).to_coco()
    path = tmp_path / "lvis.json"
    path.write_text(json.dumps(content))
    truth = lvis.LVIS(str(path))
    evaluation = lvis.LVISEval(truth, lvis.LVISResults(truth, results(), max_dets=limit), "segm")
    monkeypatch.setattr(np, "float", float, raising=False)  # lvis is older than numpy without it
    evaluation.evaluate()
    evaluation.accumulate()
    assert recalls()[name][place] == pytest.approx(evaluation.eval["recall"][:, 0, 0].mean(), abs=1e-9)


def test_by_hand() -> None:
    """One object, met at .74 by the eleventh mask and at .92 by the twelfth; the other by none."""
    overlaps = np.zeros((12, 2))
    overlaps[10, 0], overlaps[11, 0] = 0.74, 0.92
    recall = object_recalls(overlaps)
    assert recall[:, 0].tolist() == [0, 0]
    assert recall[:, 1].tolist() == [(IOUS <= 0.92).mean(), 0]
    assert recall[:, 2].tolist() == recall[:, 1].tolist()


def test_masks_are_ranked_by_both_scores() -> None:
    mask = rle_codec.measured(rle_codec.encode(rectangle(slice(0, 4), slice(0, 4))))
    scores = [(0.9, 0.1), (0.6, 0.6), (0.2, 0.9)]
    masks = [replace(mask, predicted_iou=iou, stability_score=stability) for iou, stability in scores]
    assert [each.predicted_iou for each in ranked(masks)] == [0.6, 0.2, 0.9]


class Square:
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        return Sample(np.zeros((64, 64, 3), np.uint8), [coco_rle(rectangle(slice(16, 48), slice(16, 48)))])


def test_the_generator_runs_without_filters() -> None:
    measured = proposals(Predictor(ThreeHalves()), Samples(Square()), points_per_side=4)
    assert measured.values["masks_per_image"] == 3, "one of each kind; duplicates go"
    assert measured.values["proposals"]["all"]["ar_10"]["ar"] > 0.6
    assert [row[0] for row in measured.rows] == ["all", "small", "medium"], "1,024 px are both"
    assert measured.masks == 1


@pytest.mark.parametrize("wrong", [{"points_per_side": 0}, {"box_nms_thresh": 1.5}])
def test_settings_that_cannot_be_are_errors(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"proposals: {next(iter(wrong))}: "):
        proposals(Predictor(ThreeHalves()), Samples(Square()), **wrong)  # type: ignore[arg-type]
