"""FastSAM: prompts choose among masks that were proposed."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from engine import rle as rle_codec
from engine.fast_sam import FastSam, ProposalFile, box_ious, points_agree
from model.predictor import Predictor
from model.promptable import TextModel
from schemas.errors import InputError

HEIGHT, WIDTH = 30, 40


def rectangle(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


WHOLE, PART, OTHER, WEAK = (
    rectangle(2, 22, 2, 22),
    rectangle(4, 10, 4, 10),
    rectangle(20, 29, 25, 39),
    rectangle(0, 1, 0, 1),
)


def write_results(folder: Path) -> Path:
    """Two pictures, the masks of the first as a YOLO-seg gives them, worst first."""
    folder.mkdir(exist_ok=True)
    for name in ("a", "b"):
        Image.fromarray(picture(name)).save(folder / f"{name}.png")
    scored = [(WEAK, 0.2, "spot"), (PART, 0.6, "part"), (OTHER, 0.7, "tree"), (WHOLE, 0.9, "car")]
    results = [record(mask, score, label) for mask, score, label in scored]
    results.append(record(OTHER, 0.8, "tree") | {"image_id": "b.png"})
    path = folder / "results.json"
    path.write_text(json.dumps(results))
    return path


def record(mask: np.ndarray, score: float, label: str) -> dict[str, object]:
    segmentation, rows, columns = rle_codec.encode(mask).to_coco(), *np.nonzero(mask)
    box = [int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1]
    return {"image_id": "a.png", "bbox": box, "segmentation": segmentation, "score": score, "category_name": label}


def picture(name: str) -> np.ndarray:
    return np.random.default_rng(ord(name)).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture
def predictor(tmp_path: Path) -> Predictor:
    found = Predictor(FastSam(ProposalFile(write_results(tmp_path / "in"))))
    found.set_image(picture("a"))
    return found


def test_it_is_a_model_like_any_other(predictor: Predictor) -> None:
    assert isinstance(predictor.sam, TextModel)


def test_a_point_gives_the_masks_that_have_it_most_confident_first(predictor: Predictor) -> None:
    masks, scores, _ = predictor.predict([(5, 5)], [1])
    assert np.array_equal(masks, [WHOLE, PART, np.zeros_like(WHOLE)])
    assert scores.tolist() == pytest.approx([0.9, 0.6, 0])
    (mask,), (score,), _ = predictor.predict([(5, 5), (20, 20)], [1, 0], multimask_output=False)
    assert np.array_equal(mask, PART)
    assert score == pytest.approx(0.6)
    assert not predictor.predict([(39, 0)], [1])[0].any()


def test_a_box_gives_the_masks_that_fill_it_best(predictor: Predictor) -> None:
    masks, scores, _ = predictor.predict(box=(4, 4, 10, 11))
    assert np.array_equal(masks[0], PART)
    assert scores[0] == pytest.approx(36 / 42)
    both = predictor.predict([(30, 25)], [1], box=(4, 4, 10, 11))[0]
    assert not both.any(), "the one mask there has no pixel in the box"


@given(st.tuples(*[st.integers(0, 20)] * 2), st.integers(1, 9), st.integers(1, 9))
def test_iou_with_a_box_is_that_of_the_box_as_a_mask(corner: tuple[int, int], height: int, width: int) -> None:
    top, left = corner
    filled = rectangle(top, top + height, left, left + width)
    masks = np.array([WHOLE, PART, OTHER, filled])
    expected = [(mask & filled).sum() / (mask | filled).sum() for mask in masks]
    assert box_ious(masks, np.array([left, top, left + width, top + height])) == pytest.approx(expected)


@given(st.lists(st.tuples(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.sampled_from([-1, 0, 1]))))
def test_points_that_agree(points: list[tuple[int, int, int]]) -> None:
    masks = np.array([WHOLE, PART, OTHER])
    expected = [all(label < 0 or mask[y, x] == bool(label) for x, y, label in points) for mask in masks]
    xy, labels = np.array([point[:2] for point in points]).reshape(-1, 2), np.array([point[2] for point in points])
    assert points_agree(masks, xy, labels.astype(np.int64)).tolist() == expected


@given(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.integers(1, 8000), st.integers(1, 8000))
def test_pixels_survive_the_way_through_the_input(x: int, y: int, width: int, height: int) -> None:
    there = torch.tensor([x * 256 / width, y * 256 / height], dtype=torch.float32).double().numpy()
    back = np.floor(there * np.array([width, height]) / 256 + 1e-3)
    assert back.tolist() == [x, y]


def test_other_pictures_are_known_by_how_they_look(predictor: Predictor) -> None:
    (mask,), (score,), _ = predictor.predict([(30, 25)], [1], multimask_output=False)
    assert np.array_equal(mask, OTHER)
    assert score == pytest.approx(0.7)
    predictor.set_image(picture("b"))
    assert predictor.predict([(30, 25)], [1])[1][0] == pytest.approx(0.8)
    assert [each.embedding.scores[0] for each in predictor.encode_images([picture("b"), picture("a")])] == [0.8, 0.9]
    with pytest.raises(InputError, match=r"results.json: has no masks of this picture"):
        predictor.set_image(picture("c"))


def test_texts_choose_by_what_scores_them(tmp_path: Path) -> None:
    def by_size(image: np.ndarray, masks: np.ndarray, texts: Sequence[str]) -> np.ndarray:
        assert np.array_equal(image, picture("a"))
        sizes = masks.sum((1, 2))
        return np.array([sizes if text == "large" else -sizes for text in texts])

    predictor = Predictor(FastSam(ProposalFile(write_results(tmp_path / "in")), text_scores=by_size))
    predictor.set_image(picture("a"))
    found = predictor.predict_texts(["large", "small"])
    assert np.array_equal(predictor.upscale(found.logits)[:, 0].numpy() > 0, [WHOLE, PART])
    assert found.predicted_iou.tolist() == [[pytest.approx(0.9)], [pytest.approx(0.6)]]
    with pytest.raises(InputError, match="FastSam takes texts, points or boxes, not several of them"):
        predictor.predict_texts(["large"], [[(5, 5)]], [[1]])


def test_what_it_cannot_do_is_one_line(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="FastSAM takes points, boxes and texts, no masks as prompts"):
        predictor.predict(mask_input=np.zeros((1, 64, 64)))
    with pytest.raises(InputError, match="FastSAM chooses by text with a text encoder alone"):
        predictor.predict(text="car")
    path = tmp_path / "in" / "results.json"
    with pytest.raises(InputError, match=r"results.json: no mask with a score of 0.95 or more"):
        ProposalFile(path, least_score=0.95)
    path.write_text(path.read_text().replace("0.9", '"high"'))
    with pytest.raises(InputError, match=r"detection 4: its score 'high' is no number"):
        ProposalFile(path)


def test_labels_are_those_of_categories_too(tmp_path: Path) -> None:
    path = write_results(tmp_path / "in")
    results = [{**each, "category_id": 7} for each in json.loads(path.read_text())]
    named = {"images": [{"id": "a.png", "file_name": "a.png"}], "categories": [{"id": 7, "name": "thing"}]}
    (tmp_path / "names.json").write_text(json.dumps({**named, "annotations": []}))
    for each in results:
        del each["category_name"]
    path.write_text(json.dumps(results[:4]))
    file = ProposalFile(path, names=tmp_path / "names.json")
    predictor = Predictor(FastSam(file))
    predictor.set_image(picture("a"))
    assert predictor.encoded.embedding.labels == ("thing",) * 3
