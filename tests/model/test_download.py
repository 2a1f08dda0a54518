"""Downloads from a local server that breaks off, refuses and lies."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model.download import download
from schemas.errors import InputError, WaitError
from tests.model.file_server import FileServer, serve

CONTENT = bytes(range(256)) * 12_000  # 3 MB: several blocks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve(CONTENT) as server:
        yield server


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "new" / "weights.pth"


def get(
    server: FileServer, target: Path, *, sha256: str = SHA256, size_bytes: int = len(CONTENT), attempts: int = 4
) -> None:
    download(server.url, target, sha256=sha256, size_bytes=size_bytes, attempts=attempts, timeout_s=10)


def visible(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if not path.name.startswith(".")]


def test_the_file_comes_whole_and_alone(server: FileServer, target: Path) -> None:
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["weights.pth"]


def test_progress_ends_at_the_size(server: FileServer, target: Path) -> None:
    calls: list[tuple[int, int]] = []
    download(server.url, target, sha256=SHA256, size_bytes=len(CONTENT), progress=lambda *seen: calls.append(seen))
    done = [seen for seen, _ in calls]
    assert len(done) > 1
    assert done == sorted(done)
    assert calls[-1] == (len(CONTENT), len(CONTENT))


def test_a_broken_connection_is_taken_up_where_it_broke(server: FileServer, target: Path) -> None:
    server.cuts = [1_000_000, 500_000]
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == ["", "bytes=1000000-", "bytes=1500000-"]


def test_a_later_call_goes_on_too(server: FileServer, target: Path) -> None:
    server.cuts = [1_000_000]
    with pytest.raises(WaitError, match=r"stopped at 1000000 of 3072000 bytes .* run the same command again"):
        get(server, target, attempts=1)
    assert visible(target.parent) == []
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == ["", "bytes=1000000-"]


def test_a_server_without_ranges_starts_again(server: FileServer, target: Path) -> None:
    server.cuts, server.knows_ranges = [1_000_000], False
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == ["", "bytes=1000000-"]


def test_a_busy_server_is_asked_again(server: FileServer, target: Path) -> None:
    server.refusals = [503]
    get(server, target)
    assert target.read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing(server: FileServer, target: Path) -> None:
    with pytest.raises(InputError, match=f"not the published one .*{SHA256}, expected {'0' * 64}"):
        get(server, target, sha256="0" * 64)
    assert list(target.parent.iterdir()) == []


def test_a_longer_file_than_published_is_not_taken(server: FileServer, target: Path) -> None:
    with pytest.raises(InputError, match="not the published one"):
        get(server, target, size_bytes=1_000_000)
    assert list(target.parent.iterdir()) == []


def test_a_shorter_file_than_published_is_not_taken(server: FileServer, target: Path) -> None:
    server.content = CONTENT[:1000]
    with pytest.raises(InputError, match=r"not the published file: it has 1000 bytes or less, expected 3072000"):
        get(server, target)
    assert list(target.parent.iterdir()) == []


def test_what_came_of_an_overlong_file_is_thrown_away(server: FileServer, target: Path) -> None:
    target.parent.mkdir()
    (target.parent / ".weights.pth.part").write_bytes(CONTENT + b"more")
    get(server, target)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [""]


def test_a_part_that_is_whole_needs_no_server(target: Path) -> None:
    target.parent.mkdir()
    (target.parent / ".weights.pth.part").write_bytes(CONTENT)
    download("http://127.0.0.1:1/weights.pth", target, sha256=SHA256, size_bytes=len(CONTENT))
    assert target.read_bytes() == CONTENT


def test_a_missing_file_is_named(server: FileServer, target: Path) -> None:
    server.url = server.url.replace("weights", "others")
    with pytest.raises(InputError, match=r"others.pth: the server answers 404"):
        get(server, target)
    assert len(server.ranges) == 1


def test_no_server(target: Path) -> None:
    with pytest.raises(WaitError, match=r"http://127.0.0.1:1/weights.pth: the download stopped at 0 of 9 bytes"):
        download("http://127.0.0.1:1/weights.pth", target, sha256=SHA256, size_bytes=9, attempts=2)
    assert visible(target.parent) == []


def test_too_little_room_is_said_before_anything_is_asked(server: FileServer, target: Path) -> None:
    with pytest.raises(InputError, match=r"1000000000 MB are needed and \d+ MB are free; make room"):
        get(server, target, size_bytes=10**15)
    assert server.ranges == []


def test_a_disk_that_fills_up_on_the_way(
    server: FileServer, target: Path, limit_files_to: Callable[[int], None]
) -> None:
    limit_files_to(1_500_000)
    with pytest.raises(OSError, match=r"\.weights\.pth\.part") as failure:
        get(server, target)
    assert not isinstance(failure.value, InputError)
    assert len(server.ranges) == 1
    assert visible(target.parent) == []
