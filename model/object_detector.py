"""A one-class object detector on the frozen image embedding: where objects are, not what they are.

The paper prefills masks from the boxes of a detector with one generic category (SAM paper, section 4). This one is
small, fully convolutional and anchor-free, as FCOS is (arXiv 1904.01355): each cell of three grids says how well the
box that it would draw fits an object, and how far the four sides of that box lie from the cell's centre.

Shapes: B images, (H, W) side of the image embedding, K cells of all three grids, finest first and each row by row,
N boxes. Boxes are XYXY, sides in the order left, top, right, bottom.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from model.common import LayerNorm2d
from model.encoded_image import EncodedImage
from model.encoders import EMBEDDING_STRIDE, ImageEmbedding
from model.published import ResizeLongestSide
from model.weights_folder import CARD_FILE as CARD_FILE
from model.weights_folder import damaged, load_weights_folder, save_weights_folder

WEIGHTS_FILE = "detector.safetensors"
DETECTOR_FOLDER = "detector"  # in the folder of a model that has one to begin with
GRIDS = 3
_RARE = -4.6  # logit of 0.01: a cell that has learnt nothing expects no object (arXiv 1708.02002)
_LARGEST_LOG = 5.0  # a side is at most 148 cells away
_NORM_GROUPS = 8


@dataclass(frozen=True)
class DetectorConfig:
    """Size of the detector. in_chans: of the image embedding. fine_chans: of the features at twice its side, 0 where
    the model has none. width, depth: channels and layers of the part that all grids share."""

    in_chans: int
    fine_chans: int = 0
    width: int = 96
    depth: int = 4

    @staticmethod
    def for_embedding(embedding: ImageEmbedding) -> "DetectorConfig":
        """The detector that fits what a model's image encoder makes."""
        fine = embedding.twice_as_fine
        return DetectorConfig(embedding.features.shape[1], 0 if fine is None else fine.shape[1])


class Cells(NamedTuple):
    """centres: (K, 2) (x, y), strides: (K,), side of each cell; both float32, in pixels of the model's input."""

    centres: Tensor
    strides: Tensor


class CellOutput(NamedTuple):
    """objectness: (B, K) logits of the IoU that a cell's box is expected to have with an object.
    distances: (B, K, 4) pixels of the model's input from a cell's centre to the sides of its box, above 0."""

    objectness: Tensor
    distances: Tensor


class Detections(NamedTuple):
    """boxes: (N, 4) float32 in pixels of the picture. scores: (N,) float32 in [0, 1], highest first. On the CPU."""

    boxes: Tensor
    scores: Tensor


class ObjectDetector(nn.Module):
    """Three grids, each with cells twice as large as those of the one before, under shared layers."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.lateral = _normed_projection(config.in_chans, width, 1)
        self.fine = _normed_projection(config.fine_chans, width, 2) if config.fine_chans else None
        self.down = nn.ModuleList(nn.Conv2d(width, width, 3, stride=2, padding=1) for _ in range(GRIDS - 1))
        self.shared = nn.Sequential(*(_layer(width) for _ in range(config.depth)))
        self.objectness = nn.Conv2d(width, 1, 3, padding=1)
        self.log_distances = nn.Conv2d(width, 4, 3, padding=1)
        self.log_scales = nn.Parameter(torch.ones(GRIDS))
        for head in (self.objectness, self.log_distances):
            nn.init.normal_(head.weight, std=0.01)
        nn.init.constant_(self.objectness.bias, _RARE)  # type: ignore[arg-type]
        nn.init.zeros_(self.log_distances.bias)  # type: ignore[arg-type]

    def fits(self, config: DetectorConfig) -> bool:
        """Whether it takes the embeddings that a detector of this configuration takes."""
        return (self.config.in_chans, self.config.fine_chans) == (config.in_chans, config.fine_chans)

    def forward(self, embedding: ImageEmbedding) -> CellOutput:
        """embedding: of B images, with finer features where the detector was made for them."""
        objectness, distances = [], []
        for number, grid in enumerate(self._grids(embedding)):
            shared = self.shared(grid)
            objectness.append(self.objectness(shared).flatten(1))
            logs = (self.log_distances(shared) + self.log_scales[number]).clamp(max=_LARGEST_LOG)
            stride = EMBEDDING_STRIDE * 2**number
            distances.append(stride * logs.exp().flatten(2).transpose(1, 2))
        return CellOutput(torch.cat(objectness, dim=1), torch.cat(distances, dim=1))

    def cells(self, embedding_side: int) -> Cells:
        """The K cells for an embedding of that side."""
        device = self.log_scales.device
        centres, strides = [], []
        for number in range(GRIDS):
            stride = EMBEDDING_STRIDE * 2**number
            along = (torch.arange(-(-embedding_side // 2**number), device=device) + 0.5) * stride
            rows, columns = torch.meshgrid(along, along, indexing="ij")
            centres.append(torch.stack([columns, rows], dim=-1).reshape(-1, 2))
            strides.append(torch.full((len(centres[-1]),), float(stride), device=device))
        return Cells(torch.cat(centres), torch.cat(strides))

    @torch.no_grad()
    def detect(self, encoded: EncodedImage, *, max_boxes: int, min_score: float = 0.0) -> Detections:
        """The `max_boxes` boxes of highest score, at least `min_score`; near duplicates are all in it.

        encoded: a picture, by the model that the detector was trained on.
        """
        embedding = as_float(encoded.embedding)
        output = self(embedding)
        side = embedding.features.shape[-1]
        centres = self.cells(side).centres
        resize = ResizeLongestSide(side * EMBEDDING_STRIDE, stretched=encoded.stretched)
        input_hw = resize.resized_hw(encoded.image_hw)
        scores = output.objectness[0].sigmoid()
        wanted = (scores >= min_score) & inside(centres, input_hw)
        index = wanted.nonzero().squeeze(1)
        index = index[scores[index].sort(descending=True, stable=True).indices[:max_boxes]]
        boxes = boxes_around(centres[index], output.distances[0, index])
        return Detections(to_picture(boxes.cpu(), input_hw, encoded.image_hw), scores[index].cpu())

    def _grids(self, embedding: ImageEmbedding) -> list[Tensor]:
        finest = self.lateral(embedding.features)
        if self.fine is not None:
            finest = finest + self.fine(embedding.twice_as_fine)
        grids = [finest]
        for layer in self.down:
            grids.append(layer(grids[-1]))
        return grids


def boxes_around(centres: Tensor, distances: Tensor) -> Tensor:
    """Boxes (..., 4) whose sides lie `distances` (..., 4) to the left, above, right and below `centres` (..., 2)."""
    return torch.cat([centres - distances[..., :2], centres + distances[..., 2:]], dim=-1)


def to_picture(boxes: Tensor, input_hw: tuple[int, int], image_hw: tuple[int, int]) -> Tensor:
    """Boxes (N, 4) in pixels of the model's input to pixels of the picture, cut off at its edges."""
    (input_h, input_w), (height, width) = input_hw, image_hw
    x, y = boxes[:, 0::2] * (width / input_w), boxes[:, 1::2] * (height / input_h)
    x, y = x.clamp(0, width), y.clamp(0, height)
    return torch.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], dim=1)


def inside(centres: Tensor, input_hw: tuple[int, int]) -> Tensor:
    """Which centres (K, 2) lie in the picture and not in the padding beside it: (K,) bool."""
    return (centres[:, 0] < input_hw[1]) & (centres[:, 1] < input_hw[0])


def as_float(embedding: ImageEmbedding) -> ImageEmbedding:
    """The same in float32; encoders may run, and embeddings may be kept, in half precision."""
    return ImageEmbedding(embedding.features.float(), tuple(each.float() for each in embedding.high_res))


def save_detector(detector: ObjectDetector, folder: Path, card: Mapping[str, Any]) -> None:
    """Write a detector as a folder that appears whole or not at all; one that is there already stays as it is.

    card: where it comes from and what was measured, plain values for JSON.
    """
    own = {"detector": asdict(detector.config)}
    save_weights_folder(folder, WEIGHTS_FILE, detector.state_dict(), {**card, **own})


def load_detector(folder: Path, *, device: torch.device | str = "cpu") -> tuple[ObjectDetector, dict[str, Any]]:
    """A detector, ready for inference, and its card.

    Raises InputError naming the folder where a file is missing or damaged.
    """
    weights, card = load_weights_folder(folder, WEIGHTS_FILE, what="detector")
    try:
        detector = ObjectDetector(DetectorConfig(**card["detector"]))
        detector.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise damaged(folder, error, what="detector") from error
    return detector.to(device).eval(), card


def _normed_projection(in_chans: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(LayerNorm2d(in_chans), nn.Conv2d(in_chans, width, stride, stride=stride))


def _layer(width: int) -> nn.Sequential:
    """Plain 3 x 3 convolutions: on a CPU they take a third of the time of depthwise ones as wide as these."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(math.gcd(_NORM_GROUPS, width), width), nn.ReLU()
    )
