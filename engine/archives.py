"""Archives of pictures and label files (.zip, .tar, also compressed), unpacked for as long as they are read."""

import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path

from schemas.errors import InputError

_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
UNREAD_ENDINGS = frozenset({".7z", ".rar", ".zst", ".lz4", ".bz2", ".xz", ".z"})
_IN_UTF_8 = 0x800  # flag of a member of a .zip
_FREE_FRAC = 0.9  # of the disk's free space that an archive may take


def is_archive(path: Path) -> bool:
    """By its name."""
    return path.name.lower().endswith(_ENDINGS)


def without_ending(path: Path) -> str:
    """The name of an archive without what says that it is one; "archive" where nothing is left."""
    name = path.name
    ending = max((each for each in _ENDINGS if name.lower().endswith(each)), key=len, default="")
    return name[: len(name) - len(ending)] or "archive"


def unpack_inner(folder: Path) -> list[tuple[Path, str]]:
    """Unpack each archive below a folder into a subfolder of its name, in its place; returns those that cannot be,
    with reasons. Archives in these stay as they are.
    """
    problems: list[tuple[Path, str]] = []
    for archive in sorted(path for path in folder.rglob("*") if is_archive(path) and path.is_file()):
        target = archive.with_name(without_ending(archive))
        while target.exists():  # a folder or file of that name lies beside it
            target = target.with_name(f"{target.name}_")
        try:
            target.mkdir()
            unpack(archive, target)
        except InputError as error:
            shutil.rmtree(target)
            problems.append((archive, str(error).removeprefix(f"{archive}: ")))
        else:
            archive.unlink()
    return problems


def unpack(archive: Path, folder: Path) -> None:
    """Put the files of an archive into a folder, and nothing outside of it; links and devices are left out.

    Raises InputError where it is damaged, needs a password, or is larger than the disk has room for.
    """
    try:
        # A .zip is told by its end, so a .tar that ends with one looks like one too.
        if zipfile.is_zipfile(archive) and not tarfile.is_tarfile(archive):
            with zipfile.ZipFile(archive) as packed:
                _check_room(sum(member.file_size for member in packed.infolist()), folder)
                for member in packed.infolist():
                    member.filename = _told_name(member)
                    packed.extract(member, folder)
        else:
            with tarfile.open(archive) as tape:
                members = [member for member in tape if member.isfile() or member.isdir()]
                _check_room(sum(member.size for member in members), folder)
                tape.extractall(folder, members=members, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        raise InputError(f"{archive}: cannot unpack it: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise InputError(f"{archive}: cannot unpack it: {error.strerror or error}") from error


def _told_name(member: zipfile.ZipInfo) -> str:
    """The name of a member: in UTF-8 where it is that without saying so, with the format's own separators."""
    name = member.filename.replace("\\", "/")
    if member.flag_bits & _IN_UTF_8:
        return name
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return name


def _check_room(needed: int, folder: Path) -> None:
    if needed > _FREE_FRAC * shutil.disk_usage(folder).free:
        raise ValueError(f"its files take {needed} bytes, more than the disk has room for")
