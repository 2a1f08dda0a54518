"""A mask as COCO's run-length encoding, the form in which every mask is kept; `engine.rle` encodes and decodes it."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypedDict


class CocoRle(TypedDict):
    """A mask as pycocotools takes it: size [height, width] and compressed counts."""

    size: list[int]
    counts: bytes


class Rle(NamedTuple):
    """A mask of `height` x `width` pixels as COCO's compressed counts (ASCII bytes)."""

    height: int
    width: int
    counts: bytes

    def coco(self) -> CocoRle:
        """The form that pycocotools takes."""
        return {"size": [self.height, self.width], "counts": self.counts}

    @classmethod
    def of_coco(cls, coco: CocoRle) -> "Rle":
        """From the form that pycocotools gives."""
        height, width = coco["size"]
        return cls(height, width, coco["counts"])

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Rle":
        """The pixels of a row of a masks table."""
        return cls(int(row["height"]), int(row["width"]), bytes(row["rle"]))

    def to_coco(self) -> dict[str, Any]:
        """The JSON form: {"size": [height, width], "counts": str}."""
        return {"size": [self.height, self.width], "counts": self.counts.decode("ascii")}
