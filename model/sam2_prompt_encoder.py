"""The prompt encoder of SAM 2: SAM's weights, and boxes that are two points among the others."""

import torch
from torch import Tensor

from model.prompt_encoder import BOX_CORNERS, PromptEncoder

_LARGEST_LOGIT = 32.0  # of a mask that comes back as a prompt, as published


class Sam2PromptEncoder(PromptEncoder):
    """A box comes before the points of its prompt, and a padding point ends them all."""

    def embed_sparse(self, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None, count: int) -> Tensor:
        """Tokens (N, T, C), T = P + 1 for points alone, P + 3 with a box, 0 for masks alone."""
        if boxes is None:
            return super().embed_sparse(points, None, count)
        corners = torch.tensor(BOX_CORNERS, device=boxes.device).expand(count, -1)
        coords, labels = boxes.reshape(-1, 2, 2), corners
        if points is not None:
            coords, labels = torch.cat([coords, points[0]], dim=1), torch.cat([labels, points[1]], dim=1)
        return super().embed_sparse((coords, labels), None, count)

    def embed_masks(self, masks: Tensor | None, count: int) -> Tensor:
        return super().embed_masks(masks if masks is None else _bounded(masks), count)

    def mask_factors(self, masks: Tensor) -> Tensor:
        return super().mask_factors(_bounded(masks))


def _bounded(masks: Tensor) -> Tensor:
    return masks.clamp(-_LARGEST_LOGIT, _LARGEST_LOGIT)
