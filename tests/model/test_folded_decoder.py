"""The folded decoder against the plain one: equal up to rounding for any prompts."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.config import SamConfig
from model.encoder_configs import EfficientNetConfig, HieraConfig, ViTConfig
from model.encoders import ImageEmbedding
from model.sam import Sam, build_sam
from tests.peers.published import draw_weights

SIDE = 96
VIT = ViTConfig(32, 1, 2, global_attn_indexes=(0,), img_size=SIDE, window_size=3)
HIERA = HieraConfig(8, 1, (1, 1, 1, 1), global_attn_indexes=(2,), window_sizes=(8, 4, 4, 2), img_size=SIDE)
MODELS = {
    "published": SamConfig(VIT),
    "three layers": SamConfig(VIT, decoder_depth=3),
    "fine features": SamConfig(EfficientNetConfig(img_size=SIDE), high_res_features=True),
    "sam-hq": SamConfig(VIT, decoder="sam_hq"),
    "sam-hq, its token only": SamConfig(VIT, decoder="sam_hq", hq_token_only=True),
    "sam 2": SamConfig(HIERA, decoder="sam2", high_res_features=True, stretched=True),
}


def small_sam(name: str) -> Sam:
    sam = build_sam(MODELS[name])
    draw_weights(sam, seed=3)
    return sam


SAMS = {name: small_sam(name) for name in MODELS}


def embedding_of(sam: Sam, seed: int) -> ImageEmbedding:
    pixels = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return sam.encode(pixels)


@st.composite
def prompts(draw: st.DrawFn) -> dict[str, Any]:
    """Points with labels, boxes, or both, or masks alone or with either, for one to five prompts."""
    count, seed = draw(st.integers(1, 5)), draw(st.integers(0, 2**20))
    generator = torch.Generator().manual_seed(seed)
    kinds = draw(st.sets(st.sampled_from(["points", "boxes", "masks"]), min_size=1))
    given: dict[str, Any] = {"points": None, "boxes": None, "masks": None}
    if "points" in kinds:
        per_prompt = draw(st.integers(1, 4))
        labels = torch.randint(-1, 2, (count, per_prompt), generator=generator)
        given["points"] = (torch.rand(count, per_prompt, 2, generator=generator) * SIDE, labels)
    if "boxes" in kinds:
        given["boxes"] = torch.rand(count, 2, 2, generator=generator).sort(dim=1).values.flatten(1) * SIDE
    if "masks" in kinds:
        given["masks"] = 8 * torch.randn(count, 1, SIDE // 4, SIDE // 4, generator=generator)
    return given


@torch.no_grad()
def folded_and_plain(
    sam: Sam, embedding: ImageEmbedding, index: Tensor | None, multimask_output: bool, **given: Any
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Predicted IoUs and logits of the masks `index` (None: all), of both decoders."""
    plain = sam.decode(embedding, multimask_output=multimask_output, **given)
    folded = sam.prompt(sam.precompute(embedding), multimask_output=multimask_output, **given)
    index = torch.arange(plain.predicted_iou.numel()) if index is None else index
    return (folded.predicted_iou, folded.logits(index)), (plain.predicted_iou, plain.logits.flatten(0, 1)[index])


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=12, deadline=None)
@given(given_prompts=prompts(), multimask_output=st.booleans(), seed=st.integers(0, 3))
def test_equals_the_plain_decoder_up_to_rounding(
    name: str, given_prompts: dict[str, Any], multimask_output: bool, seed: int
) -> None:
    sam = SAMS[name]
    folded, plain = folded_and_plain(sam, embedding_of(sam, seed), None, multimask_output, **given_prompts)
    assert plain[1].std() > 0.1  # there is something to get wrong
    torch.testing.assert_close(folded[0], plain[0], atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(folded[1], plain[1], atol=2e-4, rtol=1e-4)


@settings(max_examples=20, deadline=None)
@given(index=st.lists(st.integers(0, 11), max_size=8))
def test_logits_come_in_the_order_they_are_asked_for(index: list[int]) -> None:
    sam = SAMS["published"]
    points = (torch.tensor([[[9.0, 20]], [[50, 60]], [[80, 3]], [[40, 40]]]), torch.ones(4, 1, dtype=torch.int64))
    folded, plain = folded_and_plain(
        sam, embedding_of(sam, 0), torch.tensor(index, dtype=torch.int64), True, points=points
    )
    assert folded[1].shape == (len(index), SIDE // 4, SIDE // 4)
    torch.testing.assert_close(folded[1], plain[1], atol=2e-4, rtol=1e-4)


def test_prompts_at_once_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sam = SAMS["three layers"]
    points = (torch.rand(7, 1, 2) * SIDE, torch.ones(7, 1, dtype=torch.int64))
    outputs = []
    for at_once in (1, 3, 100):
        monkeypatch.setattr("model.folded_keys.PROMPTS_AT_ONCE", {"cpu": at_once})
        outputs.append(folded_and_plain(sam, embedding_of(sam, 0), None, True, points=points)[0])
    for found in outputs[1:]:
        torch.testing.assert_close(found, outputs[0], atol=2e-5, rtol=1e-5)


def test_half_precision_gives_nearly_the_same_masks() -> None:
    sam = SAMS["published"]
    embedding = embedding_of(sam, 1)
    points = (
        torch.rand(6, 1, 2, generator=torch.Generator().manual_seed(0)) * SIDE,
        torch.ones(6, 1, dtype=torch.int64),
    )
    with torch.no_grad():
        exact = sam.prompt(sam.precompute(embedding), points=points, multimask_output=True).logits(torch.arange(18))
        half = sam.prompt(sam.precompute(embedding, dtype=torch.bfloat16), points=points, multimask_output=True)
        logits = half.logits(torch.arange(18))
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, exact)
    assert ((logits > 0) == (exact > 0)).float().mean() > 0.97
