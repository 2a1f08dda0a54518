"""Where training starts from: a decoder that is made deeper or shallower."""

import torch

from model.sam import build_sam
from model.training.initialise import with_decoder_depth
from tests.stages.workspaces import TINY


def test_new_decoder_layers_start_as_copies_of_the_last() -> None:
    torch.manual_seed(0)
    sam = build_sam(TINY)
    deeper = with_decoder_depth(sam, 4)
    assert deeper.config.decoder_depth == len(deeper.mask_decoder.transformer.layers) == 4
    before, after = sam.state_dict(), deeper.state_dict()
    for name, value in after.items():
        old = name.replace("layers.2.", "layers.1.").replace("layers.3.", "layers.1.")
        torch.testing.assert_close(value, before[old if "transformer.layers" in name else name], rtol=0, atol=0)
    shallower = with_decoder_depth(deeper, 2)
    assert all(torch.equal(value, before[name]) for name, value in shallower.state_dict().items())


def test_a_decoder_of_the_right_depth_is_left_alone() -> None:
    sam = build_sam(TINY)
    assert with_decoder_depth(sam, None) is sam
    assert with_decoder_depth(sam, 2) is sam
