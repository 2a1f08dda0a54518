"""Licence plates in pictures, found by the cascade that comes with OpenCV: wide plates that face the camera."""

from pathlib import Path

import cv2
import numpy as np

from engine.release.views import Floats, Looking, Pixels, other_opencv

_CASCADE = "haarcascade_russian_plate_number.xml"
# A picture of 3:2 in the size of a release, 2250 x 1500 px, is looked at once, at half its size.
_LOOKING = Looking(area_px=850_000, most=2.0, least=0.5, overlap_px=384)


class PlateCascade:
    """Finds licence plates. Not for several threads at once."""

    version = "opencv plates 2"
    scale_factor = 1.2
    neighbours = 3

    def __init__(self) -> None:
        """Raises InputError for an OpenCV without cascades."""
        classifier = getattr(cv2, "CascadeClassifier", None)
        if classifier is None:
            raise other_opencv("find plates")
        self._cascade = classifier(str(Path(cv2.__file__).parent / "data" / _CASCADE))

    def __call__(self, pixels: Pixels, /) -> tuple[Floats, Floats]:
        """(N, 4) XYXY boxes in pixels and (N,) scores, which have no scale, of the plates in (H, W, 3) uint8 RGB."""
        return _LOOKING.found(pixels, self._plates)

    def _plates(self, pixels: Pixels) -> tuple[Floats, Floats]:
        found, _, weights = self._cascade.detectMultiScale3(
            cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY),
            scaleFactor=self.scale_factor,
            minNeighbors=self.neighbours,
            outputRejectLevels=True,
        )
        boxes = np.asarray(found, dtype=np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return boxes, np.asarray(weights, dtype=np.float32).reshape(-1)
