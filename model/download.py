"""Downloads by HTTP that go on where they were cut off, and whose result is checked before anyone sees it."""

import http
import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import httpx

from model.files import file_sha256, make_folder, publish
from schemas.errors import InputError, WaitError

Progress = Callable[[int, int], None]  # (bytes so far, bytes in all)

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
    make_folder(target.parent)
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
    publish(part, target)


def _receive(url: str, part: Path, *, size_bytes: int, progress: Progress | None, timeout_s: float) -> str:
    """Append to `part` what the server still sends. Returns why it stopped."""
    start = _size(part)
    try:
        with _opened(url, start, timeout_s) as response, part.open("r+b" if part.exists() else "wb") as file:
            done = start if response.status_code == http.HTTPStatus.PARTIAL_CONTENT else 0
            file.truncate(done)
            file.seek(done)
            for block in response.iter_raw():
                _write(file, block[: size_bytes - done], part)
                done = min(done + len(block), size_bytes)
                if progress is not None:
                    progress(done, size_bytes)
                if done == size_bytes:
                    break
    except _ConnectionLostError as error:
        return str(error)
    except httpx.HTTPError as error:
        return str(error) or type(error).__name__
    except _EndsEarlierError as error:
        part.unlink()
        raise InputError(
            f"{url}: not the published file: it has {start} bytes or less, expected {size_bytes}"
        ) from error
    return "the connection was closed"


class _ConnectionLostError(Exception):
    """The server cannot answer now."""


class _EndsEarlierError(Exception):
    """The server's file is no longer than what is here already."""


@contextmanager
def _opened(url: str, start: int, timeout_s: float) -> Iterator[httpx.Response]:
    """The answer to a request for all from byte `start` on."""
    headers = {"User-Agent": "sam-data-engine", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    certificates = ssl.create_default_context()  # the system's, as browsers have them; httpx brings its own
    client = httpx.Client(timeout=timeout_s, verify=certificates, follow_redirects=True)
    with client, client.stream("GET", url, headers=headers) as response:
        status = response.status_code
        failure = f"the server answers {status} {response.reason_phrase}"
        if status == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise _EndsEarlierError
        if status >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _ConnectionLostError(failure)
        if not response.is_success:
            raise InputError(f"{url}: {failure}")
        yield response


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
