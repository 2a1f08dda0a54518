"""Releases of several workspaces as one.

Pictures and masks get new numbers: those of the first release stay, those of each other are moved up by the highest
number of the releases before it. So a merge of the same releases and some more behind them calls everything as before.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from engine.files import storage_errors
from engine.keys import content_key
from engine.places import Place, place, scratch_folder
from engine.progress import Progress
from engine.release.documents import write_documents
from engine.release.later_masks import LaterMasks, LaterMasksOfPicture
from engine.release.merged_words import merged_card
from engine.release.reader import PictureOfRelease, Release, count_annotators
from engine.release.records import ReleasedImage
from engine.release.tars import write_release_tar
from model.files import atomic_folder
from schemas.config import CardConfig
from schemas.errors import InputError
from schemas.release import FORMAT, MANIFEST_FILE, Manifest, MergedRelease
from schemas.sa1b import Sa1bAnnotation, image_record
from schemas.stages import STAGES

Ids = npt.NDArray[np.int64]


def merge_releases(
    paths: Sequence[str | Path | Place],
    output: Path,
    *,
    change_card: Callable[[CardConfig], CardConfig] = lambda card: card,
    progress: Progress | None = None,
) -> Manifest:
    """Write the pictures of several releases, with their masks, as a release of its own in the new folder `output`.

    A picture that several have, by its content id, is taken once: as the first one has it, with the masks of all;
    masks that are equal pixel for pixel are one, and those of a picture that was released in another size are left out
    and counted. change_card: of the user's words, which are those of the releases, see `merged_card`.
    progress is called with ("merge", done, total) pictures.
    Raises InputError for an output that exists, less than two releases, releases of content ids, such that were blurred
    by other detectors or not at all, such that were withheld and others, and licences that differ.
    """
    if output.exists():
        raise InputError(f"{output}: exists already; choose another folder, or move it away")
    merge = _Merge([Release(path) for path in paths], output.name, change_card, progress)
    with ExitStack() as ends:
        ends.enter_context(storage_errors(output))
        folder = place(ends.enter_context(atomic_folder(output)))
        scratch = ends.enter_context(scratch_folder())
        manifest = write_documents(folder, merge.write(folder, scratch))
        (folder / MANIFEST_FILE).write((manifest.model_dump_json(indent=1) + "\n").encode())
    return manifest


class _Merge:
    def __init__(
        self,
        releases: Sequence[Release],
        name: str,
        change_card: Callable[[CardConfig], CardConfig],
        progress: Progress | None,
    ) -> None:
        self.releases, self.name, self.progress = releases, name, progress
        _check(releases)
        self.card = change_card(merged_card([release.manifest for release in releases]))
        if not self.card.license and len({release.manifest.config.card.license for release in releases}) > 1:
            raise InputError("the licences of these releases differ; say the one of all with: --set license=NAME")
        self.done = self.total = 0

    def write(self, folder: Place, scratch: Path) -> Manifest:
        image_ids, content_ids, last_masks = zip(*(_ids(release) for release in self.releases), strict=True)
        offsets = [_offsets([int(ids.max(initial=0)) for ids in image_ids]), _offsets(last_masks)]
        known: Ids = np.empty(0, dtype=np.int64)
        twice: list[set[int]] = []  # of each release, the pictures that one before it has
        for ids in content_ids:
            twice.append(set(np.intersect1d(ids, known).tolist()))
            known = np.union1d(known, ids)
        self.total = len(known)
        with LaterMasks(scratch) as later:
            for place_, release in enumerate(self.releases):
                if twice[place_]:
                    later.keep(release, twice[place_], mask_offset=offsets[1][place_])
            pictures = self._pictures(twice, offsets, later)
            records = []
            per_tar = self.releases[0].manifest.config.images_per_tar
            for number in range(math.ceil(self.total / per_tar)):
                tar = f"sa_{number:06d}.tar"
                images = (_in_tar(image, tar) for image in islice(pictures, per_tar))
                records.append(write_release_tar(folder, tar, images))
            sources = [
                _source(release, (offsets[0][n], offsets[1][n]), len(twice[n]), later.left_out[release.manifest.key])
                for n, release in enumerate(self.releases)
            ]
        return self._manifest(folder, records, sources)

    def _pictures(
        self, twice: Sequence[set[int]], offsets: Sequence[Sequence[int]], later: LaterMasks
    ) -> Iterator[ReleasedImage]:
        repeated = set().union(*twice)
        for number, release in enumerate(self.releases):
            for picture in release:
                content_id = picture.row["content_id"]
                if content_id in twice[number]:
                    continue
                images, masks = offsets[0][number], offsets[1][number]
                more = later.of(content_id, picture, mask_offset=masks) if content_id in repeated else []
                yield _renumbered(picture, images, masks, more)
                self.done += 1
                if self.progress is not None:
                    self.progress("merge", self.done, self.total)

    def _manifest(self, folder: Place, records: list[Any], sources: list[MergedRelease]) -> Manifest:
        manifests = [release.manifest for release in self.releases]
        config = manifests[0].config.model_copy(update={"card": self.card})
        return Manifest(
            format=FORMAT,
            name=self.name,
            key=content_key("merge", [manifest.key for manifest in manifests], self.card.model_dump_json()),
            stages=_stages(manifests),
            withheld=manifests[0].withheld,
            table_versions={},
            config=config,
            blur_versions=_blurred_by(manifests),
            annotators=count_annotators(folder, records),
            images=sum(record.images for record in records),
            masks=sum(record.masks for record in records),
            masks_lost=sum(record.masks_lost for record in records),
            images_without_masks=sum(manifest.images_without_masks for manifest in manifests),
            tars=tuple(records),
            parents=tuple(manifest.key for manifest in manifests),
            merged=tuple(sources),
        )


def _check(releases: Sequence[Release]) -> None:
    if len(releases) < 2:
        raise InputError(f"a merge is of two releases or more, found {len(releases)}")
    first = releases[0]
    for release in releases:
        if release.manifest.format != FORMAT:
            raise InputError(f"{release.place}: {release.manifest.format} is of an older version; build it again")
        if set(release.manifest.blur_versions) != set(first.manifest.blur_versions):
            said = [", ".join(each.manifest.blur_versions) or "nothing" for each in (first, release)]
            raise InputError(
                f"{release.place}: was blurred by {said[1]}, {first.place} by {said[0]}; build one of them again, "
                "so that the merged release can say one thing of all its pictures"
            )
        if release.manifest.withheld != first.manifest.withheld:
            raise InputError(f"{release.place}: one of these releases is withheld as a test set, another is not")


def _ids(release: Release) -> tuple[Ids, Ids, int]:
    """Numbers and content ids of its pictures, and the highest number of its masks."""
    images, contents, last = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0
    for tar in release.manifest.tars:
        found = _columns(release.place / tar.image_index.name, ["image_id", "content_id"])
        images.append(found["image_id"].to_numpy())
        contents.append(found["content_id"].to_numpy())
        numbers = _columns(release.place / tar.mask_index.name, ["id"])["id"].to_numpy()
        last = max(last, int(numbers.max(initial=0)))
    return np.concatenate(images), np.concatenate(contents), last


def _columns(path: Place, names: list[str]) -> pa.Table:
    try:
        return pq.read_table(pa.BufferReader(path.read()), columns=names)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error


def _offsets(last: Sequence[int]) -> list[int]:
    return [sum(last[:number]) for number in range(len(last))]


def _renumbered(
    picture: PictureOfRelease,
    image_offset: int,
    mask_offset: int,
    more: LaterMasksOfPicture,
) -> ReleasedImage:
    """more: masks of later releases, by the numbers that they have in the merged one."""
    number = picture.row["image_id"] + image_offset
    name = f"sa_{number}"
    record = picture.record.image
    image = image_record(image_id=number, width=record.width, height=record.height, file_name=f"{name}.jpg")
    annotations = [_moved(annotation, mask_offset) for annotation in picture.record.annotations]
    rows = [row | {"id": row["id"] + mask_offset} for row in picture.mask_rows]
    written = picture.record.model_copy(
        update={"image": image, "annotations": [*annotations, *(annotation for annotation, _ in more)]}
    )
    rows = [row | {"image_id": number} for row in (*rows, *(row for _, row in more))]
    row = picture.row | {"image_id": number, "file_name": f"{name}.jpg", "masks": len(rows)}
    return ReleasedImage(name, picture.jpeg, written.to_json(), rows, row)


def _moved(annotation: Sa1bAnnotation, offset: int) -> Sa1bAnnotation:
    """By its number in a merged release."""
    changes: dict[str, Any] = {"id": annotation.id + offset}
    if annotation.parent is not None:
        changes["parent"] = annotation.parent + offset
    return annotation.model_copy(update=changes)


def _in_tar(image: ReleasedImage, tar: str) -> ReleasedImage:
    masks = [row | {"tar": tar} for row in image.masks]
    return ReleasedImage(image.name, image.jpeg, image.record, masks, image.image | {"tar": tar})


def _source(release: Release, offsets: tuple[int, int], known: int, left_out: int) -> MergedRelease:
    manifest = release.manifest
    return MergedRelease(
        name=manifest.name,
        key=manifest.key,
        images=manifest.images,
        masks=manifest.masks,
        images_known=known,
        masks_left_out=left_out,
        image_offset=offsets[0],
        mask_offset=offsets[1],
        stages=manifest.stages,
        table_versions=manifest.table_versions,
        config=manifest.config,
        parents=manifest.parents,
    )


def _stages(manifests: Sequence[Manifest]) -> tuple[str, ...]:
    there = {stage for manifest in manifests for stage in manifest.stages}
    return (*(stage for stage in STAGES if stage in there), *sorted(there - set(STAGES)))


def _blurred_by(manifests: Sequence[Manifest]) -> dict[str, str]:
    """Each detector, with all its versions that were at work."""
    return {
        name: "; ".join(dict.fromkeys(manifest.blur_versions[name] for manifest in manifests))
        for name in manifests[0].blur_versions
    }
