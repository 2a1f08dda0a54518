"""Stage 1: annotators make masks with SAM under the cursor (SAM paper, section 4)."""

from schemas.stages import Stage
from stages.annotation import AnnotationWorker


class AssistedManualWorker(AnnotationWorker):
    """Annotates shards; annotators start from the bare image."""

    stage: Stage = "assisted_manual"
