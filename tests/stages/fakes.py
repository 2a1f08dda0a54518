"""A model whose answers can be worked out by hand: the regions of a label map under the points."""

import numpy as np


class RegionPredictor:
    """Predicts the regions under the positive points, less those under the negative ones.

    labels: (H, W) int, the region of each pixel. A single point is answered with three masks; the second, its region,
    is the most confident. Every call is remembered.
    """

    input_hw = (32, 32)
    image_size = 32

    def __init__(self, labels: np.ndarray, *, spoil: bool = False) -> None:
        self.labels = labels
        self.spoil = spoil
        self.calls: list[dict[str, object]] = []

    def predictor(self) -> "RegionPredictor":
        return self

    def predict(self, point_coords=None, point_labels=None, *, mask_input=None, multimask_output=True):  # type: ignore[no-untyped-def]
        call = {"points": point_coords, "labels": point_labels, "mask_input": mask_input, "multimask": multimask_output}
        self.calls.append(call)
        regions = [self.labels[int(y), int(x)] for x, y in point_coords]
        wanted = {region for region, label in zip(regions, point_labels, strict=True) if label == 1}
        unwanted = {region for region, label in zip(regions, point_labels, strict=True) if label == 0}
        mask = np.isin(self.labels, list(wanted - unwanted))
        if self.spoil:
            mask = np.zeros_like(mask)
        number = len(self.calls)
        if not multimask_output:
            return mask[None], np.array([0.9]), np.full((1, 8, 8), number, dtype=np.float32)
        masks = np.stack([np.zeros_like(mask), mask, np.ones_like(mask)])
        logits = np.stack([np.full((8, 8), number + share, dtype=np.float32) for share in (0.1, 0.2, 0.3)])
        return masks, np.array([0.2, 0.8, 0.5]), logits
