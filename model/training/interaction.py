"""The simulated annotator of SAM's training (paper, appendix A): first a point or a box, then corrections.

Shapes: N masks over all pictures of a batch, S side of the square input, (h, w) side of the decoder's logits.
Points are (x, y) in pixels of the square input.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from model.encoders import ImageEmbedding
from model.geometry import mask_boxes
from model.mask_decoder import MaskPrediction
from model.prompt_encoder import BOX_CORNERS, NOT_A_POINT
from model.sam import Sam
from model.training import mask_prompts
from model.training.regions import resize_masks, uniform_points

BOX_NOISE_FRAC = 0.1
BOX_NOISE_MAX_PX = 20.0

RoundKind = Literal["first", "mask", "mask_and_prompt", "point", "mask_only"]
MASK_FIRST: tuple[RoundKind, ...] = ("mask", "mask_and_prompt")


@dataclass(frozen=True)
class Draws:
    """Every random number that the interaction with N masks takes, drawn beforehand.

    So what is asked of a mask follows from its picture's seed alone, however masks are dealt out among processes and
    passes. first: (N, 2) uniform, point or box and which pixel. box_noise: (N, 4) normal. corrections: (N, C, 3)
    uniform, which pixel of the error and where in that pixel. mask_prompts: (N, `mask_prompts.DRAWS`) uniform.
    """

    first: Tensor
    box_noise: Tensor
    corrections: Tensor
    mask_prompts: Tensor

    @staticmethod
    def of_picture(masks: int, corrections: int, *, seed: int) -> "Draws":
        """The numbers for the masks of one picture."""
        generator = torch.Generator().manual_seed(seed)
        return Draws(
            torch.rand(masks, 2, generator=generator),
            torch.randn(masks, 4, generator=generator),
            torch.rand(masks, corrections, 3, generator=generator),
            torch.rand(masks, mask_prompts.DRAWS, generator=generator),
        )

    @staticmethod
    def joined(parts: "Sequence[Draws]") -> "Draws":
        """The numbers of several pictures in a row."""
        return Draws(
            torch.cat([part.first for part in parts]),
            torch.cat([part.box_noise for part in parts]),
            torch.cat([part.corrections for part in parts]),
            torch.cat([part.mask_prompts for part in parts]),
        )

    def part(self, which: slice, device: torch.device) -> "Draws":
        """Those of some of the masks, on a device."""
        numbers = (self.first, self.box_noise, self.corrections, self.mask_prompts)
        return Draws(*(each[which].to(device) for each in numbers))


@dataclass(frozen=True)
class Round:
    """One round of the interaction with N masks, as it happened.

    prompts: all points and boxes asked so far. fed_back: (N, h, w) logits that went in as mask prompt, None in a first
    round without a mask. prediction: three masks in that round, one in all others. handed_on: (N, h, w) logits of the
    mask with the highest predicted IoU, without gradient: what the next round starts from.
    """

    kind: RoundKind
    prompts: "Prompts"
    fed_back: Tensor | None
    prediction: MaskPrediction
    handed_on: Tensor


def interact(
    sam: Sam,
    image: ImageEmbedding,
    masks: Tensor,
    image_index: Tensor,
    *,
    rounds: Sequence[RoundKind],
    draws: Draws,
    box_prob: float,
) -> Iterator[Round]:
    """Prompt, predict and correct, round by round. Back-propagate a round's loss before the next one is asked for.

    image: the B encoded pictures. masks: (N, S, S) bool, none empty. image_index: (N,), the picture of each mask.
    One point or box is ambiguous and gets three masks; a mask, or more than one prompt, is answered by the fourth
    token. rounds: as `plan_rounds` makes them; where a mask comes first it is the true one, degraded at random.
    """
    prompts = first_prompts(masks, box_prob=box_prob, draws=draws)
    fed_back: Tensor | None = None
    if rounds[0] in MASK_FIRST:
        size = sam.prompt_encoder.mask_input_size
        fed_back = mask_prompts.degraded_masks(masks, size, uniform=draws.mask_prompts)
    if rounds[0] == "mask":
        prompts = Prompts(prompts.coords[:, :0], prompts.labels[:, :0])
    corrected = 0
    for kind in rounds:
        if kind == "point" and fed_back is not None:
            prompts = prompts.add(*correction_points(masks, fed_back, uniform=draws.corrections[:, corrected]))
            corrected += 1
        sparse = sam.prompt_encoder.embed_points(prompts.coords, prompts.labels)
        dense = sam.prompt_encoder.embed_masks(None if fed_back is None else fed_back[:, None], 1)
        answer = sam.decode_tokens(image, sparse, dense, image_index=image_index, multimask_output=fed_back is None)
        prediction = MaskPrediction(answer.logits.float(), answer.predicted_iou.float())
        best = prediction.predicted_iou.detach().argmax(1)
        handed_on = prediction.logits.detach()[torch.arange(len(best), device=best.device), best]
        yield Round(kind, prompts, fed_back, prediction, handed_on)
        fed_back = handed_on


def plan_rounds(
    *, correction_points: int, mask_only_rounds: bool, mask_first_prob: float = 0.0, generator: torch.Generator
) -> list[RoundKind]:
    """Kinds of the rounds of one step: with 8 correction points and mask-only rounds, the paper's eleven.

    One mask-only round comes last and one at a random place among the correction points.
    mask_first_prob: how often a step starts from a mask instead of from a point or a box; alone or with one of them,
    half each.
    """
    rounds: list[RoundKind] = ["point"] * correction_points
    if mask_only_rounds and correction_points:
        rounds.insert(int(torch.randint(correction_points, (), generator=generator)), "mask_only")
        rounds.append("mask_only")
    first: RoundKind = "first"
    if mask_first_prob and (drawn := float(torch.rand((), generator=generator))) < mask_first_prob:
        first = MASK_FIRST[drawn < mask_first_prob / 2]
    return [first, *rounds]


@dataclass(frozen=True)
class Prompts:
    """What has been asked of each mask: coords (N, P, 2), labels (N, P) as `PromptEncoder.embed_points` reads them."""

    coords: Tensor
    labels: Tensor

    def add(self, points: Tensor, labels: Tensor) -> "Prompts":
        """With one more point each: points (N, 2), labels (N,); the first of all brings its padding along."""
        coords, kinds = [points[:, None]], [labels[:, None]]
        if self.labels.shape[1] == 0:
            coords.append(torch.zeros_like(coords[0]))
            kinds.append(torch.full_like(kinds[0], NOT_A_POINT))
        return Prompts(torch.cat([self.coords, *coords], 1), torch.cat([self.labels, *kinds], 1))


def first_prompts(masks: Tensor, *, box_prob: float, draws: Draws) -> Prompts:
    """A point or a noisy box for each mask, each in two tokens: a point and its padding, or two corners.

    masks: (N, S, S) bool, none empty.
    """
    points = uniform_points(masks, uniform=draws.first[:, 1])
    boxes = noisy_boxes(mask_boxes(masks).float(), side_px=masks.shape[-1], normal=draws.box_noise).view(-1, 2, 2)
    takes_box = draws.first[:, 0] < box_prob
    coords = torch.where(takes_box[:, None, None], boxes, torch.stack([points, torch.zeros_like(points)], 1))
    kinds = torch.tensor((BOX_CORNERS, (1, NOT_A_POINT)), device=masks.device)
    return Prompts(coords, torch.where(takes_box[:, None], kinds[0], kinds[1]))


def correction_points(masks: Tensor, logits: Tensor, *, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """A point in each mask's error region, uniform: foreground where the prediction misses, background where it spills.

    masks: (N, S, S) bool. logits: (N, h, w) of the previous prediction, compared at their own resolution; the point
    is uniform within the pixel that was drawn. Where there is no error, a foreground point uniform in the mask.
    uniform: (N, 3) in [0, 1): which pixel, and where in it.
    Returns points (N, 2) and labels (N,), 1 or 0.
    """
    truth = resize_masks(masks, logits.shape[-2:])
    errors = truth ^ (logits > 0)
    perfect = ~errors.flatten(1).any(1)
    anywhere = truth | ~truth.flatten(1).any(1)[:, None, None]
    cells = uniform_points(torch.where(perfect[:, None, None], anywhere, errors), uniform=uniform[:, 0])
    columns, rows = cells.long().unbind(1)
    labels = truth[torch.arange(len(masks), device=masks.device), rows, columns].long()
    scale = masks.shape[-1] / logits.shape[-1]
    return (cells + uniform[:, 1:]) * scale - 0.5, torch.where(perfect, torch.ones_like(labels), labels)


def noisy_boxes(boxes: Tensor, *, side_px: int, normal: Tensor) -> Tensor:
    """Boxes (N, 4) XYXY with normal noise: deviation 10 % of the box's side, at most 20 px, kept on the picture.

    normal: (N, 4), standard normal.
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    noise = normal * BOX_NOISE_FRAC * sides
    return (boxes + noise.clamp(-BOX_NOISE_MAX_PX, BOX_NOISE_MAX_PX)).clamp(0, side_px - 1)
