"""How much memory a training takes, worked out before its first step."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from model.encoders import ImageEmbedding
from model.sam import Sam
from model.training.config import Phase, TrainingConfig
from model.training.losses import interaction_loss

PIXELS_AT_ONCE = 512 * 512  # on a CPU
_MIB = 2**20
_META = torch.device("meta")


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes on the device of one process.

    batch: pictures and masks of a step. encoder, decoder: what the forward passes keep for the backward pass, of
    `images_at_once` pictures and of `masks_at_once` masks in one round. The decoder's is freed after each round of each
    group of masks, so more masks a picture take more time, not more memory.
    """

    weights: int
    gradients: int
    optimizer: int
    average: int
    batch: int
    encoder: int
    decoder: int

    @property
    def total(self) -> int:
        return sum(asdict(self).values())

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {size / _MIB:,.0f}" for name, size in asdict(self).items())
        return f"memory plan: {self.total / _MIB:,.0f} MiB of tensors ({parts}); torch and its allocator come on top"


def plan_memory(sam: Sam, config: TrainingConfig, *, processes: int = 1) -> MemoryPlan:
    """Work out what the largest phase takes, by its passes on the "meta" device, which computes shapes alone.

    processes: over how many the pictures of a step are divided. Reckoned in fp32 and with plain attention: autocast and
    fused attention keep less.
    """
    with _META:
        shadow = Sam(sam.config)
    shadow.train()
    shadow.image_encoder.requires_grad_(not config.freeze_encoder)
    shadow.image_encoder.checkpoint_activations = config.checkpoint_activations
    sides = [phase.input_size_px or sam.image_size for phase in config.phases]
    device = sam.device.type
    phases = [_phase(shadow, config, *each, processes, device) for each in zip(config.phases, sides, strict=True)]
    weights = _bytes(shadow.state_dict().values())
    gradients = _bytes(parameter for parameter in shadow.parameters() if parameter.requires_grad)
    batch, encoder, decoder = (max(sizes) for sizes in zip(*phases, strict=True))
    average = weights if config.ema_decay is not None else 0
    return MemoryPlan(weights, gradients, 2 * gradients, average, batch, encoder, decoder)


def images_at_once(sam: Sam, config: TrainingConfig, *, side_px: int, device: str) -> int | None:
    """How many pictures of a step, side_px a side, go through the encoder in one pass; None for all of them.

    Where `config` leaves it open it is as many as have PIXELS_AT_ONCE on the CPU, which is no faster with several large
    ones: a step of `retrain` with `nano` took 5.8 s of processor time in a process of 1,425 MiB, and 5.7 s in one of
    3,915 MiB with its four at once.
    """
    if config.images_at_once is None and device == "cpu" and not sam.image_encoder.mixes_pictures:
        return max(1, PIXELS_AT_ONCE // side_px**2)
    return config.images_at_once


def _phase(
    shadow: Sam, config: TrainingConfig, phase: Phase, side: int, processes: int, device: str
) -> tuple[int, int, int]:
    """Bytes of batch, encoder and decoder; device: where the real model trains."""
    if side != shadow.image_size:
        shadow.set_input_size(side)
    own = -(-phase.batch_size // processes)
    images = min(images_at_once(shadow, config, side_px=side, device=device) or own, own)
    masks = min(config.masks_at_once, images * phase.masks_per_image)
    with torch.device(_META):
        with torch.set_grad_enabled(not config.freeze_encoder), _kept(shadow) as encoder:
            embedding = shadow.encode(shadow.preprocess(torch.zeros(images, 3, side, side, dtype=torch.uint8)))
        leaves = ImageEmbedding(*_leaves(embedding))
        with _kept(shadow) as decoder:
            _decode(shadow, leaves, masks, points=2 + phase.correction_points)
    return own * side * side * (3 + phase.masks_per_image), encoder.bytes, decoder.bytes


def _decode(shadow: Sam, embedding: ImageEmbedding, masks: int, *, points: int) -> None:
    side = shadow.prompt_encoder.mask_input_size[0]
    sparse = shadow.prompt_encoder.embed_points(torch.zeros(masks, points, 2), torch.zeros(masks, points).long())
    dense = shadow.prompt_encoder.embed_masks(torch.zeros(masks, 1, side, side), masks)
    image_index = torch.zeros(masks, dtype=torch.long)
    answer = shadow.decode_tokens(embedding, sparse, dense, image_index=image_index, multimask_output=True)
    targets = torch.zeros(masks, *answer.logits.shape[-2:])
    interaction_loss(logits=answer.logits, predicted_iou=answer.predicted_iou, targets=targets)


class _Kept:
    bytes = 0


@contextmanager
def _kept(shadow: Sam) -> Iterator[_Kept]:
    """Counts the storages, other than parameters, that the passes in the `with` block keep for the backward pass."""
    kept, own = _Kept(), {parameter.untyped_storage()._cdata for parameter in shadow.parameters()}
    seen: dict[int, Tensor] = {}  # holds them, so that no address comes twice

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own and storage._cdata not in seen:
            seen[storage._cdata] = tensor
            kept.bytes += storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        yield kept


def _leaves(embedding: ImageEmbedding) -> tuple[Tensor, tuple[Tensor, ...]]:
    features, *high_res = (part.detach().requires_grad_() for part in (embedding.features, *embedding.high_res))
    return features, tuple(high_res)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
