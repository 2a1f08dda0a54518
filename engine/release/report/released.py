"""The masks of a release as a report reads them: numbers from the index, pixels of few masks from the tars."""

import tarfile
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from engine import rle as rle_codec
from engine.places import Place
from engine.release.reader import Progress, cannot_be_read, mask_id_columns, read_manifest
from engine.release.report.properties import MaskProperties
from schemas.errors import InputError
from schemas.release import ReleasedTar
from schemas.rle import Rle
from schemas.sa1b import parse_record

_ROWS_AT_ONCE = 100_000
_PICTURES = ["image_id", "width", "height", "masks", "file_name"]


class ReleasedMasks:
    """A release beside which others may be set. Items of its sample: (tar's number, image_id, id)."""

    def __init__(self, place: Place, name: str = "", *, progress: Progress | None = None) -> None:
        """name: the manifest's where "". Raises InputError if the folder is no release or its manifest is broken."""
        self.place, self.manifest = place, read_manifest(place)
        self.name = name or self.manifest.name
        self._progress = progress

    def properties(self) -> MaskProperties:
        """Read the index, tar by tar. Raises InputError that names what cannot be read."""
        found = MaskProperties(self.name)
        for number, tar in enumerate(self.manifest.tars):
            with cannot_be_read(self.place, tar):
                self._add(found, number, tar)
            self._told(f"{self.name}: index", number + 1)
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
            self._told(f"{self.name}: sampled masks", done + 1, len(wanted))
        return found

    def batches(self, file: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Rows of an index file, some at a time."""
        with (self.place / file).opened() as content:
            yield from pq.ParquetFile(content).iter_batches(batch_size=_ROWS_AT_ONCE, columns=columns)

    def pictures(self, tar: ReleasedTar) -> dict[str, npt.NDArray[Any]]:
        """Columns of a tar's pictures, sorted by image_id."""
        table = pa.Table.from_batches(list(self.batches(tar.image_index.name, _PICTURES))).sort_by("image_id")
        return {name: table[name].to_numpy() for name in _PICTURES}

    def _add(self, found: MaskProperties, number: int, tar: ReleasedTar) -> None:
        pictures = self.pictures(tar)
        found.add_pictures(pictures["masks"])
        id_column, content_column = mask_id_columns(self.manifest)
        columns = list(dict.fromkeys(["image_id", id_column, content_column, "area", "bbox_xyxy"]))
        for batch in self.batches(tar.mask_index.name, columns):
            image_ids, mask_ids, keys = (batch[each].to_numpy() for each in ("image_id", id_column, content_column))
            rows = np.searchsorted(pictures["image_id"], image_ids)
            if (pictures["image_id"].take(rows, mode="clip") != image_ids).any():
                raise ValueError("a mask of a picture that is not in the index")
            sizes = np.stack([pictures["width"][rows], pictures["height"][rows]], axis=1).astype(np.int64)
            boxes = batch["bbox_xyxy"].flatten().to_numpy().astype(np.float64).reshape(-1, 4)
            items = np.stack([np.full(len(batch), number), image_ids, mask_ids], axis=1)
            found.add_masks(boxes, batch["area"].to_numpy(), sizes, keys=keys, items=items)

    def _masks_of(self, tar: ReleasedTar, wanted: dict[int, set[int]]) -> list[Rle]:
        pictures = self.pictures(tar)
        rows = np.searchsorted(pictures["image_id"], list(wanted))
        files = {name.rpartition(".")[0] + ".json" for name in pictures["file_name"][rows]}
        found: dict[int, Rle] = {}
        ids = set().union(*wanted.values())
        with (self.place / tar.tar.name).opened() as content, tarfile.open(fileobj=content, mode="r:") as members:
            for member in members:
                if member.name not in files or (file := members.extractfile(member)) is None:
                    continue
                record = parse_record(file.read(), name=f"{self.place / tar.tar.name}: {member.name}")
                for annotation in record.annotations:
                    if annotation.id in ids:
                        size = (record.image.height, record.image.width)
                        found[annotation.id] = rle_codec.from_coco(annotation.segmentation.model_dump(), *size)
        if missing := ids - found.keys():
            raise ValueError(f"{len(missing)} masks of the index are not in it, such as {min(missing)}")
        return [found[mask_id] for mask_id in sorted(ids)]

    def _told(self, what: str, done: int, total: int | None = None) -> None:
        if self._progress is not None:
            self._progress(what, done, len(self.manifest.tars) if total is None else total)


def open_release(place: Place, name: str = "", *, progress: Progress | None = None) -> ReleasedMasks:
    """Raises InputError if the folder is no release, its manifest is broken, or it has no masks."""
    release = ReleasedMasks(place, name, progress=progress)
    if not release.manifest.masks:
        raise InputError(f"{place}: there is no mask in this release, so there is nothing to report on")
    return release
