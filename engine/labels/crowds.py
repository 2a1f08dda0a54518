"""Which masks are regions of a crowd: COCO's `iscrowd`, which some exporters write on every RLE."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Crowds = Literal["auto", "keep", "drop"]

_NO = frozenset({"", "0", "0.0", "false", "no", "none"})
_OF_DATUMARO = {"license": 0, "flickr_url": "", "coco_url": "", "date_captured": 0}
_DATE_OF_SUPERVISION = re.compile(r"\d\d/\d\d/\d{4},\d\d:\d\d:\d\d")


def is_flagged(record: dict[str, Any]) -> bool:
    """Whether an annotation says `iscrowd`; the texts "0" and "false" do not."""
    value = record.get("iscrowd", 0)
    return value.strip().lower() not in _NO if isinstance(value, str) else bool(value)


@dataclass
class CrowdFlags:
    """How annotations of a file are flagged: `flagged` of `masks`, and whether an RLE is `plain`, without the flag."""

    masks: int = 0
    flagged: int = 0
    plain_rle: bool = False

    def add(self, record: Any) -> None:
        """Count an annotation; what has no mask does not count."""
        if isinstance(record, dict) and record.get("segmentation"):
            flagged = is_flagged(record)
            self.masks += 1
            self.flagged += flagged
            self.plain_rle |= not flagged and isinstance(record["segmentation"], dict)

    def believed(self, images: Sequence[Any], crowds: Crowds = "auto") -> tuple[bool, str]:
        """Whether annotations that are flagged are crowds, and one line on what was assumed ("" where nothing was).

        crowds: "keep" takes them for masks, "drop" for crowds. "auto" takes them for masks where nothing in the file is
        without the flag, or no RLE is and the images have the fields that datumaro, CVAT or supervision write: they
        flag whatever is no polygon, where COCO flags groups alone.
        """
        if crowds != "auto":
            return crowds == "drop", ""
        if self.flagged and _are_of_darwin(images):
            return False, f"V7 sets iscrowd on outlines with holes, so {self.flagged} are taken for single objects"
        if not self.flagged or (self.flagged < self.masks and (self.plain_rle or not _flag_every_rle(images))):
            return True, ""
        which = "every mask" if self.flagged == self.masks else "every RLE"
        return False, (
            f"iscrowd is 1 on {which}, so {self.flagged} are taken for single objects; --crowds drop leaves them out"
        )


def are_of_supervision(images: Sequence[Any]) -> bool:
    """Whether all images have the fields that supervision writes."""
    records = [image for image in images if isinstance(image, dict)]
    return bool(records) and all(map(_is_of_supervision, records))


def _are_of_darwin(images: Sequence[Any]) -> bool:
    """Whether all images have the fields that V7's exporter (darwin-py) writes."""
    return bool(images) and all(isinstance(image, dict) and "darwin_workview_url" in image for image in images)


def _flag_every_rle(images: Sequence[Any]) -> bool:
    records = [image for image in images if isinstance(image, dict)]
    return are_of_supervision(images) or (bool(records) and all(map(_is_of_datumaro, records)))


def _is_of_datumaro(image: dict[str, Any]) -> bool:
    return all(image.get(key) == value for key, value in _OF_DATUMARO.items())


def _is_of_supervision(image: dict[str, Any]) -> bool:
    return bool(_DATE_OF_SUPERVISION.fullmatch(str(image.get("date_captured")))) and "coco_url" not in image
