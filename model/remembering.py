"""A model that learned new kinds of pictures and remembers the one that it was: nothing of the old is forgotten.

Where pictures of a new kind are to be learned well, whatever a single set of weights gains on them it loses on others
(benchmarks/results/loop.md). So the weights before are kept inside and answer, unchanged, for every picture that looks
more like those that they know (as prompts of domains do in S-Prompts, arXiv 2207.12819). Which of the two a picture
belongs to is decided once, when it is encoded.

Shapes: B images, N prompts, as in `model.sam`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from model.config import SamConfig
from model.encoders import ImageEmbedding
from model.folded_image import SharedImage
from model.mask_decoder import MaskPrediction
from model.promptable import PromptedMasks
from model.recogniser import Recogniser, describe
from model.sam import Sam, build_sam

REMEMBERED = "remembered."  # begins the names of weights of the model inside
_MEMORY = (REMEMBERED, "recogniser.")


class RememberingSam(Sam):
    """`Sam` with what it learned as its own weights, and `remembered`, the model before, inside.

    remembered: may itself remember another one. recogniser: tells which pictures are of the kinds that were learned.
    """

    def __init__(self, config: SamConfig) -> None:
        """Raises ValueError where the configuration names no model to remember."""
        super().__init__(config)
        if config.remembers is None:
            raise ValueError("config.remembers is None: there is no model to remember")
        self.remembered = build_sam(config.remembers)
        self.recogniser = Recogniser()

    def set_input_size(self, side_px: int) -> None:
        """As `Sam.set_input_size`, of the model inside, too."""
        super().set_input_size(side_px)
        self.remembered.set_input_size(side_px)

    def learn(self, weights: Mapping[str, Tensor]) -> None:
        """Take the weights of a model without memory as its own; what it remembers stays as it is."""
        memory = {name: value for name, value in self.state_dict().items() if name.startswith(_MEMORY)}
        self.load_state_dict({**weights, **memory})

    def takes_for_new(self, pixels: Tensor) -> Tensor:
        """(B,) bool: whether each picture is of a kind that was learned; the model inside answers for all others."""
        is_new: Tensor = self.recogniser(describe(self, pixels))
        return is_new

    def encode(self, pixels: Tensor) -> ImageEmbedding:
        """As `Sam.encode`; pictures of kinds that were known before are encoded by the model inside."""
        new = self.takes_for_new(pixels)
        parts = []
        if bool(new.any()):
            parts.append(_with_depth(super().encode(pixels[new]), deeper=0))
        if not bool(new.all()):
            parts.append(_with_depth(self.remembered.encode(pixels[~new]), deeper=1))
        if len(parts) == 1:
            return parts[0]
        order = torch.cat([new.nonzero()[:, 0], (~new).nonzero()[:, 0]]).argsort()
        features, depth, *finer = (
            torch.cat(tensors)[order]
            for tensors in zip(*((part.features, part.depth, *part.high_res) for part in parts), strict=True)
        )
        return ImageEmbedding(features, tuple(finer), depth=depth)

    def decode(
        self,
        embedding: ImageEmbedding,
        *,
        points: tuple[Tensor, Tensor] | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        image_index: Tensor | None = None,
        multimask_output: bool,
    ) -> MaskPrediction:
        """As `Sam.decode`, each prompt by the model that encoded its image."""
        own, inner = _own(embedding), _inner(embedding)
        prompts: dict[str, Any] = {"points": points, "boxes": boxes, "masks": masks}
        more: dict[str, Any] = {"image_index": image_index, "multimask_output": multimask_output}
        if bool(own.all()):
            return super().decode(embedding, **prompts, **more)
        if image_index is None or not bool(own.any()):
            return self.remembered.decode(inner, **prompts, **more)
        ours = own[image_index]
        answers = []
        for chosen, decode, of_image in (
            (ours, super().decode, embedding),
            (~ours, self.remembered.decode, inner),
        ):
            more["image_index"] = image_index[chosen]
            answers.append(decode(of_image, **{name: _some(value, chosen) for name, value in prompts.items()}, **more))
        order = torch.cat([ours.nonzero()[:, 0], (~ours).nonzero()[:, 0]]).argsort()
        logits, predicted_iou = (torch.cat(values)[order] for values in zip(*answers, strict=True))
        return MaskPrediction(logits, predicted_iou)

    def precompute(
        self,
        embedding: ImageEmbedding,
        *,
        dtype: torch.dtype = torch.float32,
        shown_hw: tuple[int, int] | None = None,
    ) -> SharedImage:
        """As `Sam.precompute`, by the model that encoded the image."""
        if bool(_own(embedding).all()):
            return super().precompute(embedding, dtype=dtype, shown_hw=shown_hw)
        shared = self.remembered.precompute(_inner(embedding), dtype=dtype, shown_hw=shown_hw)
        return replace(shared, depth=shared.depth + 1)

    def prompt(
        self,
        image: SharedImage,
        *,
        points: tuple[Tensor, Tensor] | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        multimask_output: bool,
    ) -> PromptedMasks:
        """As `Sam.prompt`, by the model that encoded the image."""
        prompts: dict[str, Any] = {"points": points, "boxes": boxes, "masks": masks}
        if image.depth == 0:
            return super().prompt(image, **prompts, multimask_output=multimask_output)
        inner = replace(image, depth=image.depth - 1)
        return self.remembered.prompt(inner, **prompts, multimask_output=multimask_output)


def remembering(learned: Sam, remembered: Sam, recogniser: Recogniser) -> RememberingSam:
    """A model that answers as `learned` for pictures that the recogniser calls new, and as `remembered` for others.

    learned: a model without memory. All weights are copied. Raises ValueError where the two see pictures otherwise.
    """
    sam = RememberingSam(replace(learned.config, remembers=remembered.config)).to(learned.device)
    sam.remembered.load_state_dict(remembered.state_dict())
    sam.recogniser.load_state_dict(recogniser.state_dict())
    sam.learn(learned.state_dict())
    return sam.eval()


def newest(sam: Sam) -> Sam:
    """What a model that remembers others learned last, as a model without memory, which can be trained.

    Any other model itself.
    """
    if sam.config.remembers is None:
        return sam
    learned = build_sam(replace(sam.config, remembers=None)).to(sam.device)
    learned.load_state_dict({name: value for name, value in sam.state_dict().items() if not name.startswith(_MEMORY)})
    return learned


def _own(embedding: ImageEmbedding) -> Tensor:
    """(B,) bool: whether the outermost model encoded each image."""
    if embedding.depth is None:
        raise ValueError("this embedding does not say which model made it; encode the picture again")
    return embedding.depth == 0


def _inner(embedding: ImageEmbedding) -> ImageEmbedding:
    """The same as the model inside knows it."""
    return embedding if embedding.depth is None else embedding._replace(depth=embedding.depth - 1)


def _with_depth(embedding: ImageEmbedding, *, deeper: int) -> ImageEmbedding:
    images = len(embedding.features)
    depth = embedding.features.new_zeros(images, dtype=torch.int64) if embedding.depth is None else embedding.depth
    return embedding._replace(depth=depth + deeper)


def _some(prompts: Any, chosen: Tensor) -> Any:
    """Part of the prompts of one kind, by a mask (N,)."""
    if isinstance(prompts, tuple):
        return tuple(each[chosen] for each in prompts)
    return None if prompts is None else prompts[chosen]
