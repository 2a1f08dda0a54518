"""CLIP as a text encoder, beside the published code: a small one with random weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from model.clip import Clip, import_transformers
from model.text_encoders import PictureTextEncoder
from schemas.errors import InputError
from tests.peers.hugging_face import transformers_or_skip, write_clip


@pytest.fixture(scope="module")
def transformers() -> Any:
    return transformers_or_skip()


@pytest.fixture(scope="module")
def folder(transformers: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip"), transformers)


def picture(seed: int, side: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def test_texts_as_the_published_code_embeds_them(folder: Path, transformers: Any) -> None:
    clip = Clip(folder)
    assert isinstance(clip, PictureTextEncoder)
    found = clip.encode(["car", "tree car car", "tree"])
    peer = transformers.CLIPModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for row, text in enumerate(["car", "tree car car", "tree"]):
        tokens = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.no_grad():
            output = peer(
                input_ids=tokens, pixel_values=torch.zeros(1, 3, 32, 32), attention_mask=torch.ones_like(tokens)
            )
        assert torch.allclose(found[row], F.normalize(output.text_embeds, dim=1)[0], atol=1e-5)


def test_pictures_as_the_published_code_embeds_them(folder: Path, transformers: Any) -> None:
    image = picture(0)
    peer = transformers.CLIPModel.from_pretrained(folder).eval()
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    pixels = torch.from_numpy((image / 255 - mean) / std).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        output = peer(input_ids=torch.tensor([[0, 1]]), pixel_values=pixels)
    found = Clip(folder).encode_pictures([image, picture(1, side=50)])
    assert found.shape == (2, 8)
    assert torch.allclose(found[0], F.normalize(output.image_embeds, dim=1)[0], atol=1e-5)


def test_in_the_last_layer_only_the_mask_is_seen(folder: Path) -> None:
    clip = Clip(folder)
    image, mask = picture(0), np.zeros((32, 32), dtype=bool)
    mask[:8, :8] = True
    whole, left = clip.encode_pictures([image], [~(mask & ~mask)]), clip.encode_pictures([image], [mask])
    assert torch.allclose(whole, clip.encode_pictures([image]), atol=1e-6)
    assert not torch.allclose(whole, left, atol=1e-3)
    assert torch.allclose(clip.encode_pictures([image], [np.zeros_like(mask)]), whole, atol=1e-6)
    together = clip.encode_pictures([image, image], [mask, ~(mask & ~mask)])
    assert torch.allclose(together, torch.cat([left, whole]), atol=1e-5)


def test_what_is_no_clip_is_one_line(transformers: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="clip has no weights of its own; give their folder: --encoder-weights DIR"):
        Clip()
    with pytest.raises(InputError, match=r"holds no model.safetensors or pytorch_model.bin"):
        Clip(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="not a CLIP as Hugging Face saves it") as error:
        Clip(tmp_path)
    assert "\n" not in str(error.value)


def test_without_the_package_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(
        InputError, match=r"clip needs the package transformers; .* 'sam-data-engine\[open-vocabulary\]'"
    ):
        import_transformers("the text encoder clip")
