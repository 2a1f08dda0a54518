"""Calls of the published predictor and model, so that notebooks written for them run as they are.

Shapes as in `model.predictor`. What these calls take "in the input frame" is in pixels of the resized picture.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from model.devices import exact_dtype
from model.prompts import check_published, to_boxes, to_points
from model.upscaling import Upscaling
from schemas.errors import InputError


class ResizeLongestSide:
    """Pictures and coordinates as the encoder sees them: the longest side has `target_length` pixels.

    stretched: both sides have (SAM 2).
    """

    def __init__(self, target_length: int, *, stretched: bool = False) -> None:
        self.target_length, self.stretched = target_length, stretched

    def resized_hw(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """Size of a picture (height, width) before padding."""
        if self.stretched:
            return self.target_length, self.target_length
        return resized_hw(image_hw, longest_side=self.target_length)

    def to_tensor(self, image: NDArray[np.uint8]) -> Tensor:
        """(H, W, 3) uint8 to (1, 3, h, w) in 0..255, resized as published: stretched ones are not rounded to 8 bits."""
        if self.stretched:
            return self.apply_image_torch(torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None])
        return torch.from_numpy(self.apply_image(image)).permute(2, 0, 1)[None]

    def apply_image(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 to (h, w, 3)."""
        height, width = self.resized_hw((image.shape[0], image.shape[1]))
        return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))

    def apply_coords(self, coords: NDArray[Any], original_size: Sequence[int]) -> NDArray[np.float64]:
        """(..., 2) pixels (x, y) of a picture of (height, width) to pixels of the resized one."""
        return np.asarray(coords, dtype=np.float64) * self._scale(original_size)

    def apply_boxes(self, boxes: NDArray[Any], original_size: Sequence[int]) -> NDArray[np.float64]:
        """(N, 4) XYXY likewise."""
        return self.apply_coords(np.asarray(boxes).reshape(-1, 2, 2), original_size).reshape(-1, 4)

    def apply_image_torch(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) float to (B, 3, h, w)."""
        size = self.resized_hw((image.shape[2], image.shape[3]))
        return F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)

    def apply_coords_torch(self, coords: Tensor, original_size: Sequence[int]) -> Tensor:
        """As `apply_coords`, in float32."""
        exact = exact_dtype(coords.device)
        scale = torch.tensor(self._scale(original_size), dtype=exact, device=coords.device)
        return (coords.to(exact) * scale).to(torch.float32)

    def apply_boxes_torch(self, boxes: Tensor, original_size: Sequence[int]) -> Tensor:
        """As `apply_boxes`, in float32."""
        return self.apply_coords_torch(boxes.reshape(-1, 2, 2), original_size).reshape(-1, 4)

    def _scale(self, original_size: Sequence[int]) -> tuple[float, float]:
        height, width = original_size
        input_h, input_w = self.resized_hw((height, width))
        return input_w / width, input_h / height


def resized_hw(image_hw: tuple[int, int], *, longest_side: int) -> tuple[int, int]:
    """Size of a picture (height, width) scaled so that its longest side is `longest_side`, halves rounded up.

    A side never vanishes: a panorama thinner than half a pixel keeps one row.
    """
    scale = longest_side * 1.0 / max(image_hw)
    height, width = (max(1, int(side * scale + 0.5)) for side in image_hw)
    return height, width


def resize_longest_side(image: NDArray[np.uint8], *, longest_side: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 resized as the published predictor does: bilinear with antialiasing, on 8-bit values."""
    return ResizeLongestSide(longest_side).apply_image(image)


@torch.no_grad()
def predict_batch(sam: Any, batch: Sequence[dict[str, Any]], *, multimask_output: bool) -> list[dict[str, Tensor]]:
    """What the published model's `forward` gives.

    batch: for each picture `image` (3, h, w) resized to the model's longest side, `original_size` (height, width), and
    of the prompts, in the input frame: `point_coords` (N, P, 2) with `point_labels` (N, P), `boxes` (N, 4),
    `mask_inputs` (N, 1, h, w).
    Raises InputError for points outside of a picture, empty boxes, and coordinates that are fractions of it.
    Returns for each `masks` (N, C, H, W) bool, `iou_predictions` (N, C), `low_res_logits` (N, C, h, w).
    """
    found = []
    for record in batch:
        points, boxes = record.get("point_coords"), record.get("boxes")
        input_h, input_w = record["image"].shape[-2:]
        clicks = to_points(points, record.get("point_labels"), device=sam.device)
        check_published(clicks, to_boxes(boxes, device=sam.device), (input_h, input_w))
        embedding = sam.encode(sam.preprocess(record["image"][None]))
        decoded = sam.decode(
            embedding,
            points=None if points is None else (points, record["point_labels"]),
            boxes=boxes,
            masks=record.get("mask_inputs"),
            multimask_output=multimask_output,
        )
        height, width = record["original_size"]
        upscaling = Upscaling((sam.image_size,) * 2, (input_h, input_w), (height, width), direct=sam.stretched)
        logits = upscaling.apply(decoded.logits)
        masks = {"masks": logits > sam.mask_threshold, "iou_predictions": decoded.predicted_iou}
        found.append(masks | {"low_res_logits": decoded.logits})
    return found


def in_rgb(image: NDArray[np.uint8], image_format: str) -> NDArray[np.uint8]:
    """(H, W, 3) pixels in the order red, green, blue. Raises InputError for a format other than RGB and BGR."""
    if image_format not in ("RGB", "BGR"):
        raise InputError(f'image_format: expected "RGB" or "BGR", found {image_format!r}')
    return image if image_format == "RGB" else np.ascontiguousarray(image[..., ::-1])


def check_resized(image: Tensor, *, side: int) -> None:
    """Raises InputError unless image is (1, 3, h, w) with a longest side of `side`."""
    if image.ndim != 4 or image.shape[:2] != (1, 3) or max(image.shape[2:]) != side:
        raise InputError(f"image: expected shape (1, 3, h, w), longest side {side}, found {tuple(image.shape)}")
