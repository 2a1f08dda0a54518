"""Small models with random weights in the form of Hugging Face, made by the package transformers itself."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

BERT_WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", "car", "red", "tree", "traffic", "light", "##s"]
_CLIP_WORDS = ["c", "a", "r", "t", "e", "c</w>", "a</w>", "r</w>", "t</w>", "e</w>", "car</w>", "tree</w>"]


def transformers_or_skip() -> Any:
    """The package transformers, which must not take the stand-in that tests have for torchvision for the real one."""
    with pytest.MonkeyPatch.context() as hidden:
        for name in [each for each in sys.modules if each.partition(".")[0] == "torchvision"]:
            hidden.delitem(sys.modules, name)
        transformers = pytest.importorskip("transformers", reason="pip install transformers")
        transformers.utils.import_utils.is_torchvision_available()  # keeps its answer
    return transformers


def write_clip(folder: Path, transformers: Any) -> Path:
    """A CLIP of two layers, 32 px pictures of 4 x 4 patches and 8 numbers a text."""
    tokenizers = __import__("tokenizers")
    torch.manual_seed(0)
    both = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    words = {word: number for number, word in enumerate(["<|startoftext|>", "<|endoftext|>", *_CLIP_WORDS])}
    text = {**both, "vocab_size": len(words), "max_position_embeddings": 12, "bos_token_id": 0, "eos_token_id": 1}
    config = transformers.CLIPConfig(
        text_config={**text, "projection_dim": 8},
        vision_config={**both, "image_size": 32, "patch_size": 8, "projection_dim": 8},
        projection_dim=8,
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="e</w>"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    raw.normalizer = tokenizers.normalizers.Lowercase()
    ends = [("<|startoftext|>", 0), ("<|endoftext|>", 1)]
    raw.post_processor = tokenizers.processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>", special_tokens=ends
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token=ends[0][0], eos_token=ends[1][0], pad_token=ends[1][0], unk_token="[UNK]"
    )
    fast.save_pretrained(folder)
    return folder


def write_grounding_dino(folder: Path, transformers: Any) -> Path:
    """A small Grounding DINO with 20 queries."""
    torch.manual_seed(0)
    text = transformers.BertConfig(
        vocab_size=len(BERT_WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    picture = transformers.SwinConfig(
        image_size=32,
        embed_dim=8,
        depths=[1, 1, 1],
        num_heads=[1, 1, 1],
        window_size=4,
        out_features=["stage2", "stage3"],
    )
    config = transformers.GroundingDinoConfig(
        backbone_config=picture,
        text_config=text,
        num_queries=20,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_feature_levels=2,
        encoder_n_points=2,
        decoder_n_points=2,
        max_text_len=256,
    )
    transformers.GroundingDinoForObjectDetection(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(BERT_WORDS) + "\n")
    return folder
