"""Masks of what texts say, in place of masks of everything."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from engine import rle as rle_codec
from engine.masks.counters import Counters
from engine.masks.filters import stability_of_counts
from engine.masks.generator import GenerationResult
from engine.masks.overlaps import coverage_frac
from model.mask_decoder import MaskPrediction
from model.predictor import Predictor
from model.text_prompts import usual_text
from schemas.errors import InputError
from schemas.mask import GENERATOR, Mask, Prompt

Image = npt.NDArray[np.uint8]
NOT_FOUND = "text_not_found"
LEAST_IOU = 0.3


class TextMasks:
    """Finds one mask of each text, like `engine.masks.generator.MaskGenerator` in its place."""

    def __init__(
        self,
        predictor: Predictor,
        texts: Sequence[str],
        *,
        points: Sequence[tuple[float, float]] = (),
        least_iou: float = LEAST_IOU,
    ) -> None:
        """points: (x, y) pixels on the one thing that is meant; without them a mask is everything that its text says.

        least_iou: masks of which the model predicts less are counted as not found.
        Raises InputError for an empty text, and where the model has no text head, or no encoder for a new text.
        """
        self.predictor = predictor
        self._texts = list(dict.fromkeys(map(usual_text, texts)))
        predictor.check_texts(self._texts)
        self._points, self._least_iou = list(points), least_iou

    def generate(self, image: Image, *, progress: Callable[[int, int], None] | None = None) -> GenerationResult:
        """Masks of an image, (H, W, 3) uint8 RGB, each with its text as label, in the order of the texts.

        progress: called with the texts done and their total. Raises InputError as `Predictor.predict_texts` does.
        """
        counters = Counters()
        with counters.timed("encode"):
            self.predictor.set_image(image)
        with counters.timed("prompt_decode"):
            found = self._predict()
        masks = []
        with counters.timed("rle"):
            for row, text in enumerate(self._texts):
                mask = self._mask(found, row, text)
                if mask is not None:
                    masks.append(mask)
                if progress is not None:
                    progress(row + 1, len(self._texts))
            covered = coverage_frac([mask.rle for mask in masks])
        counters.dropped[NOT_FOUND] = len(self._texts) - len(masks)
        return GenerationResult(masks, counters.dropped, counters.seconds, covered, None)

    def _predict(self) -> MaskPrediction:
        if not self._points:
            return self.predictor.predict_texts(self._texts)
        points, ones = [self._points] * len(self._texts), [[1] * len(self._points)] * len(self._texts)
        return self.predictor.predict_texts(self._texts, points, ones)

    def _mask(self, found: MaskPrediction, row: int, text: str) -> Mask | None:
        iou = float(found.predicted_iou[row, 0])
        if not np.isfinite(iou):
            raise InputError("the model gave predicted IoUs that are not finite; its weights are broken")
        logits = self.predictor.upscale(found.logits[row : row + 1])[0, 0]
        shown = logits > self.predictor.sam.mask_threshold
        if iou < self._least_iou or not shown.any():
            return None
        surely, perhaps = ((logits > offset).sum()[None].cpu() for offset in (1, -1))
        return replace(
            rle_codec.measured(rle_codec.encode(shown.cpu().numpy())),
            prompt=Prompt(points=tuple((x, y, 1) for x, y in self._points)),
            predicted_iou=iou,
            stability_score=float(stability_of_counts(surely, perhaps)),
            origin="automatic",
            annotator=GENERATOR,
            label=text,
        )
