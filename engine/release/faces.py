"""Faces in pictures, found by CenterFace (arXiv 1911.03599), which ships with this package."""

import cv2
import numpy as np

from engine.release.views import Floats, Looking, Pixels, other_opencv
from model.registry import builtin_models_root

_FILE = "centerface/centerface.onnx"
_OUTPUTS = ("537", "538", "539")  # heat map, log of the sizes, offsets of the centres
_STRIDE = 4
_MULTIPLE_PX = 32  # of the sides of what the network takes
# 24 px in the picture are at least 12 px in a view, which the network still finds; a face that fills the picture too.
_LOOKING = Looking(area_px=1_000_000, most=2.0, least=0.5, overlap_px=256)


class CenterFace:
    """Finds faces. Not for several threads at once."""

    version = "centerface 1"
    threshold = 0.3

    def __init__(self) -> None:
        """Raises InputError for an OpenCV that cannot run the network."""
        self._net = cv2.dnn.readNetFromONNX(str(builtin_models_root() / _FILE))
        if self._net.empty():
            raise other_opencv("find faces")
        # OpenCV 4.12 fuses layers anew for each size of input, over what it fused before: from the second size on its
        # numbers are wrong. Without it a picture takes 15 % longer.
        self._net.enableFusion(False)

    def __call__(self, pixels: Pixels, /) -> tuple[Floats, Floats]:
        """(N, 4) XYXY boxes in pixels and (N,) scores in [0, 1] of the faces in (H, W, 3) uint8 RGB."""
        return _LOOKING.found(pixels, self._faces)

    def _faces(self, pixels: Pixels) -> tuple[Floats, Floats]:
        height, width, _ = pixels.shape
        # Padded, not stretched: a picture of a few pixels would lose its shape.
        padding = (0, -height % _MULTIPLE_PX, 0, -width % _MULTIPLE_PX)
        padded = cv2.copyMakeBorder(pixels, *padding, cv2.BORDER_CONSTANT, value=(0, 0, 0))
        self._net.setInput(cv2.dnn.blobFromImage(padded))
        heat, logs, offsets = self._net.forward(_OUTPUTS)
        rows, columns = np.nonzero(heat[0, 0] >= self.threshold)
        sizes = np.exp(logs[0][:, rows, columns]) * _STRIDE
        centres = (np.stack([rows, columns]) + offsets[0][:, rows, columns] + 0.5) * _STRIDE
        (y0, x0), (y1, x1) = centres - sizes / 2, centres + sizes / 2
        boxes = np.stack([x0, y0, x1, y1], axis=1).astype(np.float32)
        limits = np.array([width, height] * 2, dtype=np.float32)
        return np.clip(boxes, 0, limits), heat[0, 0, rows, columns]
