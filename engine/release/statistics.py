"""What a release holds, in numbers: `statistics.json`, counted from its index, one tar at a time."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from engine.places import Place
from engine.table_files import as_rows_of
from schemas.release import IMAGE_INDEX, MASK_INDEX, ReleasedTar

STATISTICS_FILE = "statistics.json"
_SCORES = ("predicted_iou", "stability_score")
_SIZE_EDGES = (0.0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0)  # of sqrt(mask area / picture area), as the report's
_SCORE_EDGES = tuple(round(0.05 * step, 2) for step in range(21))
_COUNTED = ("width", "height", "masks", "split", "country")
_IMAGES = ["image_id", *_COUNTED, "blurred", "blur_detectors"]
_MASKS = ["image_id", "area", "stage", "round", "origin", "annotator", "model_id", "label", *_SCORES]
_LABELS = 100  # that are listed, most frequent first


class Spread(BaseModel):
    """Of whole numbers. All 0 where there are none."""

    model_config = ConfigDict(frozen=True)

    least: int = 0
    median: int = 0
    mean: float = 0.0
    most: int = 0

    @classmethod
    def of(cls, counts: Mapping[int, int]) -> "Spread":
        """counts: how often there is each number. The median is the lower of two."""
        total = sum(counts.values())
        if not total:
            return cls()
        values = sorted(counts)
        below = np.cumsum([counts[value] for value in values])
        median = values[int(np.searchsorted(below, (total + 1) // 2))]
        mean = sum(value * count for value, count in counts.items()) / total
        return cls(least=values[0], median=median, mean=round(mean, 4), most=values[-1])


class Histogram(BaseModel):
    """masks: how many lie from each edge to the next, the upper one only in the last. unknown: without a value."""

    model_config = ConfigDict(frozen=True)

    edges: tuple[float, ...]
    masks: tuple[int, ...]
    unknown: int = 0


class Statistics(BaseModel):
    """What `statistics.json` holds. Names are those of the index; masks are counted where nothing else is said.

    rounds: by stage and round, as "STAGE ROUND". relative_size: sqrt(mask area / picture area). labels: the most
    frequent ones, "" where a mask has none; countries likewise. blurred: parts by detector;
    pictures_blurred: with at least one.
    """

    model_config = ConfigDict(frozen=True)

    pictures: int
    masks: int
    bytes_of_tars: int
    width_px: Spread
    height_px: Spread
    masks_per_picture: Spread
    relative_size: Histogram
    predicted_iou: Histogram
    stability_score: Histogram
    stages: dict[str, int]
    rounds: dict[str, int]
    origins: dict[str, int]
    annotators: dict[str, int]
    models: dict[str, int]
    different_labels: int
    labels: dict[str, int]
    pictures_by_split: dict[str, int]
    pictures_by_country: dict[str, int]
    pictures_looked_at_by: dict[str, int]
    pictures_blurred: int
    blurred: dict[str, int]

    def to_json(self) -> bytes:
        return (json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n").encode()


def statistics_of(folder: Place, tars: Sequence[ReleasedTar]) -> Statistics:
    """Count what the index of the release in `folder` says; its manifest need not be there yet.

    Raises OSError or pa.ArrowException where a file of the index cannot be read.
    """
    counted = _Counted()
    for tar in tars:
        pictures = _columns(folder / tar.image_index.name, IMAGE_INDEX, _IMAGES)
        counted.add_pictures(pictures)
        counted.add_masks(_columns(folder / tar.mask_index.name, MASK_INDEX, _MASKS), pictures)
    return counted.result(sum(tar.tar.bytes for tar in tars))


class _Counted:
    def __init__(self) -> None:
        self.pictures: dict[str, Counter[Any]] = {name: Counter() for name in _COUNTED}
        self.looked_at: Counter[str] = Counter()
        self.blurred: Counter[str] = Counter()
        self.with_blur = 0
        names = ("stage", "origin", "annotator", "model_id", "label")
        self.masks: dict[str, Counter[Any]] = {name: Counter() for name in names}
        self.rounds: Counter[tuple[str, int]] = Counter()
        edges = {"relative_size": _SIZE_EDGES, **dict.fromkeys(_SCORES, _SCORE_EDGES)}
        self.edges = edges
        self.bins = {name: np.zeros(len(found) - 1, dtype=np.int64) for name, found in edges.items()}
        self.unknown: Counter[str] = Counter()

    def add_pictures(self, table: pa.Table) -> None:
        for name, counter in self.pictures.items():
            counter.update(table[name].to_pylist())
        for detectors in table["blur_detectors"].to_pylist():
            self.looked_at.update(detectors)
        for regions in table["blurred"].to_pylist():
            self.blurred.update(region["detector"] for region in regions)
            self.with_blur += bool(regions)

    def add_masks(self, table: pa.Table, pictures: pa.Table) -> None:
        """pictures: rows of the image index for all pictures of the masks."""
        for name, counter in self.masks.items():
            for found in table[name].value_counts().to_pylist():
                counter[found["values"]] += found["counts"]
        self.rounds.update(zip(table["stage"].to_pylist(), table["round"].to_pylist(), strict=True))
        ids, sides = pictures["image_id"].to_numpy(), [pictures[name].to_numpy() for name in ("width", "height")]
        order = np.argsort(ids)
        rows = order[np.searchsorted(ids, table["image_id"].to_numpy(), sorter=order)] if len(table) else order[:0]
        picture_areas = sides[0][rows].astype(np.float64) * sides[1][rows]
        self._into_bins("relative_size", np.sqrt(table["area"].to_numpy() / picture_areas))
        for name in _SCORES:
            self._into_bins(name, table[name].to_numpy().astype(np.float64))

    def _into_bins(self, name: str, values: npt.NDArray[np.float64]) -> None:
        known = values[~np.isnan(values)]
        edges = self.edges[name]
        self.unknown[name] += len(values) - len(known)
        self.bins[name] += np.histogram(np.clip(known, edges[0], edges[-1]), bins=edges)[0]

    def result(self, bytes_of_tars: int) -> Statistics:
        histograms = {
            name: Histogram(edges=edges, masks=tuple(self.bins[name].tolist()), unknown=self.unknown[name])
            for name, edges in self.edges.items()
        }
        labels = sorted(self.masks["label"].items(), key=lambda found: (-found[1], found[0]))
        return Statistics(
            pictures=self.pictures["masks"].total(),
            masks=self.masks["stage"].total(),
            bytes_of_tars=bytes_of_tars,
            width_px=Spread.of(self.pictures["width"]),
            height_px=Spread.of(self.pictures["height"]),
            masks_per_picture=Spread.of(self.pictures["masks"]),
            **histograms,
            stages=_sorted(self.masks["stage"]),
            rounds={f"{stage} {number}": count for (stage, number), count in sorted(self.rounds.items())},
            origins=_sorted(self.masks["origin"]),
            annotators=_sorted(self.masks["annotator"]),
            models=_sorted(self.masks["model_id"]),
            different_labels=sum(bool(label) for label, _ in labels),
            labels=dict(labels[:_LABELS]),
            pictures_by_split=_sorted(self.pictures["split"]),
            pictures_by_country=_sorted(self.pictures["country"]),
            pictures_looked_at_by=_sorted(self.looked_at),
            pictures_blurred=self.with_blur,
            blurred=_sorted(self.blurred),
        )


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items()))


def _columns(path: Place, schema: pa.Schema, names: list[str]) -> pa.Table:
    """Those columns of an index file; what was written before there was one is unknown."""
    there = pq.ParquetFile(pa.BufferReader(path.read()))
    table = there.read(columns=[name for name in names if name in there.schema_arrow.names])
    return as_rows_of(pa.schema([schema.field(name) for name in names]), table)
