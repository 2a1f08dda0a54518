"""What a release has that the one before it had not, picture by picture and mask by mask: `changes.json`."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from engine.places import Place
from engine.release.reader import read_index, read_manifest
from schemas.errors import InputError
from schemas.release import FORMAT, IMAGE_INDEX, MANIFEST_FILE, MASK_INDEX, Manifest, ReleasedTar

CHANGES_FILE = "changes.json"


class Difference(BaseModel):
    """Numbers by which pictures or masks are called, sorted. changed: what both releases have, and not as it was."""

    model_config = ConfigDict(frozen=True)

    added: list[int] = []
    removed: list[int] = []
    changed: list[int] = []

    @classmethod
    def between(cls, before: Mapping[int, object], after: Mapping[int, object]) -> "Difference":
        """before, after: what is to be compared, by number."""
        return cls(
            added=sorted(after.keys() - before.keys()),
            removed=sorted(before.keys() - after.keys()),
            changed=sorted(each for each in after.keys() & before.keys() if after[each] != before[each]),
        )


class Changes(BaseModel):
    """What `changes.json` holds. A picture is changed where its JPEG or one of its masks is, or which masks it has."""

    model_config = ConfigDict(frozen=True)

    previous: str
    previous_key: str
    images: Difference
    masks: Difference

    def to_json(self) -> bytes:
        return (json.dumps(self.model_dump()) + "\n").encode()


def find_previous(folder: Place, versions: Mapping[str, int], *, withheld: bool) -> Manifest | None:
    """The release in `folder` that was made of the latest versions of tables, none of them later than `versions`.

    Only those are looked at that call pictures by number and are no part that was taken from another.
    None where there is none.
    """
    found = []
    for file in folder.find(f"[!.]*/{MANIFEST_FILE}"):
        try:
            manifest = read_manifest(str(file).rsplit("/", 1)[0])
        except InputError:
            continue
        if (
            manifest.format == FORMAT
            and not manifest.parents
            and manifest.withheld == withheld
            and _is_before(manifest.table_versions, versions)
        ):
            found.append(manifest)
    return max(found, key=lambda each: (sum(each.table_versions.values()), each.name), default=None)


def changes_between(before: Place, manifest: Manifest, after: Place, tars: tuple[ReleasedTar, ...]) -> Changes:
    """before: folder of the previous release, with its manifest. after: that of the new one, with its tars."""
    old_images, old_masks = _rows(before, manifest.tars)
    new_images, new_masks = _rows(after, tars)
    return Changes(
        previous=manifest.name,
        previous_key=manifest.key,
        images=Difference.between(old_images, new_images),
        masks=Difference.between(old_masks, new_masks),
    )


def _is_before(versions: Mapping[str, int], later: Mapping[str, int]) -> bool:
    """Whether they are of the same workspace's past, as far as numbers can tell; tables that only one names pass."""
    shared = versions.keys() & later.keys()
    return versions != later and all(versions[table] <= later[table] for table in shared)


def _rows(folder: Place, tars: tuple[ReleasedTar, ...]) -> tuple[dict[int, object], dict[int, object]]:
    """By number: what a picture is, its masks among that, and what a mask is."""
    images: dict[int, Any] = {}
    masks: dict[int, Any] = {}
    of_image: dict[int, list[object]] = {}
    for tar in tars:
        for row in read_index(folder / tar.mask_index.name, MASK_INDEX):
            said = repr({name: value for name, value in row.items() if name != "tar"})  # NaN is equal to NaN as text
            masks[row["id"]] = said
            of_image.setdefault(row["image_id"], []).append(said)
        for row in read_index(folder / tar.image_index.name, IMAGE_INDEX):
            images[row["image_id"]] = row["jpeg_sha256"]
    return {number: (sha256, of_image.get(number, [])) for number, sha256 in images.items()}, dict(masks)
