"""Grounding DINO beside the published code: a small one with random weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.grounding_dino import GroundingDino, _corners, _pixels, _tokens_of
from model.word_pieces import WordPieces
from schemas.errors import InputError
from tests.peers.hugging_face import BERT_WORDS, transformers_or_skip, write_grounding_dino

PIECES = WordPieces(BERT_WORDS)


def test_phrases_as_one_text_with_full_stops() -> None:
    tokens, spans = _tokens_of(["red cars", "tree"], PIECES)
    assert [BERT_WORDS[token] for token in tokens] == ["[CLS]", "red", "car", "##s", ".", "tree", ".", "[SEP]"]
    assert spans == [slice(1, 4), slice(5, 6)]
    for phrases, said in (([], "no phrase"), (["."], "'.' has no words"), (["car"] * 200, "have 401 tokens")):
        with pytest.raises(InputError, match=said):
            _tokens_of(phrases, PIECES)


def test_pictures_and_boxes_by_hand() -> None:
    assert _pixels(np.zeros((100, 200, 3), np.uint8)).shape == (3, 666, 1333)
    assert _pixels(np.zeros((100, 120, 3), np.uint8)).shape == (3, 800, 960)
    white = _pixels(np.full((100, 100, 3), 255, np.uint8))
    assert white[:, 0, 0].tolist() == pytest.approx([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.2], [0.1, 0.9, 0.4, 0.4]])
    expected = torch.tensor([[50.0, 40.0, 150.0, 60.0], [0.0, 70.0, 60.0, 100.0]])
    assert torch.allclose(_corners(boxes, 100, 200), expected, atol=1e-4)


@pytest.fixture(scope="module")
def transformers() -> Any:
    return transformers_or_skip()


@pytest.fixture(scope="module")
def folder(transformers: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_grounding_dino(tmp_path_factory.mktemp("dino"), transformers)


def test_boxes_are_those_of_the_published_code(
    folder: Path, transformers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.grounding_dino._SHORTEST_PX", 64)
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    dino = GroundingDino(folder, ["red car", "tree"])
    found = dino.detect(image, least_score=0.0)
    peer = transformers.GroundingDinoForObjectDetection.from_pretrained(folder).eval()
    with torch.no_grad():
        output = peer(pixel_values=_pixels(image)[None], input_ids=torch.tensor([dino._tokens]))
    best = output.logits[0].sigmoid()[:, [1, 2, 4]].amax(1)
    order = best.argsort(descending=True)
    assert torch.allclose(found.scores, best[order], atol=1e-5)
    assert torch.allclose(found.boxes, _corners(output.pred_boxes[0][order], 48, 64), atol=1e-3)
    assert set(found.phrases) <= {"red car", "tree"}
    least = float(found.scores[4])
    assert len(dino.detect(image, least_score=least).scores) == 5


def test_what_is_no_grounding_dino_is_one_line(transformers: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model.safetensors: no such file; expected a Grounding DINO"):
        GroundingDino(tmp_path, ["car"])
    (tmp_path / "model.safetensors").write_bytes(b"no")
    (tmp_path / "vocab.txt").write_text("\n".join(BERT_WORDS))
    with pytest.raises(InputError, match="not a Grounding DINO as Hugging Face saves it") as error:
        GroundingDino(tmp_path, ["car"])
    assert "\n" not in str(error.value)
