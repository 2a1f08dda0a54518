"""Archives of pictures and label files (.zip, .tar, also compressed), unpacked for as long as they are read."""

import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path

from schemas.errors import InputError

_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_FREE_FRAC = 0.9  # of the disk's free space that an archive may take


def is_archive(path: Path) -> bool:
    """By its name."""
    return path.name.lower().endswith(_ENDINGS)


def unpack(archive: Path, folder: Path) -> None:
    """Put the files of an archive into a folder, and nothing outside of it; links and devices are left out.

    Raises InputError where it is damaged, needs a password, or is larger than the disk has room for.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                _check_room(sum(member.file_size for member in packed.infolist()), folder)
                packed.extractall(folder)
        else:
            with tarfile.open(archive) as tape:
                members = [member for member in tape if member.isfile() or member.isdir()]
                _check_room(sum(member.size for member in members), folder)
                tape.extractall(folder, members=members, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        raise InputError(f"{archive}: cannot unpack it: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise InputError(f"{archive}: cannot unpack it: {error.strerror or error}") from error


def _check_room(needed: int, folder: Path) -> None:
    if needed > _FREE_FRAC * shutil.disk_usage(folder).free:
        raise ValueError(f"its files take {needed} bytes, more than the disk has room for")
