"""The mask decoder of SAM 2 for pictures (arXiv 2408.00714, section 4 and appendix D.1).

SAM's, with finer features of the encoder, a token that tells whether there is an object, and predicted IoUs in [0, 1].
Shapes as in `model.mask_decoder`.
"""

import torch
from torch import Tensor, nn

from model.mask_decoder import MLP, MaskDecoder, MaskPrediction
from model.transformer import TwoWayTransformer

_STABILITY_OFFSET, _STABLE = 0.05, 0.98  # as published


class Sam2MaskDecoder(MaskDecoder):
    """Where one mask is asked for and it is unstable, the best of the three takes its place, but not in training."""

    iou_place = 1

    def __init__(
        self, *, transformer_dim: int, transformer: TwoWayTransformer, high_res_chans: tuple[int, int] | None
    ) -> None:
        super().__init__(transformer_dim=transformer_dim, transformer=transformer, high_res_chans=high_res_chans)
        self.obj_score_token = nn.Embedding(1, transformer_dim)
        self.pred_obj_score_head = MLP(transformer_dim, transformer_dim, 1, 3)  # for videos: pictures do not ask it

    @property
    def output_tokens(self) -> Tensor:
        return torch.cat([self.obj_score_token.weight, super().output_tokens])

    def predict_iou(self, tokens: Tensor) -> Tensor:
        return super().predict_iou(tokens).sigmoid()

    def chosen(self, multimask_output: bool) -> slice:
        return super().chosen(multimask_output) if multimask_output or self.training else slice(None)

    def settled(self, computed: MaskPrediction) -> MaskPrediction:
        return stable_mask(computed) if computed.predicted_iou.shape[1] == self.num_mask_tokens else computed


def stable_mask(four: MaskPrediction) -> MaskPrediction:
    """Of the single mask and the three (N, 4, h, w): the single one where it is stable, else the best of the three."""
    single, rows = four.logits[:, 0], torch.arange(len(four.logits), device=four.logits.device)
    sure = (single > _STABILITY_OFFSET).sum(dim=(1, 2))
    perhaps = (single > -_STABILITY_OFFSET).sum(dim=(1, 2))
    stable = (perhaps == 0) | (sure.float() / perhaps >= _STABLE)
    place = torch.where(stable, 0, 1 + four.predicted_iou[:, 1:].argmax(dim=1))
    return MaskPrediction(four.logits[rows, place][:, None], four.predicted_iou[rows, place][:, None])
