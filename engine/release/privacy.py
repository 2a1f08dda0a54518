"""Faces and licence plates in released pictures: detectors by name, and the blur that goes over what they find."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from engine.release.blurring import PixelBox, blurred, padded
from schemas.config import PRIVACY_DETECTORS_GROUP, ReleaseConfig
from schemas.plugins import Registry

Pixels = npt.NDArray[np.uint8]
_SAME_THING_IOU = 0.4  # boxes of one detector that overlap more are one thing, seen at several scales


class PrivacyDetector(Protocol):
    """Finds what must not be seen in a release. Made without arguments, once in each thread."""

    version: str  # a detector that finds other things has another

    def __call__(self, pixels: Pixels, /) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Boxes (N, 4), XYXY in pixels, and scores (N,) of what is in (H, W, 3) uint8 RGB.

        Equal pixels give equal boxes. They are padded before they are blurred; some may overlap.
        """
        ...


PRIVACY_DETECTORS: Registry[type[PrivacyDetector]] = Registry(
    "privacy detector",
    group=PRIVACY_DETECTORS_GROUP,
    needs=("__call__", "version"),
    builtin={"faces": "engine.release.faces:CenterFace", "plates": "engine.release.plates:PlateCascade"},
)


@dataclass(frozen=True)
class PrivateRegion:
    """A part of a picture that is blurred. box: XYXY pixels with its padding, right and bottom exclusive."""

    box: PixelBox
    score: float
    detector: str
    version: str

    def row(self) -> dict[str, Any]:
        """As the image index has it."""
        return {"detector": self.detector, "version": self.version, "score": self.score, "box_xyxy": self.box}


@dataclass(frozen=True)
class Anonymizer:
    """Finds and blurs; of use to several threads at once, and to other processes, which get a copy.

    detectors: names in the registry.
    """

    detectors: tuple[str, ...]

    @classmethod
    def of(cls, config: ReleaseConfig) -> "Anonymizer":
        """What the settings ask for; without any detector where nothing is to be blurred."""
        return cls(config.blur_detectors if config.blur else ())

    @cached_property
    def versions(self) -> dict[str, str]:
        """Of each detector. Raises InputError for one that nothing has, or that does not load."""
        return {name: PRIVACY_DETECTORS[name].version for name in self.detectors}

    def regions(self, pixels: Pixels) -> list[PrivateRegion]:
        """What is to be blurred in a (H, W, 3) uint8 RGB picture, by detector, the surest first."""
        return [region for name in self.detectors for region in self._found_by(name, pixels)]

    def __call__(self, pixels: Pixels) -> tuple[Pixels, list[PrivateRegion]]:
        """The picture, in which nothing outside the regions is changed, and the regions."""
        found = self.regions(pixels)
        return (blurred(pixels, [region.box for region in found]) if found else pixels), found

    def picture(self, picture: Image.Image) -> tuple[Image.Image, list[PrivateRegion]]:
        """As a call, of Pillow's RGB pictures; the one that was given where nothing is found."""
        if not self.detectors:
            return picture, []
        shown, found = self(np.asarray(picture))
        return (Image.fromarray(shown) if found else picture), found

    def _found_by(self, name: str, pixels: Pixels) -> Sequence[PrivateRegion]:
        boxes, scores = _detector(name)(pixels)
        height, width, _ = pixels.shape
        sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        positive = scores - scores.min(initial=0) + 1  # OpenCV wants scores over a threshold that is not negative
        kept = cv2.dnn.NMSBoxes(sides.tolist(), positive.tolist(), 0, _SAME_THING_IOU)
        places = ((padded(boxes[one], height=height, width=width), float(scores[one])) for one in kept)
        return [PrivateRegion(box, score, name, self.versions[name]) for box, score in places if _has_pixels(box)]


_of_thread = threading.local()


def _detector(name: str) -> PrivacyDetector:
    """This thread's own: networks of OpenCV keep what they work on."""
    made: dict[str, PrivacyDetector] = _of_thread.__dict__.setdefault("detectors", {})
    if name not in made:
        made[name] = PRIVACY_DETECTORS[name]()
    return made[name]


def _has_pixels(box: PixelBox) -> bool:
    x0, y0, x1, y1 = box
    return x0 < x1 and y0 < y1
