"""Licence plates in pictures, found by the cascade that comes with OpenCV: wide plates that face the camera."""

import cv2
import numpy as np
import numpy.typing as npt

from engine.release.views import Looking, Pixels

_CASCADE = "haarcascade_russian_plate_number.xml"
_LOOKING = Looking(area_px=1_200_000, most=2.0, least=0.5, overlap_px=384)


class PlateCascade:
    """Finds licence plates. Not for several threads at once."""

    version = "opencv plates 1"
    scale_factor = 1.1
    neighbours = 5

    def __init__(self) -> None:
        self._cascade = cv2.CascadeClassifier(cv2.data.haarcascades + _CASCADE)

    def __call__(self, pixels: Pixels, /) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """(N, 4) XYXY boxes in pixels and (N,) scores, which have no scale, of the plates in (H, W, 3) uint8 RGB."""
        boxes, scores = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
        for view in _LOOKING.views(pixels):
            found, _, weights = self._cascade.detectMultiScale3(
                cv2.cvtColor(view.pixels, cv2.COLOR_RGB2GRAY),
                scaleFactor=self.scale_factor,
                minNeighbors=self.neighbours,
                outputRejectLevels=True,
            )
            corners = np.asarray(found, dtype=np.float32).reshape(-1, 4)
            corners[:, 2:] += corners[:, :2]
            boxes.append(view.in_picture(corners))
            scores.append(np.asarray(weights, dtype=np.float32).reshape(-1))
        return np.concatenate(boxes), np.concatenate(scores)
