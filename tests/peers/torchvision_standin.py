"""What `segment_anything` and `sam2` call of torchvision, for machines where torchvision cannot be had.

They follow the documented behaviour of torchvision's CPU operators: `nms` visits boxes in the order of a stable
descending sort, computes overlaps in the boxes' own type and compares them with the threshold in double precision;
`resize` of a PIL image is PIL's bilinear filter (which is antialiased).
"""

import importlib.util
import sys
from types import ModuleType

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F


def install_torchvision_standin() -> None:
    """Make `import torchvision` give these functions. Does nothing where the real package is there."""
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is not None:
        return
    boxes = _module("torchvision.ops.boxes", nms=nms, batched_nms=batched_nms, box_area=box_area)
    ops = _module("torchvision.ops", boxes=boxes, nms=nms, batched_nms=batched_nms)
    functional = _module("torchvision.transforms.functional", resize=resize, to_pil_image=to_pil_image)
    modules = {"Resize": Resize, "Normalize": Normalize, "ToTensor": ToTensor}
    transforms = _module("torchvision.transforms", functional=functional, **modules)
    _module("torchvision", ops=ops, transforms=transforms)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Indices (K,) of the (N, 4) XYXY boxes that no better box overlaps by more than the threshold, best first."""
    order = scores.sort(descending=True, stable=True).indices
    areas = box_area(boxes)
    kept: list[int] = []
    suppressed = torch.zeros(len(boxes), dtype=torch.bool)
    for place, index in enumerate(order.tolist()):
        if suppressed[index]:
            continue
        kept.append(index)
        rest = order[place + 1 :]
        sides = torch.minimum(boxes[index, 2:], boxes[rest, 2:]) - torch.maximum(boxes[index, :2], boxes[rest, :2])
        intersection = sides.clamp(min=0).prod(dim=1)
        overlap = intersection / (areas[index] + areas[rest] - intersection)
        suppressed[rest[overlap.double() > iou_threshold]] = True
    return torch.tensor(kept, dtype=torch.int64)


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Like `nms`, where boxes of different categories never suppress each other."""
    if boxes.numel() == 0:
        return torch.empty(0, dtype=torch.int64)
    offsets = idxs.to(boxes) * (boxes.max() + 1)
    return nms(boxes + offsets[:, None], scores, iou_threshold)


def box_area(boxes: Tensor) -> Tensor:
    """(N,) areas of (N, 4) XYXY boxes, in the boxes' own type."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize to (height, width), bilinear."""
    height, width = size
    return image.resize((width, height), Image.Resampling.BILINEAR)


class Resize(nn.Module):
    """(3, H, W) to (3, height, width), bilinear with antialiasing."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.height, self.width = size

    def forward(self, image: Tensor) -> Tensor:
        size = [self.height, self.width]
        return F.interpolate(image[None], size, mode="bilinear", align_corners=False, antialias=True)[0]


class Normalize(nn.Module):
    """(3, H, W) less the means, over the deviations."""

    def __init__(self, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, image: Tensor) -> Tensor:
        return (image - self.mean) / self.std


class ToTensor:
    """An HxWx3 uint8 array as (3, H, W) in 0..1."""

    def __call__(self, image: np.ndarray) -> Tensor:
        return torch.from_numpy(image).permute(2, 0, 1).float() / 255


def to_pil_image(image: np.ndarray) -> Image.Image:
    """An HxWx3 uint8 array as an RGB picture."""
    return Image.fromarray(image)


def _module(name: str, **contents: object) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(contents)
    module.__spec__ = importlib.util.spec_from_loader(name, loader=None)
    sys.modules[name] = module
    return module
