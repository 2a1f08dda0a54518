"""How SAM 2 lays out boxes and points; tests/model/test_hiera.py compares the numbers with the package."""

import torch

from model.sam2_prompt_encoder import Sam2PromptEncoder


def made() -> Sam2PromptEncoder:
    torch.manual_seed(0)
    return Sam2PromptEncoder(embed_dim=8, image_embedding_size=(4, 4), input_image_size=(64, 64), mask_in_chans=16)


@torch.no_grad()
def test_a_box_comes_first_then_points_then_padding() -> None:
    encoder, points = made(), (torch.tensor([[[5.0, 6.0]], [[7.0, 8.0]]]), torch.tensor([[1], [0]]))
    boxes = torch.tensor([[1.0, 2.0, 30.0, 40.0], [3.0, 4.0, 50.0, 60.0]])
    found = encoder.embed_sparse(points, boxes, 2)
    corners = encoder.embed_points(boxes.reshape(-1, 2, 2), torch.tensor([[2, 3], [2, 3]]))
    padding = encoder.not_a_point_embed.weight.expand(2, 1, -1)
    assert torch.equal(found, torch.cat([corners, encoder.embed_points(*points), padding], dim=1))
    assert torch.equal(encoder.embed_sparse(None, boxes, 2), torch.cat([corners, padding], dim=1))
    assert torch.equal(encoder.embed_sparse(points, None, 2), found[:, 2:])
    assert encoder.embed_sparse(None, None, 2).shape == (2, 0, 8)


@torch.no_grad()
def test_logits_of_masks_count_up_to_32() -> None:
    encoder, masks = made(), torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    for scale, as_bounded in ((8.0, True), (40.0, False)):
        bounded = (scale * masks).clamp(-32, 32)
        assert torch.equal(bounded, scale * masks) == as_bounded
        assert torch.equal(encoder.embed_masks(scale * masks, 2), encoder.embed_masks(bounded, 2))
        assert torch.equal(encoder.mask_factors(scale * masks), encoder.mask_factors(bounded))
    assert encoder.embed_masks(None, 2).shape == (2, 8, 4, 4)
