"""Whether two contenders gave the same, in a few words that stand beside every time."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine import rle
from engine.masks.comparison import compare_masks
from schemas.rle import Rle

ROUNDING = 1e-4  # of the largest logit (or of 1, for predicted IoUs): more than that is no rounding
_PROMPTS_AT_A_TIME = 64

Records = list[dict[str, Any]]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Verdict:
    """equal: None where equality is not promised, as by the contract `fast`."""

    equal: bool | None
    text: str

    def __and__(self, other: "Verdict") -> "Verdict":
        equal = None if self.equal is None or other.equal is None else self.equal and other.equal
        return Verdict(equal, f"{self.text}; {other.text}")


def same_masks(mine: Records, theirs: Records) -> Verdict:
    """Byte for byte, in the same order, in every field that both have."""
    fields = sorted(set(mine[0]) & set(theirs[0])) if mine and theirs else []
    same = sum(all(a[key] == b[key] for key in fields) for a, b in zip(mine, theirs, strict=False))
    if not mine and not theirs:
        return Verdict(True, "EQUAL: no masks on either side")
    if len(mine) == len(theirs) == same:
        every = len(fields) == max(len(mine[0]), len(theirs[0]))
        compared = "" if every else f" (compared: {', '.join(fields)})"
        return Verdict(True, f"EQUAL: {same} of {len(theirs)} masks byte-identical, same order{compared}")
    return Verdict(False, f"DIFFERENT: {len(mine)} and {len(theirs)} masks, {same} the same at the same place")


def same_networks(mine: Path, theirs: Path) -> Verdict:
    """From two files of `Tasks.decoder`: all prompts."""
    logits = [np.load(file, mmap_mode="r") for file in (mine, theirs)]
    largest = difference = flips = 0.0
    for start in range(0, len(logits[0]), _PROMPTS_AT_A_TIME):
        a, b = (np.asarray(some[start : start + _PROMPTS_AT_A_TIME]) for some in logits)
        largest, difference = max(largest, float(np.abs(b).max())), max(difference, float(np.abs(a - b).max()))
        flips += float(((a > 0) != (b > 0)).sum())
    ious = [np.load(file.with_suffix(".iou.npy")) for file in (mine, theirs)]
    iou_difference = float(np.abs(ious[0] - ious[1]).max())
    return _rounding(largest, difference, flips / logits[0].size, iou_difference, f"{len(logits[0])} prompts")


def same_logits(mine: Floats, theirs: Floats) -> Verdict:
    """Logits of the same masks, (K, h, w)."""
    if np.array_equal(mine, theirs):
        return Verdict(True, f"EQUAL: {len(mine)} masks bit by bit")
    largest, difference = float(np.abs(theirs).max()), float(np.abs(mine - theirs).max())
    flips = float(((mine > 0) != (theirs > 0)).mean())
    return _rounding(largest, difference, flips, 0.0, f"{len(mine)} masks")


def same_samples(mine: Path, theirs: Path) -> Verdict:
    """From two files of `Tasks.whole`: the logits that both have, and all predicted IoUs."""
    (a, a_ious), (b, b_ious) = _sampled(mine), _sampled(theirs)
    shared, prompts = sorted(set(a) & set(b)), sorted(set(a_ious) & set(b_ious))
    if not prompts or len(prompts) < max(len(a_ious), len(b_ious)):
        return Verdict(False, "DIFFERENT: networks were not asked for the same prompts")
    # One value of 0 more, for where no mask passes: we make no logits then.
    first, second = (np.append([some[number] for number in shared], 0) for some in (a, b))
    iou_difference = max(float(np.abs(a_ious[row] - b_ious[row]).max()) for row in prompts)
    flips = float(((first > 0) != (second > 0)).mean())
    of = f"{len(shared)} masks, IoUs of {len(prompts)} prompts"
    return _rounding(float(np.abs(second).max()), float(np.abs(first - second).max()), flips, iou_difference, of)


def _sampled(file: Path) -> tuple[dict[int, Floats], dict[int, Floats]]:
    with np.load(file) as found:
        logits = dict(zip(found["numbers"].tolist(), found["logits"], strict=True))
        return logits, dict(zip(found["rows"].tolist(), found["ious"], strict=True))


def _rounding(largest: float, difference: float, flips: float, iou_difference: float, of: str) -> Verdict:
    equal = difference <= ROUNDING * largest and iou_difference <= ROUNDING
    numbers = f"networks differ by {difference:.1e} of {largest:.3g}, IoUs by {iou_difference:.1e}"
    word = "EQUAL up to rounding" if equal else "DIFFERENT"
    return Verdict(equal, f"{word}: {numbers}, {flips:.1e} of pixels change sign ({of})")


def unequal_by_contract(verdict: Verdict) -> Verdict:
    """The same numbers, for a contender that does not promise to be equal."""
    text = verdict.text.replace("EQUAL up to rounding: ", "").replace("DIFFERENT: ", "")
    return Verdict(None, f"fast: {text}")


def matched_masks(exact: Records, fast: Records) -> Verdict:
    """How the masks of `fast` differ from the exact ones."""
    difference = compare_masks(*([_rle(record) for record in records] for records in (fast, exact)))
    return Verdict(None, f"fast: of {len(exact)} exact masks, {difference}")


def _rle(record: dict[str, Any]) -> Rle:
    segmentation = record["segmentation"]
    return rle.from_coco(segmentation, *segmentation["size"])
