"""Bringing pictures, and the masks that come with them, into a workspace.

Pictures fill shards in the order in which they are named. A shard is committed in three steps, each of which can be
repeated: copy the files, write the masks, write the images table. So after a kill the rerun finds the committed shards
done and goes on; the second time writes nothing.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from engine.coco import Problem
from engine.files import storage_errors
from engine.gps import Countries, position_of
from engine.images import DecodedImage, decode_image_file, orientation_of, page_count, read_bytes
from engine.keys import content_key
from engine.labels.crowds import Crowds
from engine.labels.frames import MaskFrame, upright_masks
from engine.labels.text import printable
from engine.places import scratch_folder
from engine.progress import Progress
from engine.rle import measured
from engine.sources import Candidate, gather, page_problem
from engine.store import Store
from schemas.config import ImagesConfig
from schemas.content_ids import content_id
from schemas.errors import InputError
from schemas.mask import mask_id
from schemas.tables import GROUND_TRUTH, Split, table_of

_CHUNK = 256


@dataclass
class IngestReport:
    """What an ingest did.

    `crowds` counts COCO masks of groups, which are left out; `ignored_endings` files in folders that are no pictures,
    by ending; `mended` what was repaired, by name. `notes` says what was assumed, a line each.
    """

    added: int = 0
    duplicates: int = 0
    masks: int = 0
    crowds: int = 0
    ignored_endings: Counter[str] = field(default_factory=Counter)
    rejected: list[Problem] = field(default_factory=list)
    shards: list[str] = field(default_factory=list)
    mended: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    @property
    def ignored(self) -> int:
        """How many files in folders are no pictures."""
        return self.ignored_endings.total()


class _Picture(NamedTuple):
    """A candidate that is a picture; its size is (0, 0) where the store knows it already and it was not decoded."""

    candidate: Candidate
    image_id: int
    width: int
    height: int
    extension: str
    pages: int
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    country: str = ""


def ingest(
    store: Store,
    sources: Iterable[Path],
    *,
    images_root: Path | None = None,
    crowds: Crowds = "auto",
    mask_frame: MaskFrame = "auto",
    config: ImagesConfig | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Bring files, folders, .txt lists and label files (with masks, into `ground_truth`) into the store.

    images_root: folder of the pictures of label files, where they do not lie beside the file; no other picture outside
    a label file's folder is taken. crowds, mask_frame: what `iscrowd` means and in which frame masks of turned photos
    were drawn, see `engine.labels.crowds.CrowdFlags` and `engine.labels.frames.upright_masks`.
    config: the workspace's own where None.
    progress is called with ("ingest", done, total) candidates.
    Every picture is decoded whole once; equal files are one image. A picture, mask or file that cannot be taken is
    listed in the report and in the table `rejected`, and the rest goes on. When the first masks of an image arrive, it
    is held out with probability `holdout_frac`, which follows from its id alone; an image that a stage has annotated
    already stays in training; a `split` in the COCO file wins over both.
    Raises InputError if the disk is full, WaitError if another ingest works on this workspace.
    """
    files = store.files
    config = config or files.settings().images
    busy = f"{files}: another ingest is running here; start this one when it is done"
    with ExitStack() as ends:
        ends.enter_context(storage_errors(files))
        ends.enter_context((files.root / ".ingest.lock").only_one(busy=busy))
        files.images.remove_unfinished()
        scratch = ends.enter_context(scratch_folder()) if config.copy_images else None
        gathered = gather(sources, images_root=images_root, crowds=crowds, scratch=scratch)
        work = _Ingest(store, config, mask_frame)
        work.report.rejected += gathered.problems
        work.report.ignored_endings = gathered.ignored
        work.report.mended, work.report.notes = gathered.mended, gathered.notes
        work.run(gathered.candidates, progress)
        looked_at = gathered.looked_at | {candidate.source for candidate in gathered.candidates}
        _record_rejected(store, work.report.rejected, looked_at)
        store.image_index()  # brought up to date here, where its seconds do not count
    return work.report


def split_of(image_id: int, *, holdout_frac: float) -> Split:
    """Where an image with ground truth belongs: ids are uniform in `[0, 2**63)`, so the lowest share is held out.

    Does not depend on other images, so it stays when more arrive.
    """
    return "holdout" if image_id < holdout_frac * 2**63 else "train"


class _Ingest:
    """One run: looks at candidates, fills shards, commits each shard when it is full and what is left at the end."""

    def __init__(self, store: Store, config: ImagesConfig, frame: MaskFrame) -> None:
        self.store = store
        self.frame = frame
        self.config = config
        self.report = IngestReport()
        self._index = store.image_index()  # of the images from before
        self._placed: dict[int, str] = {}  # shards of those that came since
        self._open = self._index.shards[-1] if self._index.shards else "000000"
        self._open_count = len(self._index.of_shard(self._open))
        self._new: list[_Picture] = []
        # What came with images of each shard: masks and splits, also for images that are in the store already.
        self._arrived: dict[str, dict[int, list[Candidate]]] = defaultdict(lambda: defaultdict(list))
        self._countries = Countries() if config.country_from_gps else None
        self._pool = ThreadPoolExecutor(max_workers=os.cpu_count() or 1)

    def run(self, candidates: list[Candidate], progress: Progress | None) -> None:
        with self._pool:
            for start in range(0, len(candidates), _CHUNK):
                chunk = candidates[start : start + _CHUNK]
                for done, looked in enumerate(self._pool.map(self._look_at, chunk), start=start + 1):
                    if isinstance(looked, Problem):
                        self.report.rejected.append(looked)
                    else:
                        self._place(looked)
                    if progress:
                        progress("ingest", done, len(candidates))
            if self._new:
                self._commit(self._open)
            for shard in sorted(self._arrived):
                self._commit(shard)

    def _shard_of(self, image_id: int) -> str | None:
        return self._placed.get(image_id) or self._index.shard_of(image_id)

    def _look_at(self, candidate: Candidate) -> _Picture | Problem:
        try:
            data = read_bytes(candidate.path)
            image_id = content_id(data)
            known = self._shard_of(image_id) is not None
            if known and not (candidate.masks and orientation_of(candidate.path) != 1):
                return _Picture(candidate, image_id, 0, 0, "", page_count(data))
            decoded = decode_image_file(
                data,
                max_megapixels=self.config.max_megapixels,
                name=candidate.source,
                bit_depth=self.config.bit_depth,
            )
        except InputError as error:
            return Problem(candidate.source, "image", str(error).removeprefix(f"{candidate.source}: "))
        height, width, _ = decoded.pixels.shape
        candidate, notes, problems = _upright(candidate, decoded, self.frame)
        notes = notes if known else (*decoded.notes, *notes)
        country = "" if known else self._country(data)
        return _Picture(candidate, image_id, width, height, decoded.extension, decoded.pages, notes, problems, country)

    def _country(self, data: bytes) -> str:
        position = position_of(data) if self._countries else None
        return self._countries.of(position) if self._countries and position else ""

    def _place(self, picture: _Picture) -> None:
        if self._open_count + len(self._new) >= self.config.shard_size:
            if self._new:
                self._commit(self._open)
            self._open, self._open_count = f"{int(self._open) + 1:06d}", 0
        self.report.rejected += page_problem(picture.candidate.source, picture.pages)
        self.report.rejected += picture.problems
        self.report.mended.update(picture.notes)
        shard = self._shard_of(picture.image_id)
        if shard is None:
            shard = self._placed[picture.image_id] = self._open
            self._new.append(picture)
        else:
            self.report.duplicates += 1
        if picture.candidate.masks or picture.candidate.split:
            self._arrived[shard][picture.image_id].append(picture.candidate)

    def _commit(self, shard: str) -> None:
        """Write the new pictures of a shard (of the open one) and the masks that arrived for it."""
        rows = self.store.read_shard("images", shard).to_pylist()
        if shard == self._open:
            added = self._copy(shard)
            rows += added
            self._open_count, self._new = len(rows), []
            self.report.added += len(added)
        arrived = self._arrived.pop(shard, {})
        described = self._write_masks(shard, rows, arrived)
        self._decide_splits(shard, rows, arrived, described)
        rows.sort(key=lambda row: row["image_id"])
        # An image of no country has the key that it had before there was the column.
        told = [{name: value for name, value in row.items() if name != "country" or value} for row in rows]
        key = content_key("images", [sorted(row.items()) for row in told])
        if self.store.replace_shard("images", shard, table_of("images", rows), key=key):
            self.report.shards.append(shard)

    def _copy(self, shard: str) -> list[dict[str, Any]]:
        rows = []
        copies = self._pool.map(lambda picture: self._copy_one(picture, shard), self._new)
        for picture, copied in zip(self._new, copies, strict=True):
            if isinstance(copied, Problem):
                self.report.rejected.append(copied)
                del self._placed[picture.image_id]
            else:
                rows.append(copied)
        if rows and self.config.copy_images:
            (self.store.files.images / shard).sync()
            self.store.files.images.sync()
        return rows

    def _copy_one(self, picture: _Picture, shard: str) -> dict[str, Any] | Problem:
        source = picture.candidate.path
        path = str(source)
        if self.config.copy_images:
            path = f"images/{shard}/{picture.image_id}.{picture.extension}"
            target = self.store.files.picture(path)
            if not target.exists():  # else it is whole, and its name says that it is this one
                try:
                    data = read_bytes(source)
                    if content_id(data) != picture.image_id:
                        raise InputError("the file changed while it was read; ingest it again")
                except InputError as error:
                    return Problem(str(source), "image", str(error).removeprefix(f"{source}: "))
                target.write(data, sync_folder=False)
        return {
            "image_id": picture.image_id,
            "shard": shard,
            "path": path,
            "source": printable(picture.candidate.source),
            "width": picture.width,
            "height": picture.height,
            "split": "train",
            "has_ground_truth": False,
            "country": picture.country,
        }

    def _write_masks(self, shard: str, rows: list[dict[str, Any]], arrived: dict[int, list[Candidate]]) -> set[int]:
        """Add the masks that arrived to the ground truth of a shard. Returns the ids of all images that have some."""
        there = self.store.read_shard(GROUND_TRUTH, shard)
        # A kill between masks and images can leave masks of an image that then came into another shard.
        ids = pa.array([row["image_id"] for row in rows], type=pa.int64())
        there = there.filter(pc.is_in(there["image_id"], value_set=ids))
        known = set(there["mask_id"].to_pylist())
        fresh: list[dict[str, Any]] = []
        for row in rows:
            for candidate in arrived.get(row["image_id"], ()):
                fresh += self._mask_rows(candidate, row, known)
        merged = pa.concat_tables([there, table_of(GROUND_TRUTH, fresh)])
        key = content_key(GROUND_TRUTH, sorted(merged["mask_id"].to_pylist()))
        if len(merged) or self.store.committed(GROUND_TRUTH, shard) is not None:
            self.store.replace_shard(GROUND_TRUTH, shard, merged, key=key)
        self.report.masks += len(fresh)
        return set(merged["image_id"].to_pylist())

    def _mask_rows(self, candidate: Candidate, image: dict[str, Any], known: set[int]) -> Iterator[dict[str, Any]]:
        """Rows for the masks that are not in `known`; puts them there."""
        for mask in candidate.masks:
            identity = mask_id(image["image_id"], GROUND_TRUTH, 0, mask.rle.counts)
            if (mask.rle.height, mask.rle.width) != (image["height"], image["width"]):
                reason = (
                    f"the mask is {mask.rle.width}x{mask.rle.height} px, the upright picture "
                    f"{image['width']}x{image['height']} px; masks refer to the picture after EXIF orientation"
                )
                self.report.rejected.append(Problem(mask.source, "mask", reason))
            elif mask.iscrowd:
                self.report.crowds += 1
            elif identity not in known:
                known.add(identity)
                annotator = f"imported-{mask.annotator}" if mask.annotator else "imported"
                imported = replace(measured(mask.rle), annotator=annotator, label=mask.label)
                yield imported.to_row(image_id=image["image_id"], shard=image["shard"], stage=GROUND_TRUTH, round=0)

    def _decide_splits(
        self, shard: str, rows: list[dict[str, Any]], arrived: dict[int, list[Candidate]], described: set[int]
    ) -> None:
        annotated: set[int] | None = None
        for row in rows:
            image_id = row["image_id"]
            told = [candidate.split for candidate in arrived.get(image_id, ()) if candidate.split]
            if told:
                row["split"] = told[-1]
            elif image_id in described and not row["has_ground_truth"]:
                annotated = self._annotated(shard) if annotated is None else annotated
                if image_id not in annotated:
                    row["split"] = split_of(image_id, holdout_frac=self.config.holdout_frac)
            row["has_ground_truth"] = image_id in described

    def _annotated(self, shard: str) -> set[int]:
        tables = [self.store.read_shard(stage, shard, columns=["image_id"]) for stage in self.store.stages]
        return set(pa.concat_tables(tables)["image_id"].to_pylist())


def _upright(
    candidate: Candidate, decoded: DecodedImage, frame: MaskFrame
) -> tuple[Candidate, tuple[str, ...], tuple[Problem, ...]]:
    """A candidate with its masks in the frame of the upright picture, what was done, and masks that had to go."""
    if decoded.orientation == 1 or not candidate.masks:
        return candidate, (), ()
    drawn = [mask.rle for mask in candidate.masks]
    try:
        turned = upright_masks(drawn, decoded.pixels, orientation=decoded.orientation, frame=frame)
    except InputError as error:
        problems = tuple(Problem(mask.source, "mask", str(error)) for mask in candidate.masks)
        return replace(candidate, masks=()), (), problems
    masks = tuple(replace(mask, rle=rle) for mask, rle in zip(candidate.masks, turned, strict=True))
    moved = sum(mask != rle for mask, rle in zip(drawn, turned, strict=True))
    return replace(candidate, masks=masks), ("mask in the stored frame of a turned photo",) * moved, ()


def _record_rejected(store: Store, problems: list[Problem], looked_at: set[str]) -> None:
    """List `problems`; forget what earlier runs said about the files that this one looked at."""
    kept = [
        row
        for row in store.read_table("rejected").to_pylist()
        if row["source"] not in looked_at and row["source"].rpartition(": ")[0] not in looked_at
    ]
    rows = {tuple(sorted(row.items())): row for row in kept + [_row_of(problem) for problem in problems]}
    rejected = table_of("rejected", list(rows.values()))
    if len(rejected) or store.counts()["rejected"]:
        store.replace_table("rejected", rejected)


def _row_of(problem: Problem) -> dict[str, Any]:
    return {**problem._asdict(), "source": printable(problem.source), "reason": printable(problem.reason)}
