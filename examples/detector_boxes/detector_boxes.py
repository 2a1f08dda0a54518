"""A stage that makes masks from the boxes of any detector: what it is called, and what `engine.yaml` may say of it.

The work is in a module of its own, so that this one can be imported by every command, without torch.
"""

from pathlib import Path

from pydantic import Field

from schemas.stages import StageInfo, StageOptions


class DetectorBoxes(StageOptions):
    """boxes: a COCO json with `bbox` and, if the detector gives one, `score`. min_score: boxes below it are left out.
    min_predicted_iou: so are masks that the model itself thinks less of."""

    boxes: Path
    min_score: float = Field(0.5, ge=0, le=1)
    min_predicted_iou: float = Field(0.0, ge=0, le=1)


STAGE = StageInfo(worker="detector_boxes_worker:DetectorBoxesWorker", options=DetectorBoxes)
