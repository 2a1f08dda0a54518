"""A part of a release, drawn at random, for those who want to look before they take all of it."""

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from engine.files import storage_errors
from engine.keys import content_key
from engine.places import Place, place
from engine.progress import Progress
from engine.release.documents import write_documents
from engine.release.reader import PictureOfRelease, Release, count_annotators, read_index
from engine.release.records import ReleasedImage
from engine.release.tars import write_release_tar
from model.files import atomic_folder
from schemas.content_ids import content_id
from schemas.errors import InputError
from schemas.release import FORMAT, IMAGE_INDEX, MANIFEST_FILE, Manifest


def subset_release(
    path: str | Path | Place,
    output: Path,
    *,
    images: int | None = None,
    share: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Manifest:
    """Write some pictures of a release, with their masks, as a release of its own in the new folder `output`.

    images, share: how many, one of them; at most all, at least one. Of one release and seed, the smaller part lies in
    the larger. Pictures and masks keep their numbers. progress is called with ("subset", done, total) pictures.
    Raises InputError for an output that exists, and a release of content ids.
    """
    release = Release(path)
    if release.manifest.format != FORMAT:
        raise InputError(f"{path}: {release.manifest.format} is of an older version; build the release again")
    if output.exists():
        raise InputError(f"{output}: exists already; choose another folder, or move it away")
    chosen = _drawn(release, _how_many(len(release), images, share), seed)
    with storage_errors(output), atomic_folder(output) as folder:
        manifest = _Subset(release, chosen, seed, output.name, progress).write(place(folder))
        manifest = write_documents(place(folder), manifest)
        (place(folder) / MANIFEST_FILE).write((manifest.model_dump_json(indent=1) + "\n").encode())
    return manifest


def _how_many(there: int, images: int | None, share: float | None) -> int:
    if (images is None) == (share is None):
        raise InputError("a subset is of so many images, or of a share of them: say one")
    wanted = images if images is not None else math.ceil((share or 0) * there)
    if not 0 < wanted <= there:
        raise InputError(f"a subset has 1 to {there} pictures of the release, found {wanted}")
    return wanted


def _drawn(release: Release, images: int, seed: int) -> set[int]:
    ranks = []
    for tar in release.manifest.tars:
        for row in read_index(release.place / tar.image_index.name, IMAGE_INDEX):
            ranks.append((content_id(f"subset {seed} {row['content_id']}".encode()), row["image_id"]))
    return {image_id for _, image_id in sorted(ranks)[:images]}


class _Subset:
    def __init__(self, release: Release, chosen: set[int], seed: int, name: str, progress: Progress | None) -> None:
        self.release, self.chosen, self.seed, self.name, self.progress = release, chosen, seed, name, progress
        self.done = 0

    def write(self, folder: Place) -> Manifest:
        source = self.release.manifest
        pictures, per_tar = self._pictures(), source.config.images_per_tar
        records = []
        for number in range(math.ceil(len(self.chosen) / per_tar)):
            tar = f"sa_{number:06d}.tar"
            images = (_in_tar(picture, tar) for picture in islice(pictures, per_tar))
            records.append(write_release_tar(folder, tar, images))
        return source.model_copy(
            update={
                "name": self.name,
                "annotators": count_annotators(folder, records),
                "key": content_key("subset", source.key, len(self.chosen), self.seed),
                "images": sum(record.images for record in records),
                "masks": sum(record.masks for record in records),
                "masks_lost": sum(record.masks_lost for record in records),
                "images_without_masks": 0,
                "tars": tuple(records),
                "previous": "",
                "changes": None,
                "card": None,
                "documents": (),
                "parents": (source.key,),
            }
        )

    def _pictures(self) -> Iterator[PictureOfRelease]:
        for picture in self.release:
            if picture.row["image_id"] in self.chosen:
                yield picture
                self.done += 1
                if self.progress is not None:
                    self.progress("subset", self.done, len(self.chosen))


def _in_tar(picture: PictureOfRelease, tar: str) -> ReleasedImage:
    masks = [row | {"tar": tar} for row in picture.mask_rows]
    return ReleasedImage(picture.name, picture.jpeg, picture.record.to_json(), masks, picture.row | {"tar": tar})
