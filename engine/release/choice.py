"""Which pictures and masks of a workspace come into a release; see `release` in engine.yaml."""

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from engine.images import content_id
from engine.quality.verdicts import ACCEPTED
from schemas.config import ReleaseConfig
from schemas.labeling import Gate

# Of a masks table, that `Choice.takes_mask` looks at.
COLUMNS = ("mask_id", "origin", "predicted_iou", "stability_score", "area", "height", "width")
_GATE: Gate = "verification"


@dataclass(frozen=True)
class Choice:
    """withheld: the pictures that are kept back from all other releases, and no others."""

    config: ReleaseConfig = field(default_factory=ReleaseConfig)
    withheld: bool = False

    @property
    def tables(self) -> tuple[str, ...]:
        """Those that it depends on besides images and masks."""
        return ("questions",) if self.config.masks.verified else ()

    def takes_image(self, image_id: int, split: str) -> bool:
        """By its split, and whether it is withheld, which follows from seed and id alone: it stays when others come."""
        config = self.config
        drawn = content_id(f"withheld {config.withheld_seed} {image_id}".encode())
        is_withheld = drawn < config.withheld_frac * 2**63
        return is_withheld == self.withheld and (config.splits is None or split in config.splits)

    def takes_mask(self, row: Mapping[str, Any], verified: Set[int]) -> bool:
        """row: of a masks table, with `COLUMNS`. verified: ids of masks that were judged good; see `verified_of`."""
        wanted = self.config.masks
        return (
            (wanted.origins is None or row["origin"] in wanted.origins)
            and _reaches(row["predicted_iou"], wanted.min_predicted_iou)
            and _reaches(row["stability_score"], wanted.min_stability_score)
            and row["area"] >= wanted.min_area_frac * row["height"] * row["width"]
            and (not wanted.verified or row["mask_id"] in verified)
        )


# All pictures and masks.
EVERYTHING = Choice()


def verified_of(question: Mapping[str, Any]) -> bool:
    """Whether a row of `questions` says that a mask is good. What people answered counts more than the verifier."""
    said = question["answer"] or question["pre_answer"]
    return bool(question["gate"] == _GATE and said == ACCEPTED[_GATE])


def _reaches(score: float, least: float) -> bool:
    return math.isnan(score) or score >= least
