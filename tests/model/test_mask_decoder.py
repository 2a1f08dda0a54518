"""The mask decoder's way for prompts on several images: what they share is computed once, and nothing changes by it."""

import torch

from model.config import SamConfig
from model.encoder_configs import EfficientNetConfig
from model.sam import Sam, build_sam


def _sam() -> Sam:
    torch.manual_seed(0)
    config = SamConfig(EfficientNetConfig(width=0.25, depth=0.3, img_size=64), high_res_features=True)
    sam = build_sam(config).double()
    sam.prompt_encoder.pe_layer.float()  # positions are computed in 32 bits
    return sam


def test_prompts_without_masks_share_the_first_layer_of_their_image() -> None:
    sam = _sam()
    with torch.no_grad():
        embedding = sam.encode(torch.randn(3, 3, 64, 64, dtype=torch.float64))
    index = torch.tensor([0, 0, 2, 1, 2])
    sparse = torch.randn(5, 2, 256, dtype=torch.float64)
    found = []
    for count in (1, 5):
        sam.zero_grad()
        dense = sam.prompt_encoder.embed_masks(None, count)
        answer = sam.decode_tokens(embedding, sparse, dense, image_index=index, multimask_output=True)
        (answer.logits.square().mean() + answer.predicted_iou.sum()).backward()
        grads = {name: each.grad for name, each in sam.named_parameters() if each.grad is not None}
        found.append((answer, grads))
    (shared, shared_grads), (each, grads) = found
    torch.testing.assert_close(shared.logits, each.logits, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(shared.predicted_iou, each.predicted_iou, rtol=1e-9, atol=1e-9)
    assert shared_grads.keys() == grads.keys()
    for name, grad in grads.items():
        torch.testing.assert_close(shared_grads[name], grad, rtol=1e-7, atol=1e-9, msg=name)


def test_the_order_of_prompts_says_nothing_about_their_images() -> None:
    sam = _sam()
    with torch.no_grad():
        embedding = sam.encode(torch.randn(2, 3, 64, 64, dtype=torch.float64))
        sparse, dense = torch.randn(3, 2, 256, dtype=torch.float64), sam.prompt_encoder.embed_masks(None, 1)
        index = torch.tensor([1, 0, 1])
        mixed = sam.decode_tokens(embedding, sparse, dense, image_index=index, multimask_output=False)
        for row, image in enumerate(index.tolist()):
            alone = sam.decode_tokens(
                embedding, sparse[row : row + 1], dense, image_index=torch.tensor([image]), multimask_output=False
            )
            torch.testing.assert_close(mixed.logits[row], alone.logits[0], rtol=1e-9, atol=1e-9)
