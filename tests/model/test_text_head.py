"""The text head: what it says of pixels, and how it is kept."""

import json
from pathlib import Path

import pytest
import torch

from model.text_head import CARD_FILE, WEIGHTS_FILE, TextHead, TextHeadConfig, load_text_head, save_text_head
from schemas.errors import InputError


@pytest.fixture
def head() -> TextHead:
    torch.manual_seed(0)
    return TextHead(TextHeadConfig(text_dim=6, width=16)).eval()


def test_texts_on_one_picture_get_what_each_gets_on_its_own(head: TextHead) -> None:
    texts = torch.randn(3, 6)
    looked = head.look(torch.randn(1, 256, 5, 5))
    together = head(looked, texts)
    assert together.shape == (3, 5, 5)
    assert torch.allclose(head(looked, texts[1:2])[0], together[1], atol=1e-5)


def test_each_text_is_looked_for_on_its_own_picture(head: TextHead) -> None:
    texts, looked = torch.randn(3, 6), head.look(torch.randn(2, 256, 5, 5))
    found = head(looked, texts, [1, 2])
    assert torch.allclose(found[:1], head(looked[:1], texts[:1]), atol=1e-5)
    assert torch.allclose(found[1:], head(looked[1:], texts[1:]), atol=1e-5)
    assert not torch.allclose(found[0], head(looked[1:], texts[:1])[0], atol=1e-3)


def test_being_there_follows_from_the_surest_pixel(head: TextHead) -> None:
    logits = torch.full((2, 4, 4), -3.0)
    logits[1, 2, 2] = 4.0
    with torch.no_grad():
        head.presence.copy_(torch.tensor([0.5, -1.0]))
        assert head.is_there(logits).tolist() == [-2.5, 1.0]


def test_a_head_comes_back_as_it_was_but_for_half_precision(head: TextHead, tmp_path: Path) -> None:
    words = {"car": torch.eye(6)[0], "tree": torch.eye(6)[1]}
    save_text_head(head, words, tmp_path / "text", {"encoder": "minilm"})
    saved = load_text_head(tmp_path / "text")
    assert list(saved.words) == ["car", "tree"]
    assert torch.equal(saved.words["tree"], words["tree"])
    assert saved.card["encoder"] == "minilm"
    features, texts = torch.randn(1, 256, 5, 5), torch.randn(2, 6)
    assert torch.allclose(
        saved.head(saved.head.look(features), texts), head(head.look(features), texts), atol=0.02, rtol=0.02
    )
    assert not saved.head.training


def test_a_damaged_head_is_named(head: TextHead, tmp_path: Path) -> None:
    folder = tmp_path / "text"
    save_text_head(head, {"car": torch.ones(6)}, folder, {})
    card = json.loads((folder / CARD_FILE).read_text())
    (folder / CARD_FILE).write_text(json.dumps(card | {"words": ["car", "tree"]}))
    with pytest.raises(InputError, match=r"text: a damaged text head \(zip"):
        load_text_head(folder)
    (folder / WEIGHTS_FILE).write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"text: a damaged text head \(the weights are not those"):
        load_text_head(folder)
