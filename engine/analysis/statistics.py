"""What a round cost and brought, counted from its masks and events."""

from typing import Any

from engine.analysis.generation import generation_metrics
from engine.analysis.sums import AUTOMATIC, ShardSums, Worked
from schemas.mask import GENERATOR
from schemas.round_metrics import RoundMetrics

CORRECTED = "automatic_corrected"


def round_statistics(sums: ShardSums, *, images: int) -> RoundMetrics:
    """Count a round from the sums of its rows; images: how many the round had.

    seconds_per_mask and clicks_per_mask are means over the masks that annotators made or corrected; masks that were
    kept as the model made them are left out, as in the paper (section 4). over_limit counts those among them that took
    longer than its 30 seconds; by_annotator says the same of each annotator. annotator_s is all the time there was,
    reviewing and skipping included. prefilled_*_frac are shares of the masks that annotators were shown ready-made.
    Keys whose value would be a mean over nothing are left out.
    """
    statistics: dict[str, Any] = {"images": images, "masks": sums.masks}
    if images:
        statistics["masks_per_image"] = sums.masks / images
    if sums.worked:
        of_all = Worked()
        for worked in sums.worked.values():
            of_all.add(worked)
        statistics |= _cost(of_all)
        statistics["by_annotator"] = {
            name: {"masks": own.masks, **_cost(own)} for name, own in sorted(sums.worked.items()) if name != GENERATOR
        }
    statistics["annotator_s"] = sums.event_s
    statistics["drawn"] = sums.events["draw"]
    statistics["annotators"] = sorted(sums.annotators)
    if sums.generation is not None:
        statistics["generation"] = generation_metrics(sums.generation).to_dict()
    return RoundMetrics.from_dict(statistics | _prefilled_shares(sums))


def _cost(worked: Worked) -> dict[str, float | int]:
    """What each of at least one mask took on average, and how many took too long."""
    return {
        "seconds_per_mask": worked.seconds / worked.masks,
        "clicks_per_mask": worked.clicks / worked.masks,
        "over_limit": worked.over_limit,
    }


def _prefilled_shares(sums: ShardSums) -> dict[str, Any]:
    kept, edited, deleted = sums.origins[AUTOMATIC], sums.origins[CORRECTED], sums.events["delete"]
    shown = kept + edited + deleted
    if not shown:
        return {}
    return {
        "prefilled": shown,
        "prefilled_kept_frac": kept / shown,
        "prefilled_edited_frac": edited / shown,
        "prefilled_deleted_frac": deleted / shown,
    }
