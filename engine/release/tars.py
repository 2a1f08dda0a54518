"""Writing the files of a release: equal contents give equal bytes, and a file appears only when it is whole."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engine.files import atomic_file, file_sha256, write_atomic
from engine.release.records import ReleasedImage
from schemas.release import ReleasedFile


def write_tar(path: Path, images: Iterable[ReleasedImage]) -> None:
    """Write `<name>.jpg` and `<name>.json` of each image side by side, as webdataset needs them.

    Owner, mode and time of all members are fixed. Images are taken one by one, so they need not fit into memory.
    Raises InputError if the disk is full or not writable.
    """
    with atomic_file(path) as file, tarfile.open(fileobj=file, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
        for image in images:
            _add(tar, f"{image.name}.jpg", image.jpeg)
            _add(tar, f"{image.name}.json", image.record)


def write_index(path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    """Write index rows as Parquet. Raises InputError if the disk is full or not writable."""
    encoded = io.BytesIO()
    ids = {"mask_id", "jpeg_sha256", "file_name"}  # all different: a dictionary would only add to them
    dictionary = [name for name in schema.names if pa.types.is_string(schema.field(name).type) and name not in ids]
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table, encoded, compression="zstd", compression_level=3, use_dictionary=dictionary)
    write_atomic(path, encoded.getvalue())


def describe_file(folder: Path, name: str) -> ReleasedFile:
    """Size and checksum of a file of a release, `name` relative to its folder."""
    return ReleasedFile(name=name, bytes=(folder / name).stat().st_size, sha256=file_sha256(folder / name))


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # mtime, uid and gid are 0, uname and gname empty
    member.size = len(data)
    member.mode = 0o644
    tar.addfile(member, io.BytesIO(data))
