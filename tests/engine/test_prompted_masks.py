import numpy as np
import pytest

from engine import rle as rle_codec
from engine.prompt_files import MaskPrompt
from engine.prompted_masks import annotation_of, categories_of, ids_of, masks_of_prompts
from model.config import SamConfig
from model.encoder_configs import ViTConfig
from model.predictor import Predictor
from model.sam import build_sam
from tests.peers.published import draw_weights
from tests.pictures import shapes


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    config = ViTConfig(embed_dim=16, depth=1, num_heads=2, global_attn_indexes=(0,), img_size=64, window_size=2)
    sam = build_sam(SamConfig(config, decoder_depth=1, decoder_mlp_dim=32))
    draw_weights(sam, seed=0)
    return Predictor(sam)


def test_each_prompt_gets_what_it_gets_alone(predictor: Predictor) -> None:
    image, _ = shapes(0)
    prompts = [
        MaskPrompt("a", box=(10, 10, 50, 40)),
        MaskPrompt("b", points=[(20, 20, 1)]),
        MaskPrompt("c", points=[(20, 20, 1), (80, 50, 0)]),
        MaskPrompt("d", box=(10, 10, 50, 40), points=[(30, 30, 1)]),
        MaskPrompt("e", box=(60, 10, 150, 40)),
    ]
    found = masks_of_prompts(predictor, image, prompts)
    assert [each.prompt.source for each in found] == list("abcde")
    for each in found:
        points = [point[:2] for point in each.prompt.points] or None
        labels = [point[2] for point in each.prompt.points] or None
        masks, ious, _ = predictor.predict(points, labels, box=each.prompt.box)
        wanted = masks[ious.argmax()]
        assert each.predicted_iou == pytest.approx(float(ious.max()), abs=1e-5)
        if each.mask is None:
            assert not wanted.any()
        else:
            assert (rle_codec.decode(each.mask) != wanted).mean() < 0.001


def test_prompts_that_mean_nothing_have_a_reason(predictor: Predictor) -> None:
    image, _ = shapes(0)
    boxes = [(5, 5, 5, 9), (0.1, 0.2, 0.5, 0.6), (200, 5, 300, 9), (9, 9, 4, 20)]
    prompts = [MaskPrompt("box", box=box) for box in boxes] + [MaskPrompt("point", points=[(500, 5, 1)])]
    reasons = [each.reason for each in masks_of_prompts(predictor, image, prompts)]
    for reason, said in zip(reasons, ["no area", "fractions", "outside", "before it starts", "outside"], strict=True):
        assert said in reason
    with pytest.raises(ValueError, match="no area"):
        annotation_of(masks_of_prompts(predictor, image, prompts)[0], annotation_id=1, image_id=1)


def test_annotations_are_those_of_coco(predictor: Predictor) -> None:
    image, _ = shapes(0)
    prompts = [MaskPrompt("a", box=(10, 10, 50, 40), fields={"id": 9, "category_id": 4, "score": 0.5})]
    prompts += [MaskPrompt("b", points=[(x, 20, 1)]) for x in range(5, 90, 20)]
    made = [each for each in masks_of_prompts(predictor, image, prompts) if each.mask is not None]
    assert made
    for each in made:
        record = annotation_of(each, annotation_id=1, image_id=2)
        assert each.mask is not None
        pixels = rle_codec.decode(each.mask)
        rows, columns = np.nonzero(pixels)
        left, top, width, height = record["bbox"]
        assert (left, top) == (columns.min(), rows.min())
        assert (left + width - 1, top + height - 1) == (columns.max(), rows.max())
        assert record["area"] == pixels.sum()
        assert (record["id"], record["image_id"]) == (1, 2)
        assert record["category_id"] == each.prompt.fields.get("category_id", 1)


def test_a_refined_mask_is_what_comes_back_for_the_best_one_and_the_same_prompt(predictor: Predictor) -> None:
    image, _ = shapes(0)
    prompts = [
        MaskPrompt("a", box=(10, 10, 50, 40)),
        MaskPrompt("b", points=[(20, 20, 1), (80, 50, 0)]),
        MaskPrompt("c", points=[(60, 30, 1)]),
    ]
    for each in masks_of_prompts(predictor, image, prompts, refine=True):
        points = [point[:2] for point in each.prompt.points] or None
        labels = [point[2] for point in each.prompt.points] or None
        _, ious, logits = predictor.predict(points, labels, box=each.prompt.box)
        again, predicted, _ = predictor.predict(
            points, labels, box=each.prompt.box, mask_input=logits[[ious.argmax()]], multimask_output=False
        )
        assert each.predicted_iou == pytest.approx(float(predicted[0]), abs=1e-4)
        shown = np.zeros_like(again[0]) if each.mask is None else rle_codec.decode(each.mask)
        assert (shown != again[0]).mean() < 0.001


def test_labels_become_categories_where_there_are_none() -> None:
    annotations = [{"category_id": 1, "label": "tree"}, {"category_id": 7}, {"category_id": 1, "label": "car"}]
    assert categories_of(annotations) == [
        {"id": 1, "name": "car"},
        {"id": 2, "name": "tree"},
        {"id": 3, "name": "object"},
    ]
    assert [each["category_id"] for each in annotations] == [2, 3, 1]
    unnamed = [{"category_id": 7}]
    assert categories_of(unnamed) == [{"id": 1, "name": "object"}]
    assert unnamed == [{"category_id": 7}]


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ([7, 3, 12], [7, 3, 12]),
        ([7, 3, 7], [1, 2, 3]),  # as in several files, each of which counts its own
        ([7, None, 12], [1, 2, 3]),
        ([7, True, 12], [1, 2, 3]),
        (["7", "3", "12"], [1, 2, 3]),
        ([], []),
    ],
)
def test_masks_are_called_as_their_prompts_where_these_have_ids_of_their_own(
    own: list[object], expected: list[int]
) -> None:
    assert ids_of([MaskPrompt("a", fields={} if each is None else {"id": each}) for each in own]) == expected
