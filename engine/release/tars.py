"""Writing the files of a release: equal contents give equal bytes, and a file appears only when it is whole."""

import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engine.places import Place, place
from engine.release.records import ReleasedImage
from schemas.release import IMAGE_INDEX, MASK_INDEX, ReleasedFile, ReleasedTar

_READ_AT_ONCE = 4 * 2**20


def write_tar(path: Place, images: Iterable[ReleasedImage]) -> None:
    """Write `<name>.jpg` and `<name>.json` of each image side by side, as webdataset needs them.

    Owner, mode and time of all members are fixed. Images are taken one by one, so they need not fit into memory.
    Raises InputError if the disk is full or not writable.
    """
    with path.writing() as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for image in images:
            _add(tar, f"{image.name}.jpg", image.jpeg)
            _add(tar, f"{image.name}.json", image.record)


def write_index(path: Place, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    """Write index rows as Parquet. Raises InputError if the disk is full or not writable."""
    encoded = io.BytesIO()
    ids = {"jpeg_sha256", "file_name"}  # all different: a dictionary would only add to them
    dictionary = [name for name in schema.names if pa.types.is_string(schema.field(name).type) and name not in ids]
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table, encoded, compression="zstd", compression_level=3, use_dictionary=dictionary)
    path.write(encoded.getvalue())


def write_release_tar(folder: Place, name: str, images: Iterable[ReleasedImage]) -> ReleasedTar:
    """Write the tar `name` with its two index files, the tar first, into the folder of a release."""
    masks: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []

    def listed() -> Iterator[ReleasedImage]:
        for image in images:
            masks.extend(image.masks)
            rows.append(image.image)
            yield image

    stem = name.removesuffix(".tar")
    names = [name, f"index/masks/{stem}.parquet", f"index/images/{stem}.parquet"]
    write_tar(folder / names[0], listed())
    write_index(folder / names[1], masks, MASK_INDEX)
    write_index(folder / names[2], rows, IMAGE_INDEX)
    tar, mask_index, image_index = (describe_file(folder, each) for each in names)
    return ReleasedTar(
        tar=tar,
        mask_index=mask_index,
        image_index=image_index,
        images=len(rows),
        masks=len(masks),
        masks_lost=sum(row["masks_lost"] for row in rows),
    )


def describe_file(folder: Path | Place, name: str) -> ReleasedFile:
    """Size and checksum of a file of a release, `name` relative to its folder, read from where it is."""
    with (place(folder) / name).opened() as file:
        sha256 = hashlib.sha256()
        while block := file.read(_READ_AT_ONCE):
            sha256.update(block)
        return ReleasedFile(name=name, bytes=file.tell(), sha256=sha256.hexdigest())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # mtime, uid and gid are 0, uname and gname empty
    member.size = len(data)
    member.mode = 0o644
    tar.addfile(member, io.BytesIO(data))
