"""What a round cost and brought, counted from its masks and events."""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.labeling import SECONDS_PER_MASK_LIMIT
from schemas.mask import GENERATOR
from schemas.round_metrics import RoundMetrics

AUTOMATIC, CORRECTED = "automatic", "automatic_corrected"


def round_statistics(masks: pa.Table, events: pa.Table, *, images: int) -> RoundMetrics:
    """Count a round from its rows of a masks table and of `events`; images: how many the round had.

    seconds_per_mask and clicks_per_mask are means over the masks that annotators made or corrected; masks that were
    kept as the model made them are left out, as in the paper (section 4). over_limit counts those among them that took
    longer than its 30 seconds; by_annotator says the same of each annotator. annotator_s is all the time there was,
    reviewing and skipping included. prefilled_*_frac are shares of the masks that annotators were shown ready-made.
    Keys whose value would be a mean over nothing are left out.
    """
    origins = np.asarray(masks["origin"].to_pylist(), dtype=object)
    annotators = np.asarray(masks["annotator"].to_pylist(), dtype=object)
    by_people = annotators != GENERATOR
    worked = origins != AUTOMATIC
    statistics: dict[str, Any] = {"images": images, "masks": len(masks)}
    if images:
        statistics["masks_per_image"] = len(masks) / images
    if worked.any():
        statistics |= _cost(masks.filter(pa.array(worked)))
        statistics["by_annotator"] = {
            name: {"masks": len(own), **_cost(own)}
            for name in sorted(set(masks["annotator"].to_pylist()) - {GENERATOR})
            if len(own := masks.filter(pa.array(worked & (annotators == name))))
        }
    kinds = Counter(events["kind"].to_pylist())
    statistics["annotator_s"] = float(events["seconds"].to_numpy().sum()) if len(events) else 0.0
    statistics["drawn"] = kinds["draw"]
    statistics["annotators"] = sorted(set(events["annotator"].to_pylist()))
    return RoundMetrics.from_dict(
        statistics | _prefilled_shares(Counter(origins[by_people].tolist()), deleted=kinds["delete"])
    )


def _cost(masks: pa.Table) -> dict[str, float | int]:
    """What each of at least one mask took on average, and how many took too long."""
    seconds = masks["seconds"].to_numpy()
    return {
        "seconds_per_mask": float(seconds.mean()),
        "clicks_per_mask": float(masks["clicks"].to_numpy().mean()),
        "over_limit": int((seconds > SECONDS_PER_MASK_LIMIT).sum()),
    }


def _prefilled_shares(origins: "Counter[str]", *, deleted: int) -> dict[str, Any]:
    shown = origins[AUTOMATIC] + origins[CORRECTED] + deleted
    if not shown:
        return {}
    return {
        "prefilled": shown,
        "prefilled_kept_frac": origins[AUTOMATIC] / shown,
        "prefilled_edited_frac": origins[CORRECTED] / shown,
        "prefilled_deleted_frac": deleted / shown,
    }
