"""Samples as the object detector learns from them: the embedding of a picture, and the boxes of its masks."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine import rle as rle_codec
from model.detector_training import DetectorSample, encode_sample
from model.predictor import Predictor
from model.training.samples import SampleSource
from schemas.rle import CocoRle, Rle


class EncodedSamples:
    """`model.detector_training.DetectorSource` of samples; a picture is encoded when it is asked for."""

    def __init__(self, samples: SampleSource, predictor: Predictor) -> None:
        self._samples, self._predictor = samples, predictor

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> DetectorSample:
        sample = self._samples[index]
        return encode_sample(self._predictor, sample.image, rle_boxes(sample.masks), full_hw=sample.full_hw)


def rle_boxes(masks: Sequence[CocoRle]) -> npt.NDArray[np.float32]:
    """(N, 4) XYXY boxes of N masks, in pixels of the picture."""
    return np.array([rle_codec.box(Rle.of_coco(mask)) for mask in masks], dtype=np.float32).reshape(-1, 4)
