"""Which file of the workspace a picture of a task is. Nothing outside is read, whatever a server says."""

from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, urlsplit

from schemas.errors import InputError

LOCAL_FILES = "/data/local-files/"
_FORM = f"{LOCAL_FILES}?d=<path below the document root>"
_SHOWN_CHARACTERS = 120


def file_below(root: Path, relative: str) -> Path:
    """The file of this path below `root`, links followed. Raises InputError where that is none, or leads out."""
    try:
        base = root.resolve(strict=True)
        path = (base / relative).resolve(strict=True)
        inside = path.is_relative_to(base) and path.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: no name at all; RuntimeError: links in a circle
        raise InputError(f"picture {_shown(relative)}: no such file in {root}; publish the image again") from error
    if not inside:
        raise InputError(f"picture {_shown(relative)}: no file inside of {root}; pictures from elsewhere are not read")
    return path


def relative_path(url: object) -> str:
    """The `d` of a url of Label Studio's local files. Raises InputError for any other.

    Its text is not told where it has another form: it may carry somebody's token.
    """
    if not isinstance(url, str):
        raise InputError("the task has no picture: data.image is missing or no text")
    try:
        parts = urlsplit(url)
        given = parse_qs(parts.query, keep_blank_values=True)
    except ValueError as error:
        raise InputError(f"the task's picture is no address; expected {_FORM}") from error
    if parts.scheme or parts.netloc or parts.fragment or parts.path != LOCAL_FILES:
        raise InputError(f"the task's picture is not one of this workspace; expected {_FORM}")
    if list(given) != ["d"] or len(given["d"]) != 1:
        raise InputError(f"the task's picture has no path, or more than one; expected {_FORM}")
    relative = given["d"][0]
    plain = relative.isprintable() and not set(relative) & {"\\", "\0"}
    if not plain or relative.startswith("/") or ".." in PurePosixPath(relative).parts:
        raise InputError(f"picture {_shown(relative)}: expected a path below the document root")
    return relative


def _shown(text: str) -> str:
    """On one line, and no longer than a person reads."""
    return repr(text[:_SHOWN_CHARACTERS]) + ("..." if len(text) > _SHOWN_CHARACTERS else "")
