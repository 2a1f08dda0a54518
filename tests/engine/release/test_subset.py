"""Subsets: whole releases of some pictures as they were, the smaller within the larger."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from engine.release.build import build_release
from engine.release.reader import Release
from engine.release.subset import subset_release
from engine.release.verify import verify_release
from engine.store import Store
from schemas.config import ReleaseConfig
from schemas.errors import InputError
from tests.engine.release.conftest import SIZES

ALL = len(SIZES)


@pytest.fixture
def release(store: Store) -> Path:
    config = ReleaseConfig(images_per_tar=3)
    return build_release(store, config=config, stages=["assisted_manual", "fully_automatic"]).path


def pictures(folder: Path) -> dict[int, tuple[Any, ...]]:
    """Everything of each picture but the tar that it lies in."""

    def without_tar(row: dict[str, Any]) -> str:
        return repr({name: value for name, value in row.items() if name != "tar"})

    return {
        picture.row["image_id"]: (
            picture.name,
            picture.jpeg,
            picture.record,
            without_tar(picture.row),
            [without_tar(row) for row in picture.mask_rows],
        )
        for picture in Release(folder)
    }


@pytest.mark.parametrize("images", [1, 3, 4, ALL])
def test_a_part_is_a_whole_release_of_pictures_as_they_were(release: Path, tmp_path: Path, images: int) -> None:
    made = subset_release(release, tmp_path / "part", images=images)
    assert verify_release(tmp_path / "part") == []
    whole, part = pictures(release), pictures(tmp_path / "part")
    assert len(part) == made.images == images
    assert part == {image_id: whole[image_id] for image_id in part}
    assert made.parents == (Release(release).manifest.key,)
    assert [tar.images for tar in made.tars] == [3] * (images // 3) + [images % 3] * (images % 3 > 0)


def test_a_smaller_part_lies_in_a_larger_one(release: Path, tmp_path: Path) -> None:
    found = []
    for images in range(1, ALL + 1):
        subset_release(release, tmp_path / str(images), images=images)
        found.append(set(pictures(tmp_path / str(images))))
    assert all(smaller < larger for smaller, larger in itertools.pairwise(found))
    firsts = set()
    for seed in range(1, 9):
        subset_release(release, tmp_path / f"seed {seed}", images=1, seed=seed)
        firsts |= set(pictures(tmp_path / f"seed {seed}"))
    assert len(firsts) > 2, "other seeds, other pictures"


def test_a_share_is_rounded_up(release: Path, tmp_path: Path) -> None:
    assert subset_release(release, tmp_path / "a", share=0.001).images == 1
    assert subset_release(release, tmp_path / "b", share=0.3).images == 3
    assert subset_release(release, tmp_path / "c", share=1).images == ALL


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({}, "say one"),
        ({"images": 1, "share": 0.5}, "say one"),
        ({"images": 0}, f"has 1 to {ALL} pictures of the release, found 0"),
        ({"images": ALL + 1}, f"found {ALL + 1}"),
        ({"share": 1.2}, "found 9"),
    ],
)
def test_what_cannot_be_drawn_is_said_and_leaves_nothing(
    release: Path, tmp_path: Path, wanted: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        subset_release(release, tmp_path / "part", **wanted)
    assert not (tmp_path / "part").exists()


def test_a_broken_release_gives_no_part(release: Path, tmp_path: Path) -> None:
    (release / "sa_000002.tar").unlink()
    with pytest.raises(InputError, match=r"sa_000002\.tar: cannot be read"):
        subset_release(release, tmp_path / "part", images=ALL)
    assert not (tmp_path / "part").exists()
