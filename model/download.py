"""Downloads by HTTP that go on where they were cut off, and whose result is checked before anyone sees it."""

import http
import http.client
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from model.files import file_sha256, sync_file, sync_folder
from schemas.errors import InputError, WaitError

Progress = Callable[[int, int], None]  # (bytes so far, bytes in all)

_BLOCK_BYTES = 1 << 20
_MEGABYTE = 1_000_000


def download(
    url: str,
    target: Path,
    *,
    sha256: str,
    size_bytes: int,
    progress: Progress | None = None,
    attempts: int = 4,
    timeout_s: float = 60.0,
) -> None:
    """Bring a file to `target`, where it appears only when it is whole and right.

    What has come so far lies beside it as `.NAME.part`; a broken connection is taken up from there, up to `attempts`
    times, and so is a later call. A server that knows no ranges (RFC 9110, section 14) starts from the beginning.
    Raises WaitError where the connection fails again and again, InputError where the server has no such file, the
    file has another checksum, or the disk is too small.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    if part.exists() and part.stat().st_size > size_bytes:
        part.unlink()
    _check_space(part, size_bytes)
    reason = ""
    for _ in range(attempts):
        if _size(part) >= size_bytes:
            break
        reason = _receive(url, part, size_bytes=size_bytes, progress=progress, timeout_s=timeout_s)
    if _size(part) < size_bytes:
        raise WaitError(
            f"{url}: the download stopped at {_size(part)} of {size_bytes} bytes ({reason}); "
            "run the same command again to go on from there"
        )
    found = file_sha256(part)
    if found != sha256:
        part.unlink()
        raise InputError(f"{url}: the file that came is not the published one (SHA-256 {found}, expected {sha256})")
    sync_file(part)
    os.replace(part, target)
    sync_folder(target.parent)


def _receive(url: str, part: Path, *, size_bytes: int, progress: Progress | None, timeout_s: float) -> str:
    """Append to `part` what the server still sends. Returns why it stopped."""
    start = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": "sam-data-engine", "Accept-Encoding": "identity"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        with _opened(request, timeout_s) as response:
            done = start if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0
            with part.open("r+b" if part.exists() else "wb") as file:
                file.truncate(done)
                file.seek(done)
                while done < size_bytes and (block := _block(response, size_bytes - done)):
                    _write(file, block, part)
                    done += len(block)
                    if progress is not None:
                        progress(done, size_bytes)
    except _ConnectionLostError as error:
        return str(error)
    except _EndsEarlierError as error:
        part.unlink()
        raise InputError(
            f"{url}: not the published file: it has {start} bytes or less, expected {size_bytes}"
        ) from error
    return "the connection was closed"


class _ConnectionLostError(Exception):
    """The network failed; kept apart from the disk's errors, which are OSErrors just the same."""


class _EndsEarlierError(Exception):
    """The server's file is no longer than what is here already."""


def _opened(request: urllib.request.Request, timeout_s: float) -> http.client.HTTPResponse:
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise _EndsEarlierError from error
        if error.code < http.HTTPStatus.INTERNAL_SERVER_ERROR:
            raise InputError(f"{request.full_url}: the server answers {error.code} {error.reason}") from error
        raise _ConnectionLostError(f"the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _ConnectionLostError(str(error) or type(error).__name__) from error
    return response


def _block(response: http.client.HTTPResponse, wanted_bytes: int) -> bytes:
    try:
        return response.read(min(_BLOCK_BYTES, wanted_bytes))
    except (OSError, http.client.HTTPException) as error:
        raise _ConnectionLostError(str(error) or type(error).__name__) from error


def _write(file: BinaryIO, block: bytes, path: Path) -> None:
    try:
        file.write(block)
        file.flush()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _check_space(part: Path, size_bytes: int) -> None:
    needed, free = size_bytes - _size(part), shutil.disk_usage(part.parent).free
    if needed > free:
        raise InputError(
            f"{part.parent}: {needed / _MEGABYTE:.0f} MB are needed and {free / _MEGABYTE:.0f} MB are free; make room"
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
