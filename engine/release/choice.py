"""Which pictures and masks of a workspace come into a release; see `release` in engine.yaml."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from engine.quality.verdicts import ACCEPTED
from schemas.config import ReleaseConfig, ReleasedMasksConfig
from schemas.content_ids import content_id
from schemas.labeling import Gate

# Of a masks table, that `Choice.takes_masks` looks at.
COLUMNS = ("mask_id", "origin", "predicted_iou", "stability_score", "area", "height", "width")
_GATE: Gate = "verification"
_SPLITS = ("train", "holdout")
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Choice:
    """withheld: the pictures that are kept back from all other releases, and no others."""

    config: ReleaseConfig = field(default_factory=ReleaseConfig)
    withheld: bool = False

    @property
    def tables(self) -> tuple[str, ...]:
        """Those that it depends on besides images and masks."""
        return ("questions",) if self.config.masks.verified else ()

    @property
    def takes_every_mask(self) -> bool:
        """Whether there is no need to look at any."""
        return self.config.masks == ReleasedMasksConfig()

    def takes_images(self, image_ids: Ids, held_out: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """(N,) by the split, and whether a picture is withheld, which follows from seed and id alone: it stays when
        others come."""
        of_split = {split: self.config.splits is None or split in self.config.splits for split in _SPLITS}
        wanted = np.where(held_out, of_split["holdout"], of_split["train"])
        if not self.config.withheld_frac:
            return wanted & (not self.withheld)
        withheld = np.array([self._is_withheld(each) for each in image_ids.tolist()], dtype=np.bool_)
        return wanted & (withheld == self.withheld)

    def _is_withheld(self, image_id: int) -> bool:
        drawn = content_id(f"withheld {self.config.withheld_seed} {image_id}".encode())
        return drawn < self.config.withheld_frac * 2**63

    def takes_masks(self, rows: pa.Table, verified: Set[int]) -> npt.NDArray[np.bool_]:
        """(N,) of rows of a masks table, with `COLUMNS`. verified: masks that were judged good; see `verified_of`."""
        wanted = self.config.masks
        least_area = wanted.min_area_frac * _numbers(rows, "height") * _numbers(rows, "width")
        taken: npt.NDArray[np.bool_] = (
            _reach(_numbers(rows, "predicted_iou"), wanted.min_predicted_iou)
            & _reach(_numbers(rows, "stability_score"), wanted.min_stability_score)
            & (rows["area"].to_numpy() >= least_area)
        )
        if wanted.origins is not None:
            taken &= np.isin(rows["origin"].to_numpy(), wanted.origins)
        if wanted.verified:
            taken &= np.isin(rows["mask_id"].to_numpy(), np.array(sorted(verified), dtype=np.int64))
        return taken


# All pictures and masks.
EVERYTHING = Choice()


def verified_of(question: Mapping[str, Any]) -> bool:
    """Whether a row of `questions` says that a mask is good. What people answered counts more than the verifier."""
    said = question["answer"] or question["pre_answer"]
    return bool(question["gate"] == _GATE and said == ACCEPTED[_GATE])


def _numbers(rows: pa.Table, name: str) -> npt.NDArray[np.float64]:
    return np.asarray(rows[name].to_numpy(), dtype=np.float64)


def _reach(scores: npt.NDArray[np.float64], least: float) -> npt.NDArray[np.bool_]:
    """0 leaves nothing out: a predicted IoU is a regression, which may come out below 0."""
    return np.isnan(scores) | (scores >= least) | (least == 0)
