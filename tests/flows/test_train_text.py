"""Words on the command line: a text head of one's own, and what `generate`, `evaluate` and `masks` make of it."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from model.registry import ModelCard
from model.storage import save_model
from model.text_encoders import TEXT_ENCODERS
from model.text_head import TEXT_HEAD_FOLDER, load_text_head
from schemas.sa1b import parse_record
from tests.engine.test_fast_sam import write_results
from tests.flows.cli_runner import Finished, sam_engine
from tests.pictures import write_coco
from tests.stages.workspaces import tiny_sam


class Lengths:
    """Embeds texts by their length, and pictures as the first text."""

    key = "0123012301230123"

    def __init__(self, weights: Path | None = None) -> None:
        pass

    def encode(self, texts: Sequence[str]) -> Tensor:
        return torch.eye(8)[[len(text) % 8 for text in texts]]

    def encode_pictures(self, pictures: Sequence[np.ndarray], masks: object = None) -> Tensor:
        return torch.eye(8)[[0] * len(pictures)]


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's models: a tiny one; `lengths` is a text encoder that is built in."""
    monkeypatch.setenv("SAM_ENGINE_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(TEXT_ENCODERS._builtin, "lengths", f"{__name__}:Lengths")
    monkeypatch.setitem(TEXT_ENCODERS._loaded, "lengths", Lengths)
    root = tmp_path / "home" / "models"
    save_model(tiny_sam(), root, ModelCard(name="tiny"))
    return root


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    path = write_coco(tmp_path / "in", count=3)
    content = json.loads(path.read_text())
    for number, annotation in enumerate(content["annotations"]):
        annotation["label"] = "Blob" if number % 3 else "spot"
    path.write_text(json.dumps(content))
    return path


def train(coco: Path, *options: str) -> Finished:
    asked = ["train-text", "--coco", coco, "-m", "tiny", "--encoder", "lengths", "--passes", "1", "--device", "cpu"]
    return sam_engine(*asked, *options)


def one_error_line(done: Finished) -> str:
    assert done.status == 2
    (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    return line


def test_a_head_is_trained_and_finds_words(models: Path, coco: Path, tmp_path: Path) -> None:
    done = train(coco, "--json")
    assert (done.status, done.result["images"], done.result["texts"]) == (0, 3, 2)
    saved = load_text_head(models / "tiny" / TEXT_HEAD_FOLDER)
    assert (list(saved.words), saved.card["encoder"], saved.card["encoder_key"]) == (
        ["blob", "spot"],
        "lengths",
        Lengths.key,
    )
    assert saved.card["coco"] == ["in/shapes.json"]
    assert "this model has a text head already; delete the folder" in one_error_line(train(coco))

    asked = ["generate", tmp_path / "in" / "shapes" / "0.png", "-o", tmp_path / "out", "-m", "tiny", "--min-iou", "0"]
    found = sam_engine(*asked, "--text", "Blob", "--text", "some new words", "--point", "20,30", "--json")
    assert found.status == 0
    assert found.result["settings"]["texts"] == ["Blob", "some new words"]
    record = parse_record((tmp_path / "out" / "0.json").read_bytes(), name="0.json")
    assert len(record.annotations) == found.result["pictures"][0]["masks"]
    assert {each.label for each in record.annotations} <= {"blob", "some new words"}
    assert all(each.point_coords == [(20, 30)] for each in record.annotations)

    measured = sam_engine("evaluate", "text", "--coco", coco, "-m", "tiny", "--json")
    assert measured.status == 0
    assert list(measured.result["labels_it_learned"]) == ["text", "other_text", "random_point", "oracle"]
    assert "labels_it_never_saw" not in measured.result
    assert measured.result["points"]["point_oracle"]["miou"] >= measured.result["points"]["point"]["miou"]


def test_a_head_learns_from_pictures_without_labels(models: Path, coco: Path) -> None:
    content = json.loads(coco.read_text())
    for annotation in content["annotations"]:
        del annotation["label"]
    del content["categories"]
    coco.write_text(json.dumps(content))
    assert "no mask has a label to learn; give masks labels, or use --learn-from pictures" in one_error_line(
        train(coco)
    )
    done = train(coco, "--learn-from", "pictures", "--json")
    assert (done.status, done.result["texts"]) == (0, len(content["annotations"]))
    saved = load_text_head(models / "tiny" / TEXT_HEAD_FOLDER)
    assert (saved.card["learned_from"], list(saved.words)) == ("pictures", [])


def test_bad_input_is_one_line(models: Path, coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["generate", tmp_path / "in" / "shapes" / "0.png", "-o", tmp_path / "out", "-m", "tiny"]
    assert "this model has no text head; use the model nano" in one_error_line(sam_engine(*asked, "--text", "car"))
    assert "--point and --min-iou go with --text" in one_error_line(sam_engine(*asked, "--point", "3,4"))
    said = one_error_line(sam_engine(*asked, "--text", "car", "--preset", "nano"))
    assert "--preset and --set are for the point grid; leave them out with --text" in said
    unknown = train(coco, "--encoder", "word2vec")
    assert "unknown text encoder 'word2vec'; known: minilm, clip" in one_error_line(unknown)
    train(coco)
    assert "expected X,Y in pixels" in one_error_line(sam_engine(*asked, "--text", "blob", "--point", "3"))
    assert "text: it is empty" in one_error_line(sam_engine(*asked, "--text", " "))
    outside = sam_engine(*asked, "--text", "blob", "--point", "500,3")
    assert outside.status == 2
    assert "lies outside the picture" in outside.err
    monkeypatch.setattr(Lengths, "key", "another")
    said = one_error_line(sam_engine(*asked, "--text", "new word"))
    assert "are not those that the text head was trained with" in said
    assert "these texts are known: blob, spot" in said


def test_masks_that_others_proposed(models: Path, tmp_path: Path) -> None:
    proposals = write_results(tmp_path / "in")
    asked = ["generate", tmp_path / "in" / "a.png", "-o", tmp_path / "out", "-m", "tiny", "--proposals", proposals]
    done = sam_engine(*asked, "--json")
    assert (done.status, done.result["pictures"][0]["masks"]) == (0, 3)
    record = parse_record((tmp_path / "out" / "a.json").read_bytes(), name="a.json")
    assert [(each.label, each.predicted_iou) for each in record.annotations] == [
        ("car", 0.9),
        ("tree", 0.7),
        ("part", 0.6),
    ]
    points = tmp_path / "points.csv"
    points.write_text("file_name,x,y,label\na.png,30,25,1\na.png,39,0,1\n")
    chosen = sam_engine(
        "masks", points, "--images", tmp_path / "in", "--proposals", proposals, "-o", tmp_path / "out.json", "--json"
    )
    assert (chosen.status, chosen.result["masks"], len(chosen.result["rejected"])) == (0, 1, 1)
    assert "no text head" in one_error_line(sam_engine(*asked, "--text", "car"))


def test_phrases_of_a_detector_become_categories(models: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "in" / "boxes.json"
    write_results(tmp_path / "in")
    both = [
        {"image_id": "a.png", "bbox": [2, 2, 20, 20], "score": 0.9, "phrase": "red car"},
        {"image_id": "a.png", "bbox": [25, 20, 14, 9], "score": 0.8, "phrase": "a tree"},
    ]
    boxes.write_text(json.dumps(both))
    done = sam_engine("masks", boxes, "-o", tmp_path / "out.json", "-m", "tiny", "--json")
    assert done.status == 0
    written = json.loads((tmp_path / "out.json").read_text())
    names = {each["id"]: each["name"] for each in written["categories"]}
    assert [names[each["category_id"]] for each in written["annotations"]] == [
        each["label"] for each in written["annotations"]
    ]
    assert set(names.values()) <= {"red car", "a tree"}
