"""The masks of a release as a report reads them: numbers from the index, pixels of few masks from the tars."""

import math
import tarfile
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from engine import rle as rle_codec
from engine.images import decode_image
from engine.places import Place
from engine.progress import Progress
from engine.release.reader import cannot_be_read, mask_id_columns, read_manifest
from engine.release.report.properties import MaskProperties
from schemas.errors import InputError
from schemas.release import ReleasedTar
from schemas.rle import Rle
from schemas.sa1b import parse_record

_ROWS_AT_ONCE = 100_000
_PICTURES = ["image_id", "width", "height", "masks", "file_name"]
_SCORES = ("predicted_iou", "stability_score")
_MASKS = ("image_id", "area", "bbox_xyxy", "stage", "round", "origin", *_SCORES)


class Made(NamedTuple):
    """How masks came to be: the stage and round, and who drew them (origin)."""

    stage: str
    round: int
    origin: str


@dataclass
class MadeMasks:
    """Of the masks that were made alike; the means are None where nobody measured it."""

    masks: int = 0
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_SCORES, 0.0))
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_SCORES, 0))

    def mean(self, score: Literal["predicted_iou", "stability_score"]) -> float | None:
        return self.sums[score] / self.counts[score] if self.counts[score] else None


class LabelledPicture(NamedTuple):
    """pixels: (H, W, 3) uint8 RGB. masks, origins: by key, those that were asked for."""

    pixels: npt.NDArray[np.uint8]
    masks: dict[int, Rle]
    origins: dict[int, str]


class ReleasedMasks:
    """A release beside which others may be set. Items of its sample: (tar's number, image_id, id).

    made: counted along with `properties`, in the order of stages and rounds.
    """

    def __init__(self, place: Place, name: str = "", *, progress: Progress | None = None) -> None:
        """name: the manifest's where "". Raises InputError if the folder is no release or its manifest is broken."""
        self.place, self.manifest = place, read_manifest(place)
        self.name = name or self.manifest.name
        self.made: dict[Made, MadeMasks] = {}
        self._progress = progress

    def properties(self) -> MaskProperties:
        """Read the index, tar by tar. Raises InputError that names what cannot be read."""
        found, made = MaskProperties(self.name), defaultdict[Made, MadeMasks](MadeMasks)
        for number, tar in enumerate(self.manifest.tars):
            with cannot_be_read(self.place, tar):
                self._add(found, made, number, tar)
            self.told(f"{self.name}: index", number + 1)
        self.made = {key: made[key] for key in sorted(made, key=self._order)}
        return found

    def masks(self, items: list[Any]) -> list[Rle]:
        """Read the json of the pictures that the items lie in; no other file of a tar is read."""
        wanted: dict[int, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
        for number, image_id, mask_id in items:
            wanted[int(number)][int(image_id)].add(int(mask_id))
        found: list[Rle] = []
        for done, number in enumerate(sorted(wanted)):
            tar = self.manifest.tars[number]
            with cannot_be_read(self.place, tar):
                found += self._masks_of(tar, wanted[number])
            self.told(f"{self.name}: sampled masks", done + 1, len(wanted))
        return found

    def batches(self, file: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Rows of an index file, some at a time."""
        with (self.place / file).opened() as content:
            yield from pq.ParquetFile(content).iter_batches(batch_size=_ROWS_AT_ONCE, columns=columns)

    def pictures(self, tar: ReleasedTar) -> dict[str, npt.NDArray[Any]]:
        """Columns of a tar's pictures, sorted by image_id."""
        table = pa.Table.from_batches(list(self.batches(tar.image_index.name, _PICTURES))).sort_by("image_id")
        return {name: table[name].to_numpy() for name in _PICTURES}

    def _order(self, made: Made) -> tuple[int, int, str]:
        stages = self.manifest.stages
        return stages.index(made.stage) if made.stage in stages else len(stages), made.round, made.origin

    def _add(self, found: MaskProperties, made: dict[Made, MadeMasks], number: int, tar: ReleasedTar) -> None:
        pictures = self.pictures(tar)
        found.add_pictures(pictures["masks"])
        id_column, content_column = mask_id_columns(self.manifest)
        columns = list(dict.fromkeys([id_column, content_column, *_MASKS]))
        for batch in self.batches(tar.mask_index.name, columns):
            image_ids, mask_ids, keys = (batch[each].to_numpy() for each in ("image_id", id_column, content_column))
            rows = np.searchsorted(pictures["image_id"], image_ids)
            if (pictures["image_id"].take(rows, mode="clip") != image_ids).any():
                raise ValueError("a mask of a picture that is not in the index")
            sizes = np.stack([pictures["width"][rows], pictures["height"][rows]], axis=1).astype(np.int64)
            boxes = batch["bbox_xyxy"].flatten().to_numpy().astype(np.float64).reshape(-1, 4)
            items = np.stack([np.full(len(batch), number), image_ids, mask_ids], axis=1)
            found.add_masks(boxes, batch["area"].to_numpy(), sizes, keys=keys, items=items)
            _count_made(made, batch)

    def _masks_of(self, tar: ReleasedTar, wanted: dict[int, set[int]]) -> list[Rle]:
        pictures = self.pictures(tar)
        rows = np.searchsorted(pictures["image_id"], list(wanted))
        files = {name.rpartition(".")[0] + ".json" for name in pictures["file_name"][rows]}
        found: dict[int, Rle] = {}
        ids = set().union(*wanted.values())
        for name, text in self._members(tar, files):
            found |= _masks_in(text, f"{self.place / tar.tar.name}: {name}", ids)
        if missing := ids - found.keys():
            raise ValueError(f"{len(missing)} masks of the index are not in it, such as {min(missing)}")
        return [found[mask_id] for mask_id in sorted(ids)]

    def labelled(self, keys: Collection[int], *, content_ids: bool) -> Iterator[LabelledPicture]:
        """Pictures that have masks with these keys, in the order of the tars. Only these are read and decoded.

        content_ids: whether the keys are ids of masks in the workspace, or else those of the json.
        """
        columns = mask_id_columns(self.manifest)
        wanted = pa.array(sorted(keys), pa.int64())
        for done, tar in enumerate(self.manifest.tars, start=1):
            with cannot_be_read(self.place, tar):
                asked = list(dict.fromkeys(["image_id", "origin", *columns]))
                rows = _rows_of(self.batches(tar.mask_index.name, asked), columns[content_ids], wanted)
                yield from self._labelled(tar, rows, id_column=columns[0], key_column=columns[content_ids])
            self.told("labelled masks", done)

    def _labelled(
        self, tar: ReleasedTar, rows: list[dict[str, Any]], *, id_column: str, key_column: str
    ) -> Iterator[LabelledPicture]:
        if not rows:
            return
        by_id = {row[id_column]: row for row in rows}
        pictures = self.pictures(tar)
        places = np.searchsorted(pictures["image_id"], sorted({row["image_id"] for row in rows}))
        names = pictures["file_name"][places].tolist()
        files = {*names, *(name.rpartition(".")[0] + ".json" for name in names)}
        jpeg = b""
        for name, data in self._members(tar, files):
            if not name.endswith(".json"):
                jpeg = data
                continue
            masks = _masks_in(data, f"{self.place / tar.tar.name}: {name}", by_id.keys())
            found = [(by_id.pop(mask_id), mask) for mask_id, mask in masks.items()]
            yield LabelledPicture(
                decode_image(jpeg, max_megapixels=math.inf, name=name),
                {row[key_column]: mask for row, mask in found},
                {row[key_column]: row["origin"] for row, _ in found},
            )
        if by_id:
            raise ValueError(f"{len(by_id)} masks of the index are not in it, such as {min(by_id)}")

    def _members(self, tar: ReleasedTar, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """These members of a tar; the others are passed over unread."""
        with (self.place / tar.tar.name).opened() as content, tarfile.open(fileobj=content, mode="r:") as members:
            for member in members:
                if member.name in names and (file := members.extractfile(member)) is not None:
                    yield member.name, file.read()

    def told(self, what: str, done: int, total: int | None = None) -> None:
        """Of tars, unless a total is given."""
        if self._progress is not None:
            self._progress(what, done, len(self.manifest.tars) if total is None else total)


def _masks_in(text: bytes, name: str, ids: Collection[int]) -> dict[int, Rle]:
    """Of a json file the masks with these ids."""
    record = parse_record(text, name=name)
    size = (record.image.height, record.image.width)
    return {
        annotation.id: rle_codec.from_coco(annotation.segmentation.model_dump(), *size)
        for annotation in record.annotations
        if annotation.id in ids
    }


def _rows_of(batches: Iterator[pa.RecordBatch], column: str, values: pa.Array) -> list[dict[str, Any]]:
    """Those with one of these values in a column."""
    return [row for batch in batches for row in batch.filter(pc.is_in(batch[column], value_set=values)).to_pylist()]


def _count_made(made: dict[Made, MadeMasks], batch: pa.RecordBatch) -> None:
    rows = pa.table({name: batch[name] for name in Made._fields})
    for name in _SCORES:  # NaN where nobody measured it
        rows = rows.append_column(name, pc.if_else(pc.is_nan(batch[name]), None, batch[name]).cast(pa.float64()))
    asked = [(name, kind) for name in _SCORES for kind in ("sum", "count")]
    for row in rows.group_by(Made._fields).aggregate([([], "count_all"), *asked]).to_pylist():
        one = made[Made(*(row[name] for name in Made._fields))]
        one.masks += row["count_all"]
        for name in _SCORES:
            one.sums[name] += row[f"{name}_sum"] or 0.0
            one.counts[name] += row[f"{name}_count"]


def open_release(place: Place, name: str = "", *, progress: Progress | None = None) -> ReleasedMasks:
    """Raises InputError if the folder is no release, its manifest is broken, or it has no masks."""
    release = ReleasedMasks(place, name, progress=progress)
    if not release.manifest.masks:
        raise InputError(f"{place}: there is no mask in this release, so there is nothing to report on")
    return release
