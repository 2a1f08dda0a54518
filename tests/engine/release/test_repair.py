"""Repair: what is damaged is as it was, byte for byte, or is named; what is whole is not touched."""

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.places import place
from engine.release.build import build_release
from engine.release.reader import read_manifest
from engine.release.repair import repair_release
from engine.release.subset import subset_release
from engine.release.verify import verify_release
from engine.store import Store
from schemas.config import ReleaseConfig
from schemas.errors import InputError
from tests.engine.release.conftest import add_masks
from tests.engine.release.released import contents

SMALL_TARS = ReleaseConfig(images_per_tar=3)
FIRST_SHARD = "000000"


@pytest.fixture
def release(store: Store) -> Path:
    """The second release of the workspace, whose tables have moved on since."""
    build_release(store, config=SMALL_TARS)
    add_masks(store, "fully_automatic", round=2, seed=9)
    folder = build_release(store, config=SMALL_TARS).path
    add_masks(store, "fully_automatic", round=3, seed=10)
    return folder


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-300])


DAMAGES: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "a bit of a tar": (flip_a_bit, ["sa_000001.tar"]),
    "a tar and its index": (Path.unlink, ["sa_000000.tar", "index/masks/sa_000000.parquet"]),
    "an index that is cut off": (cut_off, ["index/images/sa_000002.parquet"]),
    "the changes": (flip_a_bit, ["changes.json"]),
    "the card": (cut_off, ["README.md"]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_release_is_as_it_was(release: Path, store: Store, damage: str) -> None:
    do, names = DAMAGES[damage]
    whole = contents(release)
    times = {path: path.stat().st_mtime_ns for path in release.rglob("*") if path.is_file()}
    for name in names:
        do(release / name)
    assert verify_release(release) != []
    assert repair_release(place(release), store) == (names, [])
    assert contents(release) == whole
    assert verify_release(release) == []
    touched = {path for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert touched == {release / name for name in names}


def test_a_whole_release_is_not_touched(release: Path, store: Store) -> None:
    before = {path: path.stat().st_mtime_ns for path in release.rglob("*")}
    assert repair_release(place(release), store) == ([], [])
    assert {path: path.stat().st_mtime_ns for path in release.rglob("*")} == before


def test_a_picture_that_is_gone_leaves_its_tar_and_mends_the_others(release: Path, store: Store) -> None:
    shards = store.shards()
    (gone, *_) = store.read_shard("images", shards[0]).sort_by("image_id")["path"].to_pylist()
    (store.workspace / gone).unlink()
    for name in ("sa_000000.tar", "sa_000001.tar"):
        (release / name).unlink()
    mended, left = repair_release(place(release), store)
    assert mended == ["sa_000001.tar"]
    (line,) = left
    assert line.startswith(f"{release}/sa_000000.tar: ")
    assert gone in line
    assert not (release / "sa_000000.tar").exists()


def test_a_version_of_a_table_that_is_gone_is_named_and_the_rest_is_mended(release: Path, store: Store) -> None:
    card = (release / "README.md").read_bytes()
    files = store.files_at("fully_automatic", read_manifest(release).table_versions["fully_automatic"])
    name = files.names[FIRST_SHARD][0]
    (Path(files.uri) / f"shard={FIRST_SHARD}" / name).unlink()
    flip_a_bit(release / "sa_000000.tar")
    (release / "README.md").unlink()
    mended, left = repair_release(place(release), store)
    assert (mended, (release / "README.md").read_bytes()) == (["README.md"], card)
    (line,) = left
    assert line.startswith(f"{release / 'sa_000000.tar'}: ")
    assert f"{name}: this file of a table is gone" in line


def test_another_workspace_mends_nothing(release: Path, make_store: Callable[..., Store]) -> None:
    (release / "sa_000000.tar").unlink()
    with pytest.raises(InputError, match="the table fully_automatic has versions up to 3, not 6"):
        repair_release(place(release), make_store("other"))
    other = make_store("another", template="bare")
    for number in range(2, 5):
        add_masks(other, "fully_automatic", round=number, seed=number)
    mended, left = repair_release(place(release), other)
    assert mended == []
    assert len(left) == 1


def test_what_was_taken_from_a_release_is_taken_again(release: Path, store: Store, tmp_path: Path) -> None:
    subset_release(release, tmp_path / "part", images=2)
    with pytest.raises(InputError, match="was taken from other releases; take it from them again"):
        repair_release(place(tmp_path / "part"), store)
